"""`python -m tests.broken_plugins NAME STATE` runs one of them, on the directory in PLUGIN_DIR.

`--serve SOCKET` forks one for everybody who asks on that socket (`forks`).
"""

from __future__ import annotations

import os
import sys

from tests.broken_plugins import forks, sound
from tests.broken_plugins.every import EVERY

name, state = sys.argv[1:]
if name == "--serve":
    name, os.environ["PLUGIN_DIR"], state = forks.serve(state)
sound.main(EVERY[name], state)
