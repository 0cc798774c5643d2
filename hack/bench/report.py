"""Samples by measure and subject, as a table, as JSON and as a plot each."""

from __future__ import annotations

import contextlib
import re
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from hack.bench.measures import NotMeasuredError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def summary(samples: list[float]) -> dict[str, float]:
    """Return min, median, p99 and max."""
    ordered = sorted(samples)
    return {
        "n": len(ordered),
        "min": ordered[0],
        "p50": statistics.median(ordered),
        "p99": ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))],
        "max": ordered[-1],
    }


class Report:
    """Collects rounds; the ratio of a measure is the median of its rounds' paired medians."""

    def __init__(self, machine: dict[str, Any]) -> None:
        self.machine = machine
        self.left_out: dict[str, str] = {}
        self._rounds: defaultdict[str, defaultdict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))

    def add(self, measure: str, name: str, samples: list[float]) -> None:
        """Add one round of a subject."""
        self._rounds[measure][name].append(samples)

    @contextlib.contextmanager
    def measuring(self, measure: str, name: str) -> Iterator[Callable[[list[float]], None]]:
        """Give a way to add to `measure`; what cannot be measured is left out, and said under the table."""
        try:
            yield lambda samples: self.add(measure, name, samples)
        except NotMeasuredError as error:
            self.left_out[f"{name}: {measure}"] = str(error)

    def ratios(self, measure: str) -> dict[str, float]:
        """Return the first subject's median relative to each other's, paired by round."""
        (first, ours), *others = self._ordered(measure)
        return {
            f"{first} / {name}": statistics.median(
                statistics.median(mine) / statistics.median(theirs)
                for mine, theirs in zip(ours, rounds, strict=False)
                if statistics.median(theirs)
            )
            for name, rounds in others
            if any(statistics.median(theirs) for theirs in rounds)
        }

    def _ordered(self, measure: str) -> list[tuple[str, list[list[float]]]]:
        return sorted(self._rounds[measure].items(), key=lambda item: (item[0] != "fakehw", item[0]))

    def as_json(self) -> dict[str, Any]:
        """Return everything but the single samples."""
        measures = {
            measure: {
                "subjects": {
                    name: summary([one for samples in rounds for one in samples])
                    for name, rounds in self._ordered(measure)
                },
                "ratios": self.ratios(measure),
            }
            for measure in self._rounds
        }
        return {"machine": self.machine, "measures": measures, "left out": self.left_out}

    def table(self) -> str:
        """Return a Markdown table."""
        lines = [
            ", ".join(f"{key} {value}" for key, value in self.machine.items()),
            "",
            "| measure | subject | min | p50 | p99 | max | ratio of p50 |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for measure in self._rounds:
            ratios = self.ratios(measure)
            for number, (name, rounds) in enumerate(self._ordered(measure)):
                values = summary([one for samples in rounds for one in samples])
                cells = " | ".join(_number(values[key]) for key in ("min", "p50", "p99", "max"))
                ratio = next(
                    (
                        f"{value:.2f}" if value >= 0.1 else f"{value:.1g}"
                        for key, value in ratios.items()
                        if key.endswith(f"/ {name}")
                    ),
                    "",
                )
                lines.append(f"| {'' if number else measure} | {name} | {cells} | {ratio} |")
        lines += ["", *(f"not measured: {what}: {why}" for what, why in self.left_out.items())] if self.left_out else []
        return "\n".join(lines)

    def plot(self, out: Path) -> None:
        """Write an SVG for each measure."""
        import pygal  # not at the top: its importer in sys.meta_path upsets pyfakefs

        for measure in self._rounds:
            chart = pygal.Bar(title=measure, height=320, width=720, print_values=True, legend_at_bottom=True, js=[])
            chart.x_labels = ["min", "p50", "p99"]
            for name, rounds in self._ordered(measure):
                values = summary([one for samples in rounds for one in samples])
                chart.add(name, [round(values[key], 3) for key in ("min", "p50", "p99")])
            slug = re.sub(r"[^a-z0-9]+", "-", measure.lower()).strip("-")
            chart.render_to_file(str(out / f"{slug}.svg"))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
