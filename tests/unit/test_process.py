"""What a process does about itself before it serves."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from fakehw_plugin import process


def run(code: str, redirect: str = "") -> str:
    command = ["sh", "-c", f'"$@" {redirect}', "sh", sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_soft_limit_of_open_files_becomes_the_hard_one() -> None:
    code = """
import resource
from fakehw_plugin import process
resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
process.raise_open_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    assert run(code).strip() == str((hard, hard))


def test_closed_standard_streams_are_occupied_and_nothing_else_is_opened() -> None:
    code = """
import os, sys
out = int(sys.argv[1]) if len(sys.argv) > 1 else 7
from fakehw_plugin import process
process.occupy_standard_streams()
print(*(os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 2)), file=os.fdopen(7, "w"))
print(os.open("/dev/zero", os.O_RDONLY))
"""
    lines = run(code, "7>&1 <&- 2>&-").split()

    assert lines[:2] == ["/dev/null", "/dev/null"]


def test_importing_the_command_loads_nothing_that_can_wait() -> None:
    """So that --help and a bad flag are answered at once, and a registration waits for nothing."""
    code = "import sys, fakehw_plugin.cli; print(*sorted({'grpc', 'structlog', 'google.protobuf', 'prometheus_client', 'yaml'} & sys.modules.keys()))"

    assert run(code).strip() == ""


def test_serving_loads_neither_logs_nor_protobuf_before_it_has_to() -> None:
    code = "import sys, fakehw_plugin.daemon; print(*sorted({'structlog', 'google.protobuf', 'prometheus_client'} & sys.modules.keys()))"

    assert run(code).strip() == ""


def test_reading_the_flags_and_serving_load_no_part_of_python_that_others_only_bring_along() -> None:
    """Together they take as long to load as all modules of our own."""
    code = """
import sys, fakehw_plugin.cli, fakehw_plugin.daemon
fakehw_plugin.cli.read([], {})
print(*sorted({"dataclasses", "datetime", "shutil", "tempfile", "random", "fractions"} & sys.modules.keys()))
"""
    assert run(code).strip() == ""


def test_a_finder_of_libraries_is_there_for_everybody_else() -> None:
    code = "import fakehw_plugin.inotify, ctypes.util; print(ctypes.util.find_library is not None)"

    assert run(code).strip() == "True"


def test_the_thread_that_loads_sleeps_before_each_module_and_only_that_thread_and_only_then() -> None:
    """A kubelet's restart in that time took three times as long."""
    code = """
import sys, threading, types
from fakehw_plugin import logs, process
logs.defer(level="info", format_="json")
slept = []
process.time = types.SimpleNamespace(sleep=lambda seconds: slept.append((threading.current_thread().name, seconds)))
finders, before = list(sys.meta_path), len(sys.modules)
config = types.SimpleNamespace(pod_resources=None, http=("127.0.0.1", 0))
thread = threading.Thread(target=process._load_the_rest, args=(config,), name="loading")
thread.start()
thread.join()
loaded = len(sys.modules) - before
with process._pausing():
    other = threading.Thread(target=__import__, args=("colorsys",))
    other.start()
    other.join()
print(set(slept), len(slept) > 50, loaded / 2 < len(slept) <= 2 * loaded, sys.meta_path == finders, "colorsys" in sys.modules)
"""
    assert run(code).strip() == "{('loading', 0.001)} True True True True"


async def test_loading_waits_for_descriptors_and_for_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crashed for want of them, the plugin would lose its registrations."""
    monkeypatch.setattr(process, "LOAD_RETRY_S", 0.0)
    outcomes: list[Exception | str] = [OSError(24, "Too many open files"), ImportError("libc: error 24")] * 5
    starved = iter([True] * 10 + [False] * 10)

    def load(_: object) -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, str):
            return outcome
        raise outcome

    monkeypatch.setattr(process, "_load_the_rest", load)
    monkeypatch.setattr(process, "_has_no_descriptor", lambda: next(starved))
    outcomes.append("1.2.3")
    assert await process._load_patiently(None) == "1.2.3"  # type: ignore[arg-type]  # it is only passed on

    outcomes += [ImportError("no module named bug")] * 4
    with pytest.raises(ImportError, match="bug"):
        await process._load_patiently(None)  # type: ignore[arg-type]
    assert len(outcomes) == 1, "the third in a row is a bug"
