"""`python -m tests.broken_drivers NAME STATE` runs one of them, in the places that the kit's environment names."""

from __future__ import annotations

import sys

from tests.broken_drivers import sound
from tests.broken_drivers.every import EVERY

name, state = sys.argv[1:]
sound.main(EVERY[name], state)
