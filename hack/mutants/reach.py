"""Which tests reach which function, and how long each takes."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hack.mutants.places import Mutant


class Reach:
    """What was noted while all tests ran once."""

    def __init__(self, took: dict[str, float], ran: dict[str, list[str]], failed: list[str]) -> None:
        self.failed = failed
        """Tests that failed while they were noted."""
        self._took = took
        self._sizes = {test: len(places) for test, places in ran.items()}
        self._ran = ran
        self._by_function: defaultdict[str, list[str]] = defaultdict(list)
        self._by_module: defaultdict[str, set[str]] = defaultdict(set)
        for test, places in ran.items():
            for place in places:
                self._by_function[place].append(test)
                self._by_module[place.partition(" ")[2]].add(test)

    @staticmethod
    def gather(parts: Iterable[Path], failed: list[str]) -> Reach:
        """Read what the processes noted."""
        took: dict[str, float] = {}
        ran: defaultdict[str, set[str]] = defaultdict(set)
        for part in parts:
            test = ""
            for line in part.read_text().splitlines():
                if line.startswith("T "):
                    test = line[2:]
                elif line.startswith("D "):
                    took[test] = float(line[2:])
                elif line.rpartition(" ")[2].endswith(".py"):
                    ran[test].add(line)
        return Reach(took, {test: sorted(places) for test, places in ran.items()}, failed)

    @staticmethod
    def read(path: Path) -> Reach:
        """Read what was written."""
        return Reach(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        """Keep it."""
        path.write_text(json.dumps({"took": self._took, "ran": self._ran, "failed": self.failed}))

    def took(self, test: str) -> float:
        """Return how many seconds a test took; one that nobody saw the end of took long."""
        took = self._took.get(test, 10.0)
        return took if took >= 0 else 10.0  # some tests turn the clock

    def tests_for(self, mutant: Mutant, root: Path) -> list[str]:
        """Return the tests that may notice: first those that are quick, run little else, and are in a file about it."""
        tests = self._by_function.get(f"{mutant.function} {mutant.path}") or self._by_module.get(mutant.path, ())
        stem = Path(mutant.path).stem
        weight = {file: _weight(root / file, stem) for file in {test.partition("::")[0] for test in tests}}

        def cost(test: str) -> float:
            return (self.took(test) + 0.02) * self._sizes[test] * weight[test.partition("::")[0]]

        return sorted(tests, key=cost)


def _weight(file: Path, stem: str) -> float:
    if stem in file.name:
        return 0.01
    return 0.1 if file.is_file() and stem in file.read_text() else 1.0
