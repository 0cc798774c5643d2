"""How often servers fail, for how long, how soon again and how many at once: figures with their sources, as data files.

Rates count every fault, relapses and members of bursts included, as published figures do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fakehw import durations, layout, output, parser
from fakehw.errors import InputError
from fakehw.spec import document, schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DIRECTORY: Final = Path(__file__).parent


class Fault(NamedTuple):
    """One kind of fault. `rate` is per 1,000 days of a node, or of a device of the part where `is_of_device`."""

    reason: str
    part: str
    rate: float
    is_of_device: bool
    repair: tuple[tuple[float, float], ...]
    """Quantiles: part of 1, and the seconds by which so many are over."""
    spread_chance: float
    spread_devices: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All that a synthetic year is drawn from."""

    about: str
    source: str
    faults: tuple[Fault, ...]
    relapse: tuple[tuple[float, float, float], ...]
    """Chance of a relapse between so many seconds and so many after the repair."""
    bursts: tuple[tuple[int, float], ...]
    """Nodes that fail at once, and how often that was seen."""
    day_shape: float | None
    """Of the gamma distribution, with mean 1, of how busy a day is; None: all days are alike."""

    @property
    def relapse_chance(self) -> float:
        """Return the chance that a repaired node fails again soon."""
        return sum(chance for _, _, chance in self.relapse)

    @property
    def burst_size(self) -> float:
        """Return how many nodes fail at once, on average."""
        return sum(size * weight for size, weight in self.bursts) / sum(weight for _, weight in self.bursts)


def names() -> list[str]:
    """Return the names of the figures that come with fakehw."""
    return sorted(path.stem for path in _DIRECTORY.glob("*.yaml"))


def load(name: str) -> Figures:
    """Read and check figures, a file or a name; InputError with one line for each error."""
    path, known = Path(name), _DIRECTORY / f"{name}.yaml"
    if "/" not in name and not path.exists() and known.exists():
        path = known
    try:
        with output.opened(path, "--figures") as stream:
            raw = stream.read(document.MAX_BYTES + 1)
    except OSError as error:
        rule = f"must be a file that can be read, or one of {', '.join(names())}{parser.did_you_mean(name, names())}"
        raise InputError(f"{name!r}: {error.strerror}: {rule} (--figures)") from None
    return read(raw, source="stdin" if name == "-" else name)


def read(raw: bytes, *, source: str) -> Figures:
    """Return the checked figures in `raw`; `source` is what errors call it."""
    parsed = document.parse(raw, source=source, expected="the key faults")
    schema.refuse(parsed, _problems(parsed.data))
    data = parsed.data
    within = sorted(
        (durations.moment(key), chance) for key, chance in data.get("relapse", {}).get("within", {}).items()
    )
    starts = (0.0, *(moment for moment, _ in within))
    return Figures(
        data["about"],
        data["source"],
        tuple(map(_fault, data["faults"])),
        tuple((start, end, chance) for start, (end, chance) in zip(starts, within, strict=False)),
        tuple((int(size), weight) for size, weight in data.get("bursts", {}).get("sizes", {"1": 1}).items()),
        data.get("days", {}).get("shape"),
    )


def _fault(fields: Mapping[str, Any]) -> Fault:
    is_of_device = "per_1000_device_days" in fields
    spreads = fields.get("spreads", {})
    return Fault(
        fields["reason"],
        fields["part"],
        fields["per_1000_device_days" if is_of_device else "per_1000_node_days"],
        is_of_device,
        _quantiles(fields["repair"]),
        spreads.get("chance", 0.0),
        spreads.get("devices", 1),
    )


def _quantiles(repair: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    return tuple(sorted((int(key) / 100, durations.moment(str(value))) for key, value in repair.items()))


def _check_reason(text: str) -> None:
    if text != layout.one_line(text):
        raise ValueError("must be one line with no control characters, no runs of space and none around it")


_SCHEMA: Final = schema.Schema(
    "fakehw.scenario",
    "figures.schema.json",
    {"fakehw-moment": durations.moment, "fakehw-reason": _check_reason},
)


def _problems(data: Any) -> Iterator[schema.Problem]:  # not checked yet
    found = list(_SCHEMA.problems(data))
    yield from found
    if found:
        return
    for number, fault in enumerate(data["faults"]):
        times = [moment for _, moment in _quantiles(fault["repair"])]
        if times != sorted(times):
            yield ("faults", number, "repair"), "must not fall from one percentile to the next"
    if sum(data.get("relapse", {}).get("within", {}).values()) > 0.95:
        yield ("relapse", "within"), "must come to at most 0.95 in all: else a node fails for ever"
