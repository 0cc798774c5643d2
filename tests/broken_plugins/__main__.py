"""`python -m tests.broken_plugins NAME STATE` runs one of them."""

from __future__ import annotations

import sys

from tests.broken_plugins import sound
from tests.broken_plugins.every import EVERY

sound.main(EVERY[sys.argv[1]], sys.argv[2])
