"""The faults, each with what is promised. One list for the tests (a try or two) and for `make faults` (many)."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from tests.faults.scene import Scene, playing

Play = Callable[[Scene], Awaitable[object]]
"""One try. Raises if anything was lost; what it returns, if anything, is a figure for the table."""

SetUp = Callable[[], AbstractAsyncContextManager[Scene]]


@dataclasses.dataclass(frozen=True)
class Fault:
    """One row of the table."""

    group: str
    name: str
    outcome: str
    play: Play
    set_up: SetUp = playing
    tries: int = 20
    """Of `make faults`; all of them on one plugin process, which must survive them."""
    needs_namespaces: bool = False
    needs_root: bool = False


FAULTS: list[Fault] = []


def fault(group: str, name: str, outcome: str, **more: object) -> Callable[[Play], Play]:
    """Enter a try into the catalogue."""

    def enter(play: Play) -> Play:
        FAULTS.append(Fault(group, name, outcome, play, **more))  # type: ignore[arg-type]  # the fields of Fault
        return play

    return enter


def all_faults() -> list[Fault]:
    """Every fault there is, in the order of the table."""
    from tests.faults import builders, kubelets, limits, storms, streams, trees  # noqa: F401  # they enter theirs

    return FAULTS


__all__ = ["AsyncIterator", "Fault", "all_faults", "fault"]
