"""Mutants: change one thing in the code at a time, and see whether a test notices. `make mutants`, never in CI.

    make mutants                          300 of all three packages
    make mutants SAMPLE=60 SEED=2 ONLY=fakehw/tree
    make mutants STATE=/tmp/mutants       goes on there where it was stopped

A sample is drawn from all places where a comparison can be turned, a condition negated, a number changed, a call or a
return left out; the same seed draws the same sample of the same code. All tests are run once, to see which test
reaches which function, in the commands that it starts too; a mutant is then tried on those that reach the function it
is in. One that is only noticed by a time limit counts as not noticed. What survives is shown as a difference: whether
it changes behaviour at all, a person has to judge.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from hack.mutants import places
from hack.mutants.environment import Environment
from hack.mutants.trial import Trial


def main() -> int:
    """Draw, try, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="the beginning of a path, such as fakehw/tree")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long, with what there is")
    parser.add_argument("--state", type=Path, help="keep the copy, what tests reach and the results here, and go on")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)) + 1)
    parser.add_argument("tests", nargs="*", help="tests to try them on, instead of those that reach them")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    with contextlib.ExitStack() as stack:
        state = arguments.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fhw-mutants-")))
        state.mkdir(parents=True, exist_ok=True)
        environment = Environment(state.resolve())
        drawn = places.sample(environment.copy, arguments.only, arguments.sample, arguments.seed)
        reach = None if arguments.tests else environment.reach(arguments.workers)
        left_out = environment.failing(reach.failed) if reach else []
        print(f"fail as it is, left out: {left_out}", flush=True)
        results = state / f"results-{arguments.seed}-{arguments.only.replace('/', '.') or 'all'}.jsonl"
        done = (
            {tuple(json.loads(line)["at"]) for line in results.read_text().splitlines()} if results.exists() else set()
        )
        with Trial(environment, reach, arguments.tests, left_out) as trial:
            trial.require_soundness((arguments.tests or ["tests/unit/test_turns.py"])[0])
            for mutant in drawn:
                at = (mutant.path, mutant.start, mutant.text)
                if time.monotonic() > end:
                    break
                if at in done:
                    continue
                began = time.monotonic()
                word, by = trial.try_out(mutant)
                change = places.difference(mutant, environment.copy)
                row = {"at": at, "word": word, "by": by, "change": change, "s": round(time.monotonic() - began, 1)}
                with results.open("a") as file:
                    file.write(json.dumps({**row, "mutant": asdict(mutant)}) + "\n")
                print(f"{word:<11} {mutant.path}:{mutant.line} ({mutant.kind}) {by}", flush=True)
                if word != "killed":
                    print(change, flush=True)
        counts = Counter(json.loads(line)["word"] for line in results.read_text().splitlines())
    print(", ".join(f"{count} {word}" for word, count in counts.most_common()) + f" of {counts.total()} tried")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
