"""What people see of a fleet: a table that is drawn anew on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Final, TextIO

from fakehw import durations

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakehw_fleet.summary import Summary

_HOME: Final = "\x1b[H"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_REST: Final = "\x1b[J"
_PHASES: Final = ("Pending", "Running", "Succeeded", "Failed")


def lines(summary: Summary, *, title: str, width: int) -> list[str]:
    """Return the table, no line longer than `width`."""
    found = [f"{title}: {summary.ready} of {summary.nodes} nodes ready", ""]
    room = max([len("RESOURCE"), *(min(len(name), width - 44) for name in summary.resources)])
    found.append(f"{'RESOURCE':<{room}}  {'NODES':>6} {'CAPACITY':>9} {'ALLOCATABLE':>12} {'ALLOCATED':>10}")
    for name, one in summary.resources.items():
        shown = name if len(name) <= room else f"{name[: room - 1]}…"
        found.append(f"{shown:<{room}}  {one.nodes:>6} {one.capacity:>9} {one.allocatable:>12} {one.allocated:>10}")
    if summary.pods:
        found += ["", "PODS  " + "  ".join(f"{phase} {summary.pods.get(phase, 0)}" for phase in _PHASES)]
    if summary.notes:
        found += ["", *summary.notes]
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in found]


def line(summary: Summary) -> str:
    """Return all of it in one line."""
    words = [f"nodes {summary.ready}/{summary.nodes}"]
    words += [
        f"{name} {one.allocatable}/{one.capacity} ({one.allocated} in use)" for name, one in summary.resources.items()
    ]
    words += [f"{phase} {count}" for phase in _PHASES if (count := summary.pods.get(phase, 0))]
    return ", ".join(words)


class Screen:
    """Shows summaries on `stream`: drawn in place if `is_live`, else a line where something has changed."""

    def __init__(
        self, stream: TextIO, *, title: str, is_live: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._title = title
        self._is_live = is_live
        self._clock = clock
        self._began = clock()
        self._last = ""
        self._is_drawn = False

    def show(self, summary: Summary) -> None:
        """Show how it is now."""
        if self._is_live:
            size = shutil.get_terminal_size((80, 24))
            shown = lines(summary, title=self._title, width=size.columns)[: size.lines - 1]
            start = "" if self._is_drawn else "\x1b[2J"
            self._write(start + _HOME + "".join(f"{one}{_CLEAR_LINE}\n" for one in shown) + _CLEAR_REST)
            self._is_drawn = True
        elif (text := line(summary)) != self._last:
            self._last = text
            self._write(f"{durations.shown(self._clock() - self._began):>7}  {text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
