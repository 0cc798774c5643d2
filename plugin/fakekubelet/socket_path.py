"""Paths of Unix sockets as gRPC wants to be told of them here, and as a kubelet's gRPC reads them."""

from __future__ import annotations

import contextlib
import re
import tempfile
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)


class UnreadablePathError(ValueError):
    """A kubelet's gRPC cannot make an address of a path; the text is its own."""


def target(path: Path) -> str:
    """Return *path* as the gRPC target of a server: a URI, in which `%2F`, `#` and `?` would mean something else."""
    return f"unix:{urllib.parse.quote(bytes(path), safe='/')}"


@contextlib.contextmanager
def dialed(path: Path) -> Iterator[str]:
    """Give the gRPC target by which a client reaches *path*, whether something is there yet or not.

    A client takes what follows a comma for another address, however the comma is written: it gets a link to follow.
    """
    if b"," not in bytes(path):
        yield target(path)
        return
    with tempfile.TemporaryDirectory(prefix="fk-", dir="/tmp") as directory:
        link = Path(directory) / "s"
        link.symlink_to(path.absolute())
        yield target(link)


def as_a_kubelet_reads(path: Path, directory: Path) -> Path:
    """Return where a kubelet looks for the socket *path* of a plugin: its name is taken for part of a URI (REG-9).

    What `#` or `?` begin is cut off, and `%41` is an A; raise UnreadablePathError for a `%` that begins nothing. The
    *directory* is taken as it is: a kubelet's own has no such letters, one of a test may.
    """
    text = str(path)
    prefix = f"{directory}/"
    known = prefix if text.startswith(prefix) else ""
    name = re.split(r"[#?]", text[len(known) :], maxsplit=1)[0]
    if (wrong := _BAD_ESCAPE.search(name)) is not None:
        raise UnreadablePathError(f'parse "passthrough:///{text}": invalid URL escape "{wrong[0]}"')
    return Path(known + urllib.parse.unquote(name, errors="surrogateescape"))
