"""All of them by name."""

from __future__ import annotations

import inspect

from tests.broken_plugins import calls, lists, recovery, registration, sound, watched

EVERY: dict[str, type[sound.Sound]] = {"Sound": sound.Sound} | {
    name: kind
    for module in (registration, lists, calls, recovery, watched)
    for name, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, sound.Sound) and not name.startswith("_")
}
