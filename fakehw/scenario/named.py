"""Scenarios by name: a file, or one of the gallery that comes with fakehw."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from fakehw.scenario import script


def gallery() -> dict[str, Path]:
    """Return the scenarios that come with fakehw, by name."""
    with importlib.resources.as_file(importlib.resources.files("fakehw.scenario").joinpath("gallery")) as directory:
        return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def load(name: str) -> script.Scenario:
    """Return the scenario in a file, or the one of the gallery that is called so."""
    path = Path(name)
    if "/" not in name and not path.exists() and name in gallery():
        path = gallery()[name]
    return script.load(path, name=name)
