"""All checks, in the order of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from fakekubelet.conformance import call_checks, list_checks, recovery_checks, registration_checks

if TYPE_CHECKING:
    from fakekubelet.conformance.evidence import Evidence
    from fakekubelet.conformance.verdict import Check, Result

GROUPS: Final[dict[str, tuple[Check, ...]]] = {
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


def judge(seen: Evidence) -> list[Finding]:
    """Ask every check."""
    return [Finding(group, check, check(seen)) for group, checks in GROUPS.items() for check in checks]


def markdown() -> str:
    """Return the checks as tables for docs/conformance.md, which a test compares."""
    lines = []
    for group, checks in GROUPS.items():
        lines += [
            f"### {group.capitalize()}",
            "",
            "| Check | A plugin that keeps it | Contract |",
            "| --- | --- | --- |",
        ]
        lines += [f"| `{check.name}` | {check.claim} | {', '.join(check.facts)} |" for check in checks]
        lines.append("")
    return "\n".join(lines)
