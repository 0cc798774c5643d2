"""One mutant after the other: put it into the copy, run what reaches it, until something notices.

A process that has loaded pytest and what the tests need of others is forked for every run: starting is most of what a
few tests cost.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hack.mutants.environment import QUIET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hack.mutants.environment import Environment
    from hack.mutants.places import Mutant
    from hack.mutants.reach import Reach

BATCHES = (6, 24, 100, 400)
"""How many tests are tried at once: mostly, one of the first notices."""
MOST_S = 100.0
"""So much of tests' time is spent on one mutant; what is left of those that reach it is said."""
SLACK_S = 180.0
MARK = "MUTANTS_TRIAL"
_NO_SUCH_TEST = 4

_SERVER = """
import json, os, socket, struct, sys, traceback
import pytest, pytest_asyncio, pytest_timeout, xdist.plugin, hypothesis.strategies, asyncio, yaml, structlog, grpc
import pyfakefs.fake_filesystem_unittest
door = socket.socket(fileno=int(sys.argv[1]))
file = door.makefile("r")
for line in file:
    arguments, log = json.loads(line)
    pid = os.fork()
    if not pid:
        door.close()
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(out, 1), os.dup2(out, 2), os.close(out)
        code = 70
        try:
            code = int(pytest.main(arguments))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    door.sendall(struct.pack("=i", pid))
    door.sendall(struct.pack("=i", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
"""


class Trial:
    """Tries mutants in a copy. A context manager."""

    def __init__(
        self, environment: Environment, reach: Reach | None, tests: Sequence[str], left_out: Sequence[str]
    ) -> None:
        self._environment = environment
        self._reach = reach
        self._tests = tests
        self._left_out = set(left_out)

    def __enter__(self) -> Trial:
        self._door, theirs = socket.socketpair()
        environ = {**os.environ, MARK: str(os.getpid())}
        command = [str(self._environment.python), "-c", _SERVER, str(theirs.fileno())]
        self._server = subprocess.Popen(command, cwd=self._environment.copy, pass_fds=[theirs.fileno()], env=environ)
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()
        self._server.wait(30)

    def _receive(self) -> int:
        answer = self._door.recv(4, socket.MSG_WAITALL)
        if len(answer) < 4:
            raise ChildProcessError("the process that runs the tests is gone")
        return int.from_bytes(answer, "little", signed=True)

    def run(self, tests: Sequence[str], limit_s: float) -> tuple[int, str]:
        """Run tests, up to the first that fails; the exit code is -1 where the time is up."""
        log = self._environment.state / "run.log"
        flags = ["-q", "-x", "-n0", "-p", "no:cacheprovider", *QUIET]
        self._door.sendall(json.dumps([[*flags, *tests], str(log)]).encode() + b"\n")
        pid = self._receive()
        self._door.settimeout(limit_s)
        is_late = False
        try:
            code = self._receive()
        except TimeoutError:
            is_late = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            self._door.settimeout(60)
            code = self._receive()
        self._door.settimeout(None)
        self._end_what_is_left()
        output = log.read_text(errors="replace")
        return -1 if is_late else code, output

    def _end_what_is_left(self) -> None:
        """Kill what a run has started and not ended: nothing else has our mark, or runs the copy."""
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and int(process.name) not in (os.getpid(), self._server.pid):
                with contextlib.suppress(OSError):
                    is_ours = f"{MARK}={os.getpid()}".encode() in (process / "environ").read_bytes().split(b"\0")
                    if is_ours or str(self._environment.python).encode() in (process / "cmdline").read_bytes():
                        os.kill(int(process.name), signal.SIGKILL)

    @contextlib.contextmanager
    def _changed(self, mutant: Mutant) -> Iterator[None]:
        """Have the mutant in the copy. Its time is another one, by which bytecode is told."""
        path = self._environment.copy / mutant.path
        before, times = path.read_bytes(), path.stat()
        path.write_bytes(before[: mutant.start] + mutant.text.encode() + before[mutant.end :])
        os.utime(path, (time.time(), times.st_mtime + 2 + mutant.start))
        try:
            yield
        finally:
            path.write_bytes(before)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def require_soundness(self, test: str) -> None:
        """Have a test pass that nobody changed anything for: else, whatever is tried would count as killed."""
        code, output = self.run([test], SLACK_S)
        if code:
            raise ChildProcessError(f"{test} fails as it is: {output[-2000:]}")

    def try_out(self, mutant: Mutant) -> tuple[str, str]:
        """Return what became of a mutant: killed, deadline, time limit, survived or not reached; and by what."""
        reaching = list(self._tests) if self._reach is None else self._reach.tests_for(mutant, self._environment.copy)
        reaching = [test for test in reaching if test not in self._left_out]
        if not reaching:
            return "not reached", ""
        tests, spent = [], 0.0
        for test in reaching:
            spent += self._reach.took(test) if self._reach else 0.0
            if tests and spent > MOST_S:
                break
            tests.append(test)
        flakes: list[str] = []
        with self._changed(mutant):
            done = 0
            for size in BATCHES:
                batch = tests[done : done + size]
                done += size
                while batch:
                    word, test = self._verdict(batch)
                    if word == "flake":
                        flakes.append(test)
                        batch = [name for name in batch if name != test]
                    elif word:
                        return word, test
                    else:
                        break
        return "survived", f"{min(done, len(tests))} of {len(reaching)} tests" + (
            f", flakes {flakes}" if flakes else ""
        )

    def _verdict(self, tests: Sequence[str]) -> tuple[str, str]:
        limit_s = SLACK_S + 20 * sum(self._reach.took(test) if self._reach else 5.0 for test in tests)
        code, output = self.run(tests, limit_s)
        if code == _NO_SUCH_TEST:  # the tests are newer than what is known of them
            there = [test for test in tests if f"{test}\n" not in output]
            return self._verdict(there) if 0 < len(there) < len(tests) else ("", "")
        if code == -1 or "Timeout (>" in output:
            return "time limit", ""
        if code in (0, 5):
            return "", ""
        failed = [line.split(" ", 1)[1] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        name, _, why = failed[0].partition(" - ") if failed else ("", "", output[-80:])
        if name in tests:  # once more: what a busy machine does, it does not do twice
            code, output = self.run([name], limit_s)
            if code in (0, 5):
                return "flake", name
        is_deadline = "TimeoutError" in why
        return "deadline" if is_deadline else "killed", f"{name} {why}"[:160]
