"""All of them by name."""

from __future__ import annotations

import inspect

from tests.broken_drivers import claims, life, registration, slices, sound

EVERY: dict[str, type[sound.Sound]] = {"Sound": sound.Sound} | {
    name: kind
    for module in (registration, slices, claims, life)
    for name, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, sound.Sound) and not name.startswith("_")
}
