"""`python -m tests.broken_plugins NAME STATE` runs one of them, on the directory in PLUGIN_DIR.

`--many` reads lines: `NAME DIRECTORY STATE` runs one in a process forked from this one, which is a tenth of the work of
starting it, and `NAME` kills it. SIGKILL to the process group ends them all.
"""

from __future__ import annotations

import os
import signal
import sys

from tests.broken_plugins import sound
from tests.broken_plugins.every import EVERY


def many() -> None:
    running: dict[str, int] = {}
    for line in sys.stdin:
        name, *place = line.split()
        if not place:
            os.kill(running[name], signal.SIGKILL)
            os.waitpid(running.pop(name), 0)
            continue
        running[name] = os.fork()
        if running[name] == 0:  # grpc has not been used yet: its threads do not survive a fork (contract PIT-11)
            os.environ["PLUGIN_DIR"], state = place
            sound.main(EVERY[name], state)


if sys.argv[1] == "--many":
    many()
else:
    sound.main(EVERY[sys.argv[1]], sys.argv[2])
