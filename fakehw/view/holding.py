"""Who takes devices and who lets them go, as kubelets say it: asked again and again, for nothing tells of a change."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from fakehw import durations
from fakehw.view import pod_resources

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from fakehw.layout import TreePath
    from fakehw.view.follower import Follower

ASK_EVERY_S: Final = 2.0


class Passing(NamedTuple):
    """A device that went from one holder to another; empty: nobody."""

    at: float
    path: TreePath
    was: str
    now: str


async def tell(
    follower: Follower,
    socket: Path,
    *,
    say: Callable[[Passing], None],
    remark: Callable[[str], None],
) -> None:
    """Call `say` with whatever passes from one holder to another at one kubelet, for ever.

    What it said last stands while it does not answer, which `remark` is told once.
    """
    known: Mapping[str, str] | None = None
    silence = ""
    while True:
        try:
            now, silence = await pod_resources.holders(socket), ""
        except pod_resources.UnknownError as error:
            if str(error) != silence:
                remark(f"nobody says who holds what: {error}")
            silence = str(error)
        else:
            for passing in passed(follower.devices, now if known is None else known, now, at=time.time()):
                say(passing)
            known = now
        await asyncio.sleep(ASK_EVERY_S)


def passed(
    devices: Collection[TreePath], before: Mapping[str, str], after: Mapping[str, str], *, at: float
) -> list[Passing]:
    """Return which devices have another holder than before, in the order of people."""
    return [
        Passing(at, path, was, now)
        for path in sorted(devices, key=lambda path: path.sort_key)
        if (was := pod_resources.holder(before, path.id)) != (now := pod_resources.holder(after, path.id))
    ]


def text_line(passing: Passing) -> str:
    """Return an event for people."""
    who = f"held by {passing.now}" if passing.now else f"free, was held by {passing.was}"
    return f"{durations.timestamp(passing.at)}  {passing.path}  {who}"


def json_line(passing: Passing, follower: Follower) -> str:
    """Return an event for programs."""
    return json.dumps(
        {
            "timestamp": durations.timestamp(passing.at),
            "path": str(passing.path),
            "id": passing.path.id,
            "resource": follower.resource_of(passing.path),
            "host": follower.host_of(passing.path),
            "was_held_by": passing.was,
            "held_by": passing.now,
        }
    )
