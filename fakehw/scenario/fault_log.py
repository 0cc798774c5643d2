"""Faults with dates, as a CSV: what happened to which device of which node, and when. A scenario of any length.

    at,node,device,event,reason
    2.5h,gpu-17,gpu/3,break,GPU has fallen off the bus
    11h,gpu-17,gpu/3,mend,

`at` is a duration from the start, or a date and time (ISO 8601) in all rows. `device` is CLASS/NUMBER, a pattern of it,
or nothing for all devices of the node. `event` is break, mend, unplug or plug. Lines that begin with # are remarks.
"""

from __future__ import annotations

import csv
import datetime
import fnmatch
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fakehw import durations, layout
from fakehw.errors import InputError, SpecError
from fakehw.layout import Health
from fakehw.scenario.timeline import Act, Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from fakehw.layout import TreePath

COLUMNS: Final = ("at", "node", "device", "event", "reason")
MAX_ROWS: Final = 1_000_000

_REQUIRED: Final = ("at", "node", "event")
MAX_BYTES: Final = 128 << 20
_MAX_REASON: Final = 200
_SHOWN_PROBLEMS: Final = 20
_ACTS: Final = {"break": Act.SET, "mend": Act.SET, "unplug": Act.UNPLUG, "plug": Act.PLUG}


@dataclass(frozen=True, slots=True)
class Row:
    """One line: `at_s` seconds from the start, `event` happens to `device` of `node`."""

    at_s: float
    node: str
    device: str
    event: str
    reason: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class FaultLog:
    """A checked log, its rows in the order of time."""

    source: str
    rows: Sequence[Row]

    @property
    def name(self) -> str:
        """Return what people call it."""
        return self.source

    @property
    def lasts_s(self) -> float:
        """Return how long it lasts."""
        return self.rows[-1].at_s if self.rows else 0.0

    def timeline(self, devices: Sequence[TreePath]) -> tuple[Change, ...]:
        """Return what happens on a tree with these devices; SpecError for rows that name none of them."""
        by_node: dict[str, list[TreePath]] = {}
        for path in devices:
            by_node.setdefault(path.node, []).append(path)
        found: dict[tuple[str, str], tuple[TreePath, ...]] = {}
        changes, problems = [], []
        for row in self.rows:
            key = row.node, row.device
            if key not in found:
                found[key] = tuple(_matching(row.device, by_node.get(row.node, ())))
            if found[key]:
                changes.append(Change(row.at_s, row.event, _ACTS[row.event], found[key], _text(row)))
            else:
                problems.append(
                    f"{self.source}:{row.line}: {row.node} {row.device or '(all devices)'}: "
                    "must be of the tree: see fakehw list"
                )
        _refuse(problems)
        return tuple(changes)


def is_one(raw: bytes) -> bool:
    """Tell whether this is a log, and no scenario in YAML: its first line with anything in it names two columns."""
    lines = (line.strip().lower() for line in raw.splitlines())
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return len({cell.strip() for cell in first.split(b",")} & {column.encode() for column in COLUMNS}) > 1


def load(path: Path, *, name: str) -> FaultLog:
    """Read and check a log; InputError with one line for each error. `name` is what errors call the file."""
    try:
        with path.open("rb") as stream:
            return read(stream, source=name)
    except OSError as error:
        rule = "must be a fault log, a CSV file that can be read"
        raise InputError(f"{name!r}: {error.strerror}: {rule} (FILE)") from None


def read(stream: BinaryIO, *, source: str) -> FaultLog:
    """Read and check a log from an open file."""
    raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise SpecError(f"{source}:1: must be at most {MAX_BYTES >> 20} MiB long")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{source}:{raw[: error.start].count(10) + 1}: must be UTF-8 text") from None
    problems: list[str] = []
    columns: list[str] | None = None
    rows: list[Row] = []
    moments = _Moments()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            (cells,) = csv.reader([line], strict=True)
            if columns is None:
                columns = _columns(cells)
            else:
                rows.append(_row(dict(zip(columns, cells, strict=True)), number, moments))
        except (ValueError, csv.Error) as error:
            said = str(error)
            if "zip()" in said:
                said = f"{len(cells)} values: must be as many as there are columns, {len(columns or ())}"
            problems.append(f"{source}:{number}: {said}")
            if columns is None:
                break
        if len(rows) > MAX_ROWS:
            problems.append(f"{source}:{number}: must have at most {MAX_ROWS} rows")
            break
    if columns is None and not problems:
        problems.append(f"{source}:1: is empty: must begin with the line {','.join(COLUMNS)}")
    _refuse(problems)
    return FaultLog(source, moments.from_zero(rows))


