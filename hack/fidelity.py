"""Try the claims of tests/fidelity on the kubelet of NODE, as root on its machine: `make fidelity`.

Most of its time a kubelet waits for its next tick, so claims are tried side by side, each with a resource of its own.
After them come, one by one, the claims marked `alone`: those that kill the kubelet, or that others would disturb.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "together": ["-m", "cluster and not alone", "--numprocesses", "6", "--maxschedchunk", "1"],
    "alone": ["-m", "cluster and alone", "--numprocesses", "0"],
}
NOTHING_CHOSEN = 5
"""What pytest ends with if its arguments leave no test."""


def run(arguments: list[str], junit: Path | None = None) -> int:
    """Run both parts with pytest's `arguments`; return 0 if every claim held.

    A part leaves `real-PART.xml` in `junit`.
    """
    codes = [part(name, arguments, junit) for name in PARTS]
    ended = [code for code in codes if code != NOTHING_CHOSEN]
    return next((code for code in ended if code), 0) if ended else NOTHING_CHOSEN


def part(name: str, arguments: list[str], junit: Path | None) -> int:
    """Run one part, and return how pytest ended."""
    xml = [f"--junit-xml={junit / f'real-{name}.xml'}"] if junit else []
    command = [sys.executable, "-m", "pytest", *PARTS[name], "-o", "log_cli=false", *xml, "tests/fidelity", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    chosen, junit_folder = sys.argv[1:], None
    if chosen[:1] == ["--junit"]:
        junit_folder, chosen = Path(chosen[1]), chosen[2:]
    sys.exit(run(chosen, junit_folder))
