"""Scenarios by name: a file, or one of the gallery that comes with fakehw."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from fakehw.scenario import fault_log, script


def gallery() -> dict[str, Path]:
    """Return the scenarios that come with fakehw, by name."""
    with importlib.resources.as_file(importlib.resources.files("fakehw.scenario").joinpath("gallery")) as directory:
        return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def from_gallery(name: str) -> script.Scenario:
    """Return one of the gallery."""
    return script.load(gallery()[name], name=name)


def load(name: str) -> script.Scenario | fault_log.FaultLog:
    """Return the scenario or the fault log (.csv) in a file, or the one of the gallery that is called so."""
    path = Path(name)
    if path.suffix.lower() == ".csv":
        return fault_log.load(path, name=name)
    if "/" not in name and not path.exists() and name in gallery():
        path = gallery()[name]
    return script.load(path, name=name)