def lines(rows: Iterable[Row], *, remarks: Iterable[str] = ()) -> Iterator[str]:
    """Yield the lines of a log that `read` reads."""
    for remark in remarks:
        yield f"# {layout.one_line(remark)}"
    for cells in (COLUMNS, *((_at(row.at_s), row.node, row.device, row.event, row.reason) for row in rows)):
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="").writerow(cells)
        yield buffer.getvalue()


class _Moments:
    """Durations, or dates: whichever the first row has, all have."""

    def __init__(self) -> None:
        self._has_dates: bool | None = None

    def read(self, text: str) -> float:
        """Return seconds, from the start or from the epoch."""
        try:
            value, has_dates = durations.moment(text), False
        except ValueError as error:
            try:
                date = datetime.datetime.fromisoformat(text)
            except ValueError:
                raise ValueError(f"at: {text!r}: {error}, or a date and time such as 2026-11-26T12:00:00Z") from None
            zone = date.tzinfo or datetime.UTC
            value, has_dates = date.replace(tzinfo=zone).timestamp(), True
        if self._has_dates is None:
            self._has_dates = has_dates
        if self._has_dates != has_dates:
            raise ValueError(
                f"at: {text!r}: must be a {'date' if self._has_dates else 'duration'}, as in the first row"
            )
        return value

    def from_zero(self, rows: list[Row]) -> list[Row]:
        """Return the rows in the order of time; dates count from the first."""
        ordered = sorted(rows, key=lambda row: row.at_s)  # stable: what happens at one moment keeps its order
        if not self._has_dates:
            return ordered
        zero = ordered[0].at_s
        return [Row(row.at_s - zero, row.node, row.device, row.event, row.reason, row.line) for row in ordered]


def _columns(cells: list[str]) -> list[str]:
    columns = [cell.strip().lower() for cell in cells]
    unknown = [column for column in columns if column not in COLUMNS]
    missing = [column for column in _REQUIRED if column not in columns]
    if unknown or missing or len(set(columns)) < len(columns):
        raise ValueError(
            f"{','.join(cells)[:80]!r}: the first line must name the columns {','.join(COLUMNS)}, each once"
        )
    return columns


def _row(cells: dict[str, str], line: int, moments: _Moments) -> Row:
    cells = {column: text.strip() for column, text in cells.items()}
    at_s = moments.read(cells["at"])
    node, event = cells["node"], cells["event"].lower()
    if not layout.NODE_NAME.fullmatch(node):
        raise ValueError(f"node: {node!r}: {layout.NODE_RULE}")
    device = cells.get("device", "")
    if device and (device.count("/") != 1 or not all(device.split("/"))):
        raise ValueError(f"device: {device!r}: must be CLASS/NUMBER, such as gpu/3 or gpu/*, or empty for all devices")
    if event not in _ACTS:
        raise ValueError(f"event: {event!r}: must be one of {', '.join(_ACTS)}")
    reason = layout.one_line(cells.get("reason", ""))
    if len(reason) > _MAX_REASON:
        raise ValueError(f"reason: {reason[:40]!r}...: must be at most {_MAX_REASON} characters")
    return Row(at_s, node, device, event, reason, line)


def _matching(device: str, paths: Sequence[TreePath]) -> Iterator[TreePath]:
    class_name, _, number = device.partition("/")
    for path in paths:
        if not device or (
            fnmatch.fnmatchcase(str(path.class_name), class_name) and fnmatch.fnmatchcase(str(path.number), number)
        ):
            yield path


def _text(row: Row) -> str:
    if row.event == "break":
        return layout.health_text(Health.UNHEALTHY, row.reason)
    return layout.health_text(Health.HEALTHY, row.reason) if row.event == "mend" else ""


def _at(at_s: float) -> str:
    return f"{at_s:.3f}".rstrip("0").rstrip(".")


def _refuse(problems: list[str]) -> None:
    if len(problems) > _SHOWN_PROBLEMS:
        more = len(problems) - _SHOWN_PROBLEMS
        problems = [*problems[:_SHOWN_PROBLEMS], f"... and {more} more lines like these"]
    if problems:
        raise SpecError(*problems)
