"""The nodes of a fleet that one process has, of several that they are dealt to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakehw_fleet.members import Member


class Part(NamedTuple):
    """The process with this number, from 0, of so many."""

    number: int
    processes: int

    @property
    def is_whole(self) -> bool:
        """Tell whether one process has them all."""
        return self.processes == 1

    def of(self, members: Sequence[Member]) -> Sequence[Member]:
        """Return its nodes: they are dealt one by one, so that parts are as much alike as can be."""
        return members[self.number :: self.processes]

    def __str__(self) -> str:
        return f"process {self.number + 1} of {self.processes}"


WHOLE: Final = Part(0, 1)
