"""Play random histories of tree, kubelet and plugin for a bounded time: `make soak MINUTES=10 SEED=1`.

Rounds of tests/integration/test_model.py, each from a seed that is printed before it begins;
`make soak SEED=n ROUNDS=1` plays that one again. Where it can be had (root, mkfs.btrfs), every second seed plays on
btrfs, in a loop file: there, a directory listed through an old descriptor does not show what is new.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it says of every plugin that ends that it ends

import structlog

from tests.integration import test_model

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES, STEPS = 50, 80


@contextlib.contextmanager
def btrfs() -> Iterator[Path | None]:
    """Mount a file system of 120 MiB from a file; None where that cannot be done."""
    if os.geteuid() or not shutil.which("mkfs.btrfs"):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="fhw-soak-") as directory:
        image, mount = Path(directory, "image"), Path(directory, "btrfs")
        mount.mkdir()
        with image.open("wb") as file:
            file.truncate(120 << 20)
        subprocess.run(["mkfs.btrfs", "--quiet", image], check=True, capture_output=True)
        if subprocess.run(["mount", "-o", "loop", image, mount], check=False, capture_output=True).returncode:
            yield None
            return
        try:
            yield mount
        finally:
            subprocess.run(["umount", "--lazy", mount], check=True)


def main() -> int:
    """Play until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="of the first round; the next has the next number")
    parser.add_argument("--rounds", type=int, default=0, help="at most so many; 0: as many as there is time for")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is mounted is taken off
    first = secrets.randbelow(1 << 32) if given.seed is None else given.seed
    end, total, rounds = time.monotonic() + given.minutes * 60, 0, 0
    with btrfs() as place:
        while time.monotonic() < end and (not given.rounds or rounds < given.rounds):
            seed = first + rounds
            on = place if seed % 2 else None
            print(f"seed {seed}{' on btrfs' if on else ''} ...", end=" ", flush=True)
            began = time.monotonic()
            steps = test_model.play(examples=EXAMPLES, steps=STEPS, seed=seed, place=on)
            total, rounds = total + steps, rounds + 1
            rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{steps} steps, nothing lost, {time.monotonic() - began:.0f} s, peak RSS {rss:.0f} MiB", flush=True)
    print(f"{total} steps in {rounds} rounds, nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
