"""Specs that come with fakehw, each a file beside this module; its first line says what it is.

Wherever a spec is asked for, the name of one will do: `fakehw build --spec gpu-server`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_DIRECTORY: Final = Path(__file__).parent


def names() -> list[str]:
    """Return the names of all profiles."""
    return sorted(path.stem for path in _DIRECTORY.glob("*.yaml"))


def find(spec: Path | str) -> Path:
    """Return the file that `spec` means: itself, or where there is no such file the profile of that name."""
    path = Path(spec)
    profile = _DIRECTORY / f"{spec}.yaml"
    return profile if "/" not in str(spec) and not path.exists() and profile.exists() else path


def text(name: str) -> str:
    """Return the spec of a profile."""
    return (_DIRECTORY / f"{name}.yaml").read_text(encoding="utf-8")


def labels(name: str) -> dict[str, str]:
    """Return the labels that nodes with such hardware have, as the vendor's own discovery writes them."""
    return _strings(name, "x-labels")


def reasons(name: str) -> dict[str, str]:
    """Return why such a device breaks, by the vendor's code for it."""
    return _strings(name, "x-reasons")


def _strings(name: str, key: str) -> dict[str, str]:
    import yaml  # where a name is shown or found, none is read

    found = yaml.safe_load(text(name)).get(key) or {}
    return {str(given): str(value) for given, value in found.items()}


def meaning(name: str) -> str:
    """Return what a profile is, in a sentence."""
    return text(name).partition("\n")[0].removeprefix("# ")
