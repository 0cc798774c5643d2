"""Structured logs: readable on a terminal, one JSON object a line elsewhere.

Events are constant snake_case words; everything that varies is a key. The same key means the same thing everywhere:
`resource`, `device_id`, `health`, `was`, `reason`, `generation`, `endpoint`, `error`.

Loading structlog takes as long as registering with a kubelet. So the command lets the first lines wait, with their
times, until the first resource is registered (`defer`, then `load`), warnings too: they would hold up the loop for
those 50 ms, and `process` does not wait long. Without `defer`, as in tests and in other people's programs, structlog is
used as it is configured there.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

from fakehw_plugin.log_sink import LogSink

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, MutableMapping

    from structlog.typing import Processor

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("auto", "console", "json")


class _Waiting(NamedTuple):
    """Lines that wait for structlog, and how it is to be configured then."""

    level: str
    format: str
    lines: list[tuple[str, str, dict[str, Any]]]


_waiting: _Waiting | None = None
_sink: LogSink | None = None
_final: Any = None
"""The process's one logger, once `load` has made it; finding it anew costs more than writing a line."""


class Logger:
    """Logs events with the keys it is bound to; `timestamp`, in seconds of time.time(), for what was not just now."""

    __slots__ = ("_bound",)

    def __init__(self, **bound: object) -> None:
        self._bound = bound

    def debug(self, event: str, **values: object) -> None:
        """Log what only helps to follow the program."""
        self._log("debug", event, values)

    def info(self, event: str, **values: object) -> None:
        """Log a stage of life or a change of a device."""
        self._log("info", event, values)

    def warning(self, event: str, **values: object) -> None:
        """Log what is not as it should be and is dealt with."""
        self._log("warning", event, values)

    def error(self, event: str, **values: object) -> None:
        """Log what somebody has to mend."""
        self._log("error", event, values)

    def _log(self, level: str, event: str, values: dict[str, object]) -> None:
        if _waiting is not None:
            _waiting.lines.append((level, event, {"timestamp": time.time(), **self._bound, **values}))
            return
        _write(level, event, {**self._bound, **values})


def get_logger(**bound: object) -> Logger:
    """Return a logger that carries `bound` on every line."""
    return Logger(**bound)


def defer(*, level: str, format_: str) -> None:
    """Let lines wait until `load`, which configures structlog with one of LEVELS and one of FORMATS."""
    global _waiting  # like structlog's own, the configuration is the process's
    _waiting = _Waiting(level, format_, [])


def load() -> None:
    """Load and configure structlog, and write what has waited; nothing if nothing is deferred."""
    global _final, _waiting  # like structlog's own, the configuration is the process's
    if _waiting is None:
        return
    configure(level=_waiting.level, format_=_waiting.format)
    _final = _current().bind()
    lines, _waiting = _waiting.lines, None
    for level, event, values in lines:
        _write(level, event, values)


def _write(level: str, event: str, values: dict[str, Any]) -> None:
    """Write a line; its `timestamp`, in seconds of time.time(), if it has one and is not of this moment."""
    if "timestamp" in values:
        import datetime  # later, like structlog

        values["timestamp"] = _iso(datetime.datetime.fromtimestamp(values["timestamp"], datetime.UTC))
    getattr(_final or _current(), level)(event, **values)


def preload() -> None:
    """Import what `load` needs, so that it takes no time; from any thread. Nothing if nothing is deferred."""
    if (waiting := _waiting) is None:
        return
    with contextlib.nullcontext() if _is_console(waiting.format, _standard_error()) else _without_rich():
        import structlog  # noqa: F401  # it is in sys.modules then


def _is_console(format_: str, out: TextIO | LogSink) -> bool:
    return format_ == "console" or (format_ == "auto" and out.isatty())


def _current() -> Any:
    import structlog

    return structlog.get_logger()


@contextlib.contextmanager
def _without_rich() -> Iterator[None]:
    """Let structlog load without rich, which it takes, where that is installed, for tracebacks on a terminal.

    It comes with the extra `top`, and takes longer to load than structlog itself, and 5 MB.
    """
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # so an import fails, says Python's language reference
    try:
        yield
    finally:
        sys.modules.pop("rich", None)


def configure(*, level: str = "info", format_: str = "auto", stream: TextIO | None = None) -> None:
    """Configure structlog for the process.

    `level` is one of LEVELS, `format_` one of FORMATS: `auto` means console on a terminal and JSON elsewhere. Logs go
    to standard error unless `stream` says otherwise. Colors are for terminals, unless NO_COLOR is set.
    """
    import logging

    out = stream or _standard_error()
    console = _is_console(format_, out)
    with contextlib.nullcontext() if console else _without_rich():
        import structlog

    processors: list[Processor] = [_json_renderer()]
    if console:
        processors = [
            structlog.processors.add_log_level,
            structlog.processors.MaybeTimeStamper(fmt="iso"),
            _without_control_characters,
            structlog.dev.ConsoleRenderer(colors=out.isatty() and not os.environ.get("NO_COLOR")),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=out),  # type: ignore[arg-type]  # it wants write and flush
        cache_logger_on_first_use=True,
    )


def _json_renderer() -> Processor:
    """Return structlog's processors for JSON in one: a line is written for each Allocate, and each of theirs counts.

    `json.dumps` would make an encoder for each line, as it does for what is not its own.
    """
    import datetime
    import json

    encode, utc = json.JSONEncoder(default=str).encode, datetime.UTC

    def render(_: object, level: str, values: MutableMapping[str, Any]) -> str:
        values["level"] = level
        if "timestamp" not in values:
            values["timestamp"] = _iso(datetime.datetime.now(utc))
        return encode(values)

    return render


def _iso(at: datetime.datetime) -> str:
    """Return a time of UTC as ISO 8601 has it, with a Z as structlog writes it."""
    return at.isoformat().replace("+00:00", "Z")


def _without_control_characters(_: object, __: str, values: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what is not printable, so that a file's name does not speak to the terminal; JSON does so by itself."""
    for key, value in values.items():
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            escaped = (char if char.isprintable() else char.encode("unicode_escape").decode() for char in value)
            values[key] = "".join(escaped)
    return values


def lines_lost() -> int:
    """Return the lines that standard error did not take."""
    return _sink.lost if _sink is not None else 0


def _standard_error() -> TextIO | LogSink:
    """Return standard error as what never fails; as it is where a program has put something of its own there."""
    global _sink  # like structlog's own, the configuration is the process's
    stream: TextIO | None = sys.stderr  # None where it was closed before the process began
    if stream is None or stream is sys.__stderr__:
        _sink = _sink or LogSink(None if stream is None else stream.fileno())
        return _sink
    return stream
