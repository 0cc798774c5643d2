"""All of them by name."""

from __future__ import annotations

from tests.broken_drivers import sound

EVERY: dict[str, type[sound.Sound]] = {"Sound": sound.Sound}
