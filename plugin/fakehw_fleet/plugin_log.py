"""The plugins' log, a file for all nodes, which `fakehw scenario run --plugin-log` reads."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from fakehw_plugin import logs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME: Final = "plugin.log"


def begin(directory: Path) -> None:
    """Make it anew."""
    (directory / NAME).write_bytes(b"")


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Write to it from now on; several processes may, a line at a time."""
    with (directory / NAME).open("a", encoding="utf-8") as log:
        logs.configure(level="info", format_="json", stream=log)
        yield
