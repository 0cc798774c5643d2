"""Scenarios by name: a file, or one of the gallery that comes with fakehw."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING

from fakehw import output, parser
from fakehw.errors import InputError
from fakehw.scenario import fault_log, script

if TYPE_CHECKING:
    from collections.abc import Sequence


def gallery() -> dict[str, Path]:
    """Return the scenarios that come with fakehw, by name."""
    with importlib.resources.as_file(importlib.resources.files("fakehw.scenario").joinpath("gallery")) as directory:
        return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def from_gallery(name: str) -> script.Scenario:
    """Return one of the gallery."""
    return script.load(gallery()[name], name=name)


def load(name: str, *, devices: Sequence[str] = ()) -> script.Scenario | fault_log.FaultLog:
    """Return the scenario or fault log (.csv) in a file, that of standard input (-), or the one of the gallery.

    `devices` are patterns that take the place of those in every step.
    """
    found = _load(name)
    if not devices:
        return found
    if not isinstance(found, script.Scenario):
        raise InputError(f"{name}: a fault log names its own devices (--devices)")
    return found.on(devices)


def _load(name: str) -> script.Scenario | fault_log.FaultLog:
    if name == "-":
        return script.read(output.given("FILE -"), source="stdin")
    path = Path(name)
    if path.suffix.lower() == ".csv":
        return fault_log.load(path, name=name)
    if "/" not in name and not path.exists() and name in gallery():
        path = gallery()[name]
    if "/" not in name and not path.exists():
        suggestion = parser.did_you_mean(name, gallery())
        rule = "must be a scenario file, or a name of `fakehw scenario list`"
        raise InputError(f"{name}: No such file or directory: {rule}{suggestion}")
    return script.load(path, name=name)
