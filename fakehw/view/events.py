"""`fakehw events`: what is broken, and with --follow what happens, one line each, with the reason."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import TYPE_CHECKING

from fakehw import durations, layout
from fakehw.layout import Health
from fakehw.view import holding
from fakehw.view.follower import Follower, Happening

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fakehw.layout import TreePath
    from fakehw.view.follower import Sight
    from fakehw.view.holding import Passing


async def tell(
    root: Path,
    *,
    domain: str = layout.DEFAULT_DOMAIN,
    follow: bool,
    as_json: bool,
    sockets: Sequence[Path] = (),
    say: Callable[[str], None],
    remark: Callable[[str], None] = lambda _: None,
    greeting: Callable[[], str] | None = None,
) -> None:
    """Say which devices are unhealthy, or a `greeting` instead; with `follow`, go on with every change until cancelled.

    Whatever happens after the first line is out is said; `remark` is told where the tree itself goes or comes back.
    The kubelets at `sockets` are asked who takes devices and lets them go, which is said as well.
    """
    line = json_line if as_json else text_line
    with Follower(root, domain=domain, tell=remark) as follower:
        if greeting is not None:
            say(greeting())
        else:
            for path, sight in sorted(follower.devices.items(), key=lambda item: item[0].sort_key):
                if sight.health is Health.UNHEALTHY:
                    say(line(Happening(_changed_at(root, path), path, sight, sight), follower))
        if not follow:
            return
        say_passing = functools.partial(_say_passing, follower, as_json=as_json, say=say)
        asking = [
            asyncio.create_task(holding.tell(follower, socket, say=say_passing, remark=remark)) for socket in sockets
        ]
        try:
            while not any(task.done() for task in asking):
                for happening in await follower.happenings():
                    say(line(happening, follower))
            await asyncio.gather(*asking)  # a bug in one of them
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)


def _say_passing(follower: Follower, passing: Passing, *, as_json: bool, say: Callable[[str], None]) -> None:
    say(holding.json_line(passing, follower) if as_json else holding.text_line(passing))


def text_line(happening: Happening, _: Follower) -> str:
    """Return an event for people."""
    was, now = _words(happening)
    health = now if was == now else f"{was} -> {now}"
    reason = happening.now.reason if happening.now else ""
    return f"{durations.timestamp(happening.at)}  {happening.path}  {health}{f': {reason}' if reason else ''}"


def json_line(happening: Happening, follower: Follower) -> str:
    """Return an event for programs."""
    was, now = _words(happening)
    return json.dumps(
        {
            "timestamp": durations.timestamp(happening.at),
            "path": str(happening.path),
            "id": happening.path.id,
            "resource": follower.resource_of(happening.path),
            "host": follower.host_of(happening.path),
            "was": was,
            "health": now,
            "reason": happening.now.reason if happening.now else "",
            "numa_node": happening.now.numa_node if happening.now else None,
        }
    )


def _words(happening: Happening) -> tuple[str, str]:
    def word(sight: Sight | None) -> str:
        return sight.health.value if sight else "absent"

    return word(happening.was), word(happening.now)


def _changed_at(root: Path, path: TreePath) -> float:
    """Return when the health file was last written: the time of a state that we did not see begin."""
    try:
        return root.joinpath(*path.parts, "health").lstat().st_mtime
    except OSError:
        return 0.0
