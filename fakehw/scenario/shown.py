"""Receipts as people and programs read them: a line each, and a few lines about all of them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from fakehw import durations

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from fakehw.scenario.receipts import Hop, Receipt

HOPS: Final = {"seen": "seen by the plugin", "landed": "landed in allocatable", "in_slice": "written into a slice"}
"""Where a change has to arrive, and how that is told."""

_WORTH_WAITING_S: Final = 20.0
"""What takes less is not worth a line of progress."""
_EVERY_S: Final = 10.0
"""Between two lines where there is no terminal."""


def totals(receipts: Sequence[Receipt], name: str) -> tuple[int, int]:
    """Return how many device changes were expected at one of HOPS, and how many arrived there."""
    hops: list[Hop] = [getattr(receipt, name) for receipt in receipts]
    return sum(hop.expected for hop in hops), sum(hop.arrived for hop in hops)


def summary(receipts: Sequence[Receipt]) -> str:
    """Return, in a few lines, what became of all the changes."""
    failed = sum(bool(receipt.problem) for receipt in receipts)
    lines = [f"{len(receipts) - failed} of {len(receipts)} changes written"]
    for name, words in HOPS.items():
        hops: list[tuple[Receipt, Hop]] = [(receipt, getattr(receipt, name)) for receipt in receipts]
        expected, arrived = totals(receipts, name)
        if not expected:
            continue
        delays = sorted((hop.last_at - receipt.written_at) * 1000 for receipt, hop in hops if hop.last_at is not None)
        line = f"{arrived} of {expected} device changes {words}"
        if delays:
            line += f", in {delays[len(delays) // 2]:.1f} ms (median), {delays[-1]:.1f} ms at most"
        for word, count in (
            ("passed over", sum(hop.passed_over for _, hop in hops)),
            ("missing", sum(hop.missing for _, hop in hops)),
        ):
            line += f", {count} {word}" if count else ""
        lines.append(line)
    return "\n".join(lines)


def text_line(receipt: Receipt) -> str:
    """Return a receipt for people."""
    parts = [durations.timestamp(receipt.written_at), f"{receipt.change.step:<10}", str(receipt.change)]
    if receipt.problem:
        parts.append(f"| not written: {receipt.problem}")
    for name, word in (("seen", "seen"), ("landed", "landed"), ("in_slice", "slice written")):
        hop: Hop = getattr(receipt, name)
        if hop.expected:
            parts.append(f"| {word} {_hop_text(hop, receipt.written_at)}")
    return "  ".join(parts)


class Progress:
    """How far a long scenario is: a line that overwrites itself on a terminal, one now and then elsewhere."""

    def __init__(self, stream: TextIO | None, changes: int, lasts_s: float, speed: float) -> None:
        self._stream = stream if lasts_s / speed >= _WORTH_WAITING_S else None
        self._is_terminal = stream is not None and stream.isatty()
        self._changes = changes
        self._lasts_s = lasts_s
        self._speed = speed
        self._next = time.monotonic() + _EVERY_S
        self._is_dirty = False
        self.at_s = 0.0
        """The moment of the scenario that was shown last."""

    def show(self, at_s: float, done: int) -> None:
        """Show the moment and the number of changes made, where it is time for it."""
        self.at_s = at_s
        if self._stream is None or (not self._is_terminal and time.monotonic() < self._next):
            return
        self._next = time.monotonic() + _EVERY_S
        left = durations.shown(max(0.0, self._lasts_s - at_s) / self._speed)
        part = 100 * at_s / self._lasts_s
        text = f"{durations.shown(at_s)} of {durations.shown(self._lasts_s)} ({part:.0f} %), "
        text += f"{done} of {self._changes} changes, {left} left"
        self._write(f"\r\x1b[K{text}" if self._is_terminal else f"fakehw: {text}\n")
        self._is_dirty = self._is_terminal

    def around(self, say: Callable[[], None]) -> None:
        """Print something else, with no rest of a progress line around it."""
        self.clear()
        say()

    def clear(self) -> None:
        """Leave the line empty."""
        if self._is_dirty:
            self._write("\r\x1b[K")
            self._is_dirty = False

    def _write(self, text: str) -> None:
        try:
            if self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
        except OSError:  # the terminal went; the scenario goes on
            self._stream = None


def _hop_text(hop: Hop, since: float) -> str:
    words = []
    if hop.last_at is not None:
        count = f"{hop.arrived} " if hop.expected > 1 else ""
        words.append(f"{count}+{max(0.0, hop.last_at - since) * 1000:.1f} ms")
    if hop.passed_over:
        words.append(f"{hop.passed_over} passed over" if hop.expected > 1 else "passed over")
    if hop.missing:
        words.append(f"{hop.missing} missing" if hop.expected > 1 else "missing")
    return ", ".join(words)


def json_line(receipt: Receipt) -> str:
    """Return a receipt for programs."""
    return json.dumps(receipt.as_dict())
