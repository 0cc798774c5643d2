"""A boot id of one's own for a process: what tells a driver that the machine has been rebooted.

The process is started in a mount namespace in which another file lies over the kernel's; root can do that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_SCRIPT: Final = f'mount --bind "$1" {BOOT_ID} && shift && exec "$@"'
_TRY_S: Final = 10.0


def with_new_boot_id(command: Sequence[str], place: Path) -> tuple[str, ...] | None:
    """Return what starts *command* on a machine that seems rebooted; None if that is not to be had here.

    *place* is a directory for the file.
    """
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        return None
    path = place / "boot_id"
    path.write_text(f"{uuid.uuid4()}\n")
    around = (unshare, "--mount", "--propagation", "private", "/bin/sh", "-c", _SCRIPT, "sh", str(path))
    try:
        tried = subprocess.run([*around, "cat", BOOT_ID], capture_output=True, timeout=_TRY_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (*around, *command) if tried.stdout == path.read_bytes() else None
