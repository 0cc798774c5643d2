"""Play random histories of tree, kubelet and plugin for a bounded time: `make soak MINUTES=10 SEED=1`.

Rounds of tests/integration/test_model.py, each from a seed that is printed before it begins;
`make soak SEED=n ROUNDS=1` plays that one again.
"""

from __future__ import annotations

import argparse
import logging
import resource
import secrets
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog

from tests.integration import test_model

EXAMPLES, STEPS = 50, 80


def main() -> int:
    """Play until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="of the first round; the next has the next number")
    parser.add_argument("--rounds", type=int, default=0, help="at most so many; 0: as many as there is time for")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    first = secrets.randbelow(1 << 32) if given.seed is None else given.seed
    end, total, rounds = time.monotonic() + given.minutes * 60, 0, 0
    while time.monotonic() < end and (not given.rounds or rounds < given.rounds):
        print(f"seed {first + rounds} ...", end=" ", flush=True)
        began = time.monotonic()
        steps = test_model.play(examples=EXAMPLES, steps=STEPS, seed=first + rounds)
        total, rounds = total + steps, rounds + 1
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{steps} steps, nothing lost, {time.monotonic() - began:.0f} s, peak RSS {rss:.0f} MiB", flush=True)
    print(f"{total} steps in {rounds} rounds, nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
