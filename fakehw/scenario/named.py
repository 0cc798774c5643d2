"""Scenarios by name: a file, or one of the gallery that comes with fakehw."""

from __future__ import annotations

import importlib.resources
import io
from pathlib import Path
from typing import TYPE_CHECKING

from fakehw import output, parser
from fakehw.errors import InputError
from fakehw.scenario import fault_log, script
from fakehw.tree import selection

if TYPE_CHECKING:
    from collections.abc import Sequence


def gallery() -> dict[str, Path]:
    """Return the scenarios that come with fakehw, by name."""
    with importlib.resources.as_file(importlib.resources.files("fakehw.scenario").joinpath("gallery")) as directory:
        return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def from_gallery(name: str) -> script.Scenario:
    """Return one of the gallery."""
    return script.load(gallery()[name], name=name)


def load(name: str, *, devices: Sequence[str] = (), root: Path | None = None) -> script.Scenario | fault_log.FaultLog:
    """Return the scenario or fault log (.csv) in a file, that of standard input (-), or the one of the gallery.

    `devices` are patterns that take the place of those in every step; they may begin with the tree's `root`.
    """
    found = _load(name)
    if not devices:
        return found
    if not isinstance(found, script.Scenario):
        raise InputError(f"{name!r}: a fault log names its own devices (--devices)")
    return found.on(devices if root is None else [selection.below(text, root) for text in devices])


def _load(name: str) -> script.Scenario | fault_log.FaultLog:
    if name == "-":
        raw = output.given("FILE -").read(fault_log.MAX_BYTES + 1)
        read = fault_log.read if fault_log.is_one(raw) else script.read
        return read(io.BytesIO(raw), source="stdin")
    path = Path(name)
    if path.suffix.lower() == ".csv":
        return fault_log.load(path, name=name)
    if "/" not in name and not path.exists() and name in gallery():
        path = gallery()[name]
    if "/" not in name and not path.exists():
        suggestion = parser.did_you_mean(name, gallery())
        rule = "must be a scenario file, or a name of `fakehw scenario list`"
        raise InputError(f"{name!r}: No such file or directory: {rule}{suggestion} (FILE)")
    return script.load(path, name=name)
