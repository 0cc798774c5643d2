"""What this process has open of a test's own; descriptors of other threads, such as gRPC's, come and go meanwhile."""

from __future__ import annotations

import contextlib
from pathlib import Path


def open_below(path: Path) -> list[str]:
    """Return what is open at `path` or below it, as the kernel names it."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(descriptor.readlink()))
    return sorted(name for name in found if str(path) in name)
