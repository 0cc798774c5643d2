"""`python -m tests.broken_plugins NAME STATE` runs one of them, on the directory in PLUGIN_DIR.

`--many NAME DIRECTORY STATE NAME DIRECTORY STATE ...` runs each in a process forked from this one, which is a tenth of
the work of starting it. SIGTERM to the process group ends them all.
"""

from __future__ import annotations

import os
import signal
import sys

from tests.broken_plugins import sound
from tests.broken_plugins.every import EVERY


def many(words: list[str]) -> None:
    for name, directory, state in zip(words[::3], words[1::3], words[2::3], strict=True):
        if os.fork() == 0:  # grpc has not been used yet: its threads do not survive a fork (contract PIT-11)
            os.environ["PLUGIN_DIR"] = directory
            sound.main(EVERY[name], state)
    signal.pause()


if sys.argv[1] == "--many":
    many(sys.argv[2:])
else:
    sound.main(EVERY[sys.argv[1]], sys.argv[2])
