"""Structured logs: readable on a terminal, one JSON object a line elsewhere.

Events are constant snake_case words; everything that varies is a key. The same key means the same thing everywhere:
`resource`, `device_id`, `health`, `was`, `reason`, `generation`, `endpoint`, `error`.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final, TextIO

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("auto", "console", "json")


def configure(*, level: str = "info", format_: str = "auto", stream: TextIO | None = None) -> None:
    """Configure structlog for the process.

    `level` is one of LEVELS, `format_` one of FORMATS: `auto` means console on a terminal and JSON elsewhere. Logs
    go to standard error unless `stream` says otherwise.
    """
    out = stream or sys.stderr
    console = format_ == "console" or (format_ == "auto" and out.isatty())
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty()))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )


def get_logger(**bound: object) -> FilteringBoundLogger:
    """Return a logger that carries `bound` on every line."""
    logger: FilteringBoundLogger = structlog.get_logger(**bound)
    return logger
