"""A scenario over all nodes at once: one timeline, of which each hand plays its part, and puts back what it changed."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fakehw.errors import TreeError
from fakehw.hand import requests
from fakehw.layout import TreePath

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fakehw.scenario.timeline import Change
    from kubectl_fakehw.hands import Hand, Reach
    from kubectl_fakehw.places import Place


@dataclass(frozen=True, slots=True)
class Part:
    """What one place plays."""

    place: Place
    hand: Hand
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class How:
    """How it is played. Durations are in seconds."""

    lasts_s: float
    speed: float = 1.0
    keep: bool = False


class Playing:
    """Plays while it runs; cancelled, it lets go of the hands, and they put everything back."""

    def __init__(self, reach: Reach, *, parallel: int, tell: Callable[[str, str], None]) -> None:
        self._reach = reach
        self._limit = asyncio.Semaphore(parallel)
        self._tell = tell

    async def run(
        self,
        places: Sequence[Place],
        timeline: Callable[[Sequence[TreePath]], Sequence[Change]],
        how: How,
        show: Callable[[str, dict[str, Any]], None],
    ) -> tuple[int, int]:
        """Return the number of places that played, and of those that could not to the end."""
        async with contextlib.AsyncExitStack() as stack:
            devices, failed = await self._reached(places, stack)
            union = sorted({path for _, _, paths in devices for path in paths}, key=lambda path: path.sort_key)
            changes = timeline(union)
            parts = [Part(place, hand, part_of(changes, paths)) for place, hand, paths in devices]
            tasks = [asyncio.create_task(self._play(part, how, show)) for part in parts if part.changes]
            try:
                played = await asyncio.gather(*tasks)
            except asyncio.CancelledError:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                raise
        return len(tasks), failed + played.count(False)

    async def _reached(
        self, places: Sequence[Place], stack: contextlib.AsyncExitStack
    ) -> tuple[list[tuple[Place, Hand, set[TreePath]]], int]:
        async def one(place: Place) -> tuple[Place, Hand, set[TreePath]] | None:
            async with self._limit:
                try:
                    hand = await stack.enter_async_context(self._reach(place))
                    listed = await hand.ask("list")
                except TreeError as error:
                    self._tell(place.node, str(error))
                    return None
                return place, hand, {TreePath.parse(record["path"]) for record in listed if record["id"]}

        found = await asyncio.gather(*map(one, places))
        reached = [each for each in found if each is not None]
        return reached, len(found) - len(reached)

    async def _play(self, part: Part, how: How, show: Callable[[str, dict[str, Any]], None]) -> bool:
        try:
            async for answer in part.hand.told(
                "play",
                changes=[requests.change_to_json(change) for change in part.changes],
                lasts_s=how.lasts_s,
                speed=how.speed,
                keep=how.keep,
            ):
                if "receipt" in answer:
                    show(part.place.node, answer["receipt"])
                elif "remark" in answer:
                    self._tell(part.place.node, answer["remark"])
        except TreeError as error:
            self._tell(part.place.node, str(error))
            return False
        return True


def part_of(changes: Sequence[Change], paths: set[TreePath]) -> list[Change]:
    """Return the changes of a timeline as far as they are about these devices."""
    own = ((change, tuple(path for path in change.paths if path in paths)) for change in changes)
    return [replace(change, paths=mine) for change, mine in own if mine]
