"""Change devices on every node that has some that are meant, and see it land: one request a node, in parallel."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fakehw.errors import TreeError
from kubectl_fakehw import receipts
from kubectl_fakehw.receipts import Level, Receipt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakehw.tree.selection import Wanted
    from kubectl_fakehw.hands import Reach
    from kubectl_fakehw.landing import Landing
    from kubectl_fakehw.places import Place
    from kubectl_fakehw.receipts import Goal

UNPLUG: Final = "unplug"
PLUG: Final = "plug"
SET: Final = "set"


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done to the devices that are meant."""

    do: str
    wanted: Sequence[Wanted]
    name: str = ""
    value: str = ""

    def request(self) -> dict[str, Any]:
        """Return what the hand is asked, besides the verb."""
        named = {"name": self.name, "value": self.value} if self.do == SET else {}
        return {"wanted": [str(one).removeprefix("/") for one in self.wanted], **named}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Receipts by node, in the order of names, and what was wanted and fits nothing on any node that was reached."""

    receipts: Sequence[Receipt]
    missed: Sequence[str]


class Changing:
    """Carries out one change at all places. `landing` is None where only the tree counts."""

    def __init__(self, reach: Reach, landing: Landing | None, *, until: Level, parallel: int, timeout_s: float) -> None:
        self._reach = reach
        self._landing = landing
        self._until = until
        self._limit = asyncio.Semaphore(parallel)
        self._timeout_s = timeout_s
        self._missed: set[str] | None = None

    async def run(self, places: Sequence[Place], change: Change) -> Outcome:
        """Do it everywhere at once; what fails at one place is in its receipt and stops no other."""
        tasks = [asyncio.create_task(self._at(place, change), name=place.node) for place in places]
        found = [receipt for part in await asyncio.gather(*tasks) for receipt in part]
        return Outcome(sorted(found, key=lambda receipt: receipt.node), sorted(self._missed or ()))

    async def _at(self, place: Place, change: Change) -> list[Receipt]:
        found: dict[str, Receipt] = {}
        began: list[float] = []
        try:
            async with self._limit, asyncio.timeout(self._timeout_s):
                goals = await self._change(place, change, found, began)
        except (TreeError, TimeoutError) as error:
            if not found:
                found[place.node] = Receipt(place.node)
            said = f"no answer within {self._timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
            for receipt in found.values():
                receipt.problem = f"{said}; {place.problem}" if place.problem and place.problem not in said else said
            return list(found.values())
        if self._landing is not None and found:
            landing = self._landing
            waits = [
                self._land(landing, receipt, goals.get(node, receipts.Goal()), began[0], place)
                for node, receipt in found.items()
            ]
            await asyncio.gather(*waits)
        return list(found.values())

    async def _change(
        self, place: Place, change: Change, found: dict[str, Receipt], began: list[float]
    ) -> dict[str, Goal]:
        """Make the change; return what its nodes are to come to."""
        async with self._reach(place) as hand:
            began.append(asyncio.get_running_loop().time())
            done = await hand.ask(change.do, **change.request())
            answered = asyncio.get_running_loop().time() - began[0]
            self._missed = set(done["missed"]) & (set(done["missed"]) if self._missed is None else self._missed)
            if not done["changed"] and not done["same"]:
                return {}
            after = await hand.ask("list") if self._landing is not None else []
        changed = set(done["changed"])
        for path in (*done["changed"], *done["same"]):
            node = done["hosts"].get(path, place.node)
            receipt = found.setdefault(node, Receipt(node))
            receipt.devices += 1
            receipt.changed += path in changed
            receipt.at[Level.TREE] = answered
        hosts = {path: done["hosts"].get(path, place.node) for path in changed}
        return receipts.goals(after, hosts, node=place.node)

    async def _land(
        self,
        landing: Landing,
        receipt: Receipt,
        goal: Goal,
        began: float,
        place: Place,
    ) -> None:
        left = began + self._timeout_s - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(left, 0.0)):
                await landing.wait(receipt, goal, began=began, plugin=place.plugin)
        except TimeoutError:
            last = max(receipt.at, key=list(Level).index)
            shortfall = landing.shortfall(receipt.node, goal) if self._until is not Level.PLUGIN else ""
            receipt.problem = f"came as far as the {last} within {self._timeout_s:g} s"
            for more in (shortfall, place.problem):
                receipt.problem += f"; {more}" if more else ""
