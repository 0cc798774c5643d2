"""All checks, in the order of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fakekubelet.conformance import call_checks, list_checks, recovery_checks, registration_checks

if TYPE_CHECKING:
    from fakekubelet.conformance.verdict import Check, Result

Groups = Mapping[str, "tuple[Check, ...]"]

GROUPS: Final[Groups] = {
    "registration": registration_checks.CHECKS,
    "lists": list_checks.CHECKS,
    "calls": call_checks.CHECKS,
    "coming back and going": recovery_checks.CHECKS,
}


class Finding(NamedTuple):
    """One check and its result."""

    group: str
    check: Check
    result: Result


def judge(seen: Any, groups: Groups = GROUPS) -> list[Finding]:
    """Ask every check; *seen* is the evidence that those of *groups* read."""
    return [Finding(group, check, check(seen)) for group, checks in groups.items() for check in checks]


def markdown(groups: Groups = GROUPS, *, who: str = "plugin") -> str:
    """Return the checks as tables for docs/conformance.md, which a test compares."""
    lines = []
    for group, checks in groups.items():
        lines += [
            f"### {group[:1].upper()}{group[1:]}",
            "",
            f"| Check | A {who} that keeps it | Contract |",
            "| --- | --- | --- |",
        ]
        lines += [f"| `{check.name}` | {check.claim} | {', '.join(check.facts)} |" for check in checks]
        lines.append("")
    return "\n".join(lines)
