"""Log lines that nobody takes are lost and counted, and hold up nobody."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

import pytest

from fakehw_plugin import log_sink
from fakehw_plugin.log_sink import LogSink

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 4096)
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)


def test_a_line_arrives_whole_and_as_it_is(pipe: tuple[int, int]) -> None:
    sink = LogSink(pipe[1])

    sink.write("grün \udcff\n")

    assert os.read(pipe[0], 100) == "grün \\udcff\n".encode()
    assert sink.lost == 0


def test_without_a_stream_every_line_is_lost() -> None:
    sink = LogSink(None)
    for _ in range(3):
        sink.write("x\n")

    assert (sink.lost, sink.isatty()) == (3, False)


def test_a_full_disk_loses_lines() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    sink = LogSink(fd)
    sink.write("x\n")
    os.close(fd)

    assert sink.lost == 1


def test_a_reader_that_went_loses_lines(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    sink = LogSink(pipe[1])

    sink.write("x\n")

    assert sink.lost == 1


def test_a_descriptor_that_was_closed_loses_lines(pipe: tuple[int, int]) -> None:
    sink = LogSink(pipe[1])
    os.close(pipe[1])

    sink.write("x\n")

    assert sink.lost == 1


def test_a_reader_that_does_not_read_holds_up_nobody_and_finds_whole_lines_when_it_does(pipe: tuple[int, int]) -> None:
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 4 * 4096)
    sink, line = LogSink(pipe[1]), "y" * 999 + "\n"
    began = time.monotonic()
    for _ in range(1000):
        sink.write(line)
    spent = time.monotonic() - began

    kept = 1000 - sink.lost
    assert 4 <= kept <= 16
    assert spent < 0.5, "one moment of patience, not one for each line"
    assert os.read(pipe[0], 1 << 16) == line.encode() * kept
    sink.write("again\n")
    assert os.read(pipe[0], 100) == b"again\n"
    assert sink.lost == 1000 - kept


def test_a_line_that_was_cut_ends_before_the_next_one(pipe: tuple[int, int]) -> None:
    sink = LogSink(pipe[1])
    sink.write("z" * 9999 + "\n")
    assert sink.lost == 1
    assert os.read(pipe[0], 1 << 16) == b"z" * 4096

    sink.write("next\n")

    assert os.read(pipe[0], 100) == b"\nnext\n"
    assert sink.lost == 1


def test_patience_is_short() -> None:
    """Compared with numbers and not with the constants: they are what others are promised."""
    assert 0 < log_sink.PATIENCE_S <= 0.05
    assert log_sink.CALM_S >= 20 * log_sink.PATIENCE_S
