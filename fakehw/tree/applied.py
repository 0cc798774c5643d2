"""What a tree remembers of the spec it was built from: the spec itself, as `kubectl apply` remembers its last one.

    .fakehw/applied.json   the spec of the last build
    .fakehw/pending.json   the specs of builds that have begun to change the tree and did not come to their end

What any of them names counts as brought by a spec, so that a build after one that was killed still takes away what
the killed one had brought.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from fakehw.errors import FakehwError, TreeError
from fakehw.spec import check
from fakehw.tree import directory

if TYPE_CHECKING:
    from fakehw.spec.topology import Topology

_APPLIED: Final = "applied.json"
_PENDING: Final = "pending.json"
_NEXT: Final = "next.json"
_MAX_BYTES: Final = 64 << 20


def read(private_fd: int, *, root: str) -> tuple[Topology, ...]:
    """Return the applied spec and the pending ones, newest last; TreeError if they are damaged."""
    return tuple(
        topology for name in (_APPLIED, _PENDING) for topology in _read(name, private_fd, f"{root}/.fakehw/{name}")
    )


def announce(topology: Topology, *, pending: tuple[Topology, ...], private_fd: int) -> None:
    """Write down, before the tree changes, what is about to be built; all that `conclude` needs is on the disk then."""
    ours = _remembered(topology)
    _write(_PENDING, [*(other for other in map(_remembered, pending) if other != ours), ours], private_fd)
    _write(_NEXT, [ours], private_fd)


def conclude(*, private_fd: int) -> None:
    """Note that what was announced has been built."""
    os.replace(_NEXT, _APPLIED, src_dir_fd=private_fd, dst_dir_fd=private_fd)
    directory.remove(_PENDING, dir_fd=private_fd)


def _remembered(topology: Topology) -> dict[str, Any]:
    return {"host": topology.only_host, "spec": topology.document}


def _write(name: str, value: list[dict[str, Any]], private_fd: int) -> None:
    staged = f"{name}.new"
    directory.remove(staged, dir_fd=private_fd)
    directory.write(staged, json.dumps(value, ensure_ascii=False), dir_fd=private_fd)
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
