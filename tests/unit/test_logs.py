from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _nothing_waits_afterwards() -> Iterator[None]:
    yield
    logs._waiting = logs._final = None


def test_a_line_carries_what_its_logger_is_bound_to() -> None:
    with capture_logs() as lines:
        logs.get_logger(resource="r").info("registered", endpoint="e")

    assert lines == [{"event": "registered", "resource": "r", "endpoint": "e", "log_level": "info"}]


def test_lines_wait_in_order_and_keep_their_times(capsys: pytest.CaptureFixture[str]) -> None:
    logs.defer(level="info", format_="json")
    logs.get_logger().info("first")
    logs.get_logger().debug("not wanted")
    logs.get_logger().info("second")
    assert capsys.readouterr().err == ""

    logs.load()

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["first", "second"]
    assert lines[0]["timestamp"] < lines[1]["timestamp"]


def test_a_warning_waits_too_and_loads_nothing_in_the_loop(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second stream, of which the plugin warns, waited 35 ms for its first list."""
    logs.defer(level="info", format_="json")
    logs.get_logger().info("before")
    with monkeypatch.context() as patch:
        patch.setattr(logs, "configure", lambda **_: pytest.fail("structlog was loaded for it"))
        logs.get_logger().warning("trouble")
    assert capsys.readouterr().err == ""

    logs.load()

    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["before", "trouble"]


def test_loading_twice_writes_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    logs.defer(level="info", format_="json")
    logs.get_logger().info("once")
    logs.load()
    logs.load()

    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(("format_", "is_json"), [("auto", True), ("json", True), ("console", False)])
def test_off_a_terminal_lines_are_json_unless_asked_otherwise(format_: str, is_json: bool) -> None:
    out = io.StringIO()
    logs.configure(format_=format_, stream=out)
    logs.get_logger().info("event", key="value")

    assert out.getvalue().startswith("{") == is_json
    assert "value" in out.getvalue()


LOADS_FOR = """
import sys
from fakehw_plugin import logs
logs.configure(format_=sys.argv[1])
print("rich" in sys.modules)
import rich
"""


@pytest.mark.parametrize(("format_", "is_loaded"), [("json", False), ("console", True)])
def test_rich_is_loaded_for_a_console_only_and_stays_importable(format_: str, is_loaded: bool) -> None:
    pytest.importorskip("rich")

    said = subprocess.run([sys.executable, "-c", LOADS_FOR, format_], capture_output=True, text=True, check=True)

    assert said.stdout == f"{is_loaded}\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("environ", "is_colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_a_terminal_gets_colors_unless_no_color_is_set(
    environ: dict[str, str], is_colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    out = Terminal()
    logs.configure(stream=out)
    logs.get_logger().info("event", key="value")

    assert ("\x1b[" in out.getvalue()) == is_colored


@pytest.mark.parametrize("format_", ["console", "json"])
def test_what_a_stranger_named_does_not_reach_the_terminal_raw(format_: str) -> None:
    out = io.StringIO()
    logs.configure(format_=format_, stream=out)
    logs.get_logger().info("event", path="/t/\x1b[31m\x07", reason="a\nb \u202e \x9b")

    assert out.getvalue().count("\n") == 1
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out.getvalue())
