"""What a check says, and how one is declared."""

from __future__ import annotations

import dataclasses
import enum
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Verdict(enum.StrEnum):
    """What came of a check."""

    KEPT = "kept"
    BROKEN = "broken"
    UNJUDGED = "cannot be judged"


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """A verdict and what it rests on."""

    verdict: Verdict
    evidence: str


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One fact of the contract as a question to the evidence."""

    name: str
    facts: tuple[str, ...]
    """Numbers in docs/kubelet-contract.md."""
    claim: str
    """What a plugin does that keeps it; the first line of the function's docstring."""
    judge: Callable[[Any], Result]

    def __call__(self, seen: Any) -> Result:
        """Judge."""
        return self.judge(seen)


def check(*facts: str) -> Callable[[Callable[[Any], Result]], Check]:
    """Make a check of a function; its name in kebab case is the check's."""

    def make(judge: Callable[[Any], Result]) -> Check:
        claim = (judge.__doc__ or "").strip().split("\n")[0].rstrip(".")
        return Check(judge.__name__.replace("_", "-"), facts, claim, judge)

    return make


def kept(evidence: str) -> Result:
    """Return that the plugin does as it should."""
    return Result(Verdict.KEPT, evidence)


def broken(evidence: str) -> Result:
    """Return that it does not."""
    return Result(Verdict.BROKEN, evidence)


def unjudged(reason: str) -> Result:
    """Return that nothing was seen from which it would follow."""
    return Result(Verdict.UNJUDGED, reason)


def judged(faults: list[str], good: str) -> Result:
    """Return broken with the *faults* if there are any, kept with *good* otherwise."""
    return broken("; ".join(faults)) if faults else kept(good)


def start_of(text: str, most: int) -> str:
    """Return *text* on one line, cut between two words where it has more than *most* letters."""
    return textwrap.shorten(text, most, placeholder=" ...") if len(text) > most else " ".join(text.split())


def end_of(text: str, most: int) -> str:
    """Return the last words of *text* on one line, at most *most* letters of them, and say that there were others."""
    words = " ".join(text.split())
    if len(words) <= most:
        return words
    start = len(words) - most + len("... ")
    if words[start - 1] != " ":
        start = words.find(" ", start) + 1 or start
    return f"... {words[start:]}"


def some(names: Iterable[str], most: int = 5) -> str:
    """Return the first of *names*, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
