"""The findings for people (a table) and for machines (JSON, JUnit XML)."""

from __future__ import annotations

import collections
import json
import textwrap
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from fakekubelet.conformance.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakekubelet.conformance.catalogue import Finding
    from fakekubelet.conformance.dra.evidence import Evidence as DraEvidence
    from fakekubelet.conformance.evidence import Evidence

_MARKS = {Verdict.KEPT: "kept", Verdict.BROKEN: "BROKEN", Verdict.UNJUDGED: "-"}
_COLORS = {Verdict.KEPT: "32", Verdict.BROKEN: "31", Verdict.UNJUDGED: "2"}


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """Return how often each verdict was given."""
    found = collections.Counter(str(finding.result.verdict) for finding in findings)
    return {str(verdict): found[verdict] for verdict in Verdict}


def table(findings: Sequence[Finding], *, width: int, color: bool) -> str:
    """Return one row a check, grouped; the evidence is wrapped to *width* columns."""
    name_width = max(len(finding.check.name) for finding in findings)
    indent = name_width + 11
    lines: list[str] = []
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            lines += ["", f"{group[:1].upper()}{group[1:]}"]
        mark = f"{_MARKS[finding.result.verdict]:6}"
        if color:
            mark = f"\x1b[{_COLORS[finding.result.verdict]}m{mark}\x1b[0m"
        facts = f" ({', '.join(finding.check.facts)})" if finding.result.verdict is Verdict.BROKEN else ""
        said = textwrap.wrap(" ".join(f"{finding.result.evidence}{facts}".split()), max(30, width - indent)) or [""]
        lines.append(f"  {finding.check.name:{name_width}} {mark} {said[0]}")
        lines += [" " * (indent - 1) + more for more in said[1:]]
    total = counts(findings)
    lines += ["", ", ".join(f"{number} {verdict}" for verdict, number in total.items())]
    return "\n".join(lines[1:])


def as_json(findings: Sequence[Finding], seen: Evidence | DraEvidence) -> str:
    """Return the findings, what was tested and how often each verdict was given."""
    content: dict[str, Any] = {
        "command": list(seen.settings.command),
        "kubelet": seen.settings.mode,
        "resources": seen.resources,
        "counts": counts(findings),
        "checks": [
            {
                "name": finding.check.name,
                "group": finding.group,
                "claim": finding.check.claim,
                "contract": list(finding.check.facts),
                "verdict": str(finding.result.verdict),
                "evidence": finding.result.evidence,
            }
            for finding in findings
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def as_junit(findings: Sequence[Finding]) -> str:
    """Return a test suite: broken is a failure, what cannot be judged is skipped."""
    total = counts(findings)
    suite = ElementTree.Element(
        "testsuite",
        name="fakehw-conformance",
        tests=str(len(findings)),
        failures=str(total[Verdict.BROKEN]),
        skipped=str(total[Verdict.UNJUDGED]),
        errors="0",
    )
    for finding in findings:
        case = ElementTree.SubElement(suite, "testcase", classname=finding.group, name=finding.check.name)
        said = _xml_text(finding.result.evidence)
        if finding.result.verdict is Verdict.BROKEN:
            failure = ElementTree.SubElement(case, "failure", message=said)
            failure.text = f"{finding.check.claim} ({', '.join(finding.check.facts)})"
        elif finding.result.verdict is Verdict.UNJUDGED:
            ElementTree.SubElement(case, "skipped", message=said)
        else:
            ElementTree.SubElement(case, "system-out").text = said
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _xml_text(text: str) -> str:
    """Drop what XML cannot hold: a plugin's words are its own."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
