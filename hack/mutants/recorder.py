"""Notes which test calls which function, in the tests' processes and in every process that they start.

Every Python of the environment of `make mutants` starts it while a file says so (`environment.Environment`). A process
of a test knows its test by what the nearest process above it has written down, whatever its own environment says.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import Any

_state = ""
_root = ""
_test = ""
_file = ""
_seen: set[tuple[str, int]] = set()
_began = 0.0


def start(state: str, root: str) -> None:
    """Note from now on what is called in this process, and for whom."""
    global _state, _root
    _state, _root = state, f"{root}/"
    _forget()
    os.register_at_fork(after_in_child=_forget)
    threading.settrace(_note)
    sys.settrace(_note)


def _forget() -> None:
    global _file
    _file = f"{_state}/ran/{os.getpid()}.{time.time_ns()}"
    _begin(_test_above())


def _begin(test: str) -> None:
    global _test
    _test = test
    _seen.clear()
    if _test:
        _write(f"T {test}")


def _write(line: str) -> None:
    """Keep no descriptor: there are tests that count them, and tests that close them."""
    with contextlib.suppress(OSError):
        fd = os.open(_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{line}\n".encode())
        finally:
            os.close(fd)


def _note(frame: Any, *_: object) -> None:
    """Called for every function of Python's that begins."""
    if _test:
        code = frame.f_code
        key = (code.co_filename, code.co_firstlineno)
        if key not in _seen:
            _seen.add(key)
            if key[0].startswith(_root):
                _write(f"{key[1]} {key[0][len(_root) :]}")


def _test_above() -> str:
    """Return the test that the nearest process above this one runs."""
    pid = os.getpid()
    while pid > 1:
        try:
            with open(f"{_state}/current/{pid}") as file:  # noqa: PTH123  # pathlib is not loaded yet
                return file.read()
        except OSError:
            pass
        try:
            with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123  # see above
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            return ""
    return ""


# As a plugin of pytest (`-p hack.mutants.recorder`), where the module that notes is the same one.


def pytest_runtest_setup(item: Any) -> None:
    """All that is called from now on is called for this test."""
    global _began
    if _state:
        with open(f"{_state}/current/{os.getpid()}", "w") as file:  # noqa: PTH123  # see above
            file.write(item.nodeid)
        _begin(item.nodeid)
        _began = time.monotonic()


def pytest_runtest_teardown(item: Any, nextitem: Any) -> None:
    """Say how long it took; what ends after it still counts for it."""
    del item, nextitem
    if _state:
        _write(f"D {time.monotonic() - _began:.3f}")
