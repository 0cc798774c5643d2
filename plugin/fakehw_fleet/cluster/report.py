"""How the nodes of a process are, in numbers that can be sent and summed up. Pure."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fakehw_fleet.summary import ResourceSum, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fakehw_fleet.metrics import Counts


@dataclass(slots=True)
class Report:
    """What a process of a fleet has to say."""

    summary: Summary
    states: Counter[str] = field(default_factory=Counter)
    """Its nodes by state."""
    to_do: int = 0
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """To the API server, by verb and resource."""
    counts: Counts = field(default_factory=dict)

    @property
    def whole_summary(self) -> Summary:
        """Return the summary with what is worth a line besides."""
        summary = self.summary
        notes = [", ".join(f"{count} {state}" for state, count in self.states.items() if state != "up")]
        notes.append(f"{sum(self.requests.values())} requests to the API server, {self.to_do} things to do")
        return Summary(summary.nodes, summary.ready, summary.resources, summary.pods, [*filter(None, notes)])

    def written(self) -> bytes:
        """Return it as a line."""
        fields: dict[str, Any] = {
            "nodes": self.summary.nodes,
            "ready": self.summary.ready,
            "resources": {name: asdict(one) for name, one in self.summary.resources.items()},
            "pods": self.summary.pods,
            "states": self.states,
            "to_do": self.to_do,
            "requests": _pairs(self.requests),
            "counts": {name: _pairs(counter) for name, counter in self.counts.items()},
        }
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Report:
        """Return what a line says."""
        fields = json.loads(line)
        resources = {name: ResourceSum(**one) for name, one in fields["resources"].items()}
        return cls(
            Summary(fields["nodes"], fields["ready"], resources, Counter(fields["pods"])),
            Counter(fields["states"]),
            fields["to_do"],
            Counter({(verb, resource): count for (verb, resource), count in fields["requests"]}),
            {name: Counter({tuple(key): n for key, n in pairs}) for name, pairs in fields["counts"].items()},
        )

    def without_nodes(self) -> Report:
        """Return what stays of it when its process has ended: what was counted."""
        return Report(Summary(0, 0, {}), requests=self.requests, counts=self.counts)


def total(reports: Iterable[Report]) -> Report:
    """Return the sum of reports."""
    whole = Report(Summary(0, 0, {}))
    for report in reports:
        _add(whole.summary, report.summary)
        whole.states += report.states
        whole.to_do += report.to_do
        whole.requests += report.requests
        for name, counter in report.counts.items():
            whole.counts[name] = whole.counts.get(name, Counter()) + counter
    return whole


def _add(whole: Summary, one: Summary) -> None:
    whole.nodes += one.nodes
    whole.ready += one.ready
    whole.pods += one.pods
    for name, more in one.resources.items():
        found = whole.resources.setdefault(name, ResourceSum())
        found.nodes += more.nodes
        found.capacity += more.capacity
        found.allocatable += more.allocatable
        found.allocated += more.allocated


def _pairs(counter: Counter[Any]) -> list[Any]:
    return [[list(key), count] for key, count in counter.items()]
