"""What a tree remembers of the spec it was built from: the spec itself, as `kubectl apply` remembers its last one.

    .fakehw/applied.json   the spec of the last build
    .fakehw/pending.json   the specs of builds that have begun to change the tree and did not come to their end

What any of them names counts as brought by a spec, so that a build after some that were killed still takes away what
those had brought.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fakehw import layout
from fakehw.errors import FakehwError, TreeError
from fakehw.spec import check
from fakehw.tree import directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakehw.spec.topology import Topology

_APPLIED: Final = "applied.json"
_PENDING: Final = "pending.json"
_NEXT: Final = "next.json"
_MAX_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Applied:
    """What a tree remembers: the last spec that was built, if any, and those that were begun since.

    Before the last, `done` holds those of which something is left that could not be taken away.
    """

    done: tuple[Topology, ...] = ()
    begun: tuple[Topology, ...] = ()

    @property
    def all(self) -> tuple[Topology, ...]:
        """Return every spec that may have brought something, newest last."""
        return (*self.done, *self.begun)

    @property
    def last(self) -> Topology | None:
        """Return the newest spec, built to the end or not."""
        return self.all[-1] if self.all else None


def read(private_fd: int, *, root: str) -> Applied:
    """Return what the tree remembers; TreeError if that is damaged."""
    done, begun = (_read(name, private_fd, f"{root}/.fakehw/{name}") for name in (_APPLIED, _PENDING))
    return Applied(tuple(done), tuple(begun))


def announce(topology: Topology, *, before: Applied, private_fd: int) -> None:
    """Write down, before the tree changes, what is about to be built; all that `conclude` needs is on the disk then."""
    ours = _remembered(topology)
    _write(_PENDING, [*(other for other in map(_remembered, before.begun) if other != ours), ours], private_fd)
    _write(_NEXT, [ours], private_fd)


def conclude(topology: Topology, *, unfinished: Sequence[Topology] = (), private_fd: int) -> None:
    """Note that what was announced has been built, but for something that `unfinished` specs had brought."""
    ours = _remembered(topology)
    others = [other for other in map(_remembered, unfinished) if other != ours]
    if others:
        _write(_NEXT, [*others, ours], private_fd)
    os.replace(_NEXT, _APPLIED, src_dir_fd=private_fd, dst_dir_fd=private_fd)
    directory.remove(_PENDING, dir_fd=private_fd)


def _remembered(topology: Topology) -> dict[str, Any]:
    return {"host": topology.only_host, "spec": topology.document}


def _write(name: str, value: list[dict[str, Any]], private_fd: int) -> None:
    staged = f"{name}.new"
    directory.remove(staged, dir_fd=private_fd)
    directory.write(staged, json.dumps(value, ensure_ascii=False), dir_fd=private_fd, mode=layout.FILE_MODE)
    os.replace(staged, name, src_dir_fd=private_fd, dst_dir_fd=private_fd)


def _read(name: str, private_fd: int, source: str) -> list[Topology]:
    try:
        text = directory.read(name, dir_fd=private_fd, limit=_MAX_BYTES)
        return [
            check.make_topology(remembered["spec"], host=remembered["host"], source=source)
            for remembered in json.loads(text)
        ]
    except FileNotFoundError:
        return []
    except directory.UnreadableError as error:
        raise TreeError(f"{source}: {error}: remove it, or start over (--reset)") from None
    except (ValueError, KeyError, TypeError, RecursionError, FakehwError):
        raise TreeError(f"{source}: is damaged: remove it, or start over (--reset)") from None
