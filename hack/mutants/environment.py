"""A copy of the repository in which modules can be changed, and an environment in which every process takes the copy.

The environment is one of its own: many tests start commands with no variable but PATH, and PYTHONPATH would not reach
them. Third-party packages are those of the environment that runs this.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from hack.mutants.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Sequence

QUIET = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
"""What was loaded before pytest is no test's, and has nothing to be rewritten."""
BATCH = 4
MOST_S = 1200.0
REPOSITORY = Path(__file__).resolve().parents[2]


class Environment:
    """What stands in the directory `state`; used again if it is there."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.copy = state / "copy"
        self.python = state / "venv/bin/python"
        if not self.copy.exists():
            self._make_copy()
            self._make_venv()

    def _make_copy(self) -> None:
        listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
        for name in listed.stdout.splitlines():
            if (REPOSITORY / name).is_file():
                (self.copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, self.copy / name)

    def _make_venv(self) -> None:
        """The commands of this environment, and its packages, but the copy in the place of the repository."""
        venv.create(self.state / "venv", symlinks=True)
        ours = Path(sysconfig.get_path("purelib"))
        theirs = self.state / "venv/lib" / f"python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        started = f"os.path.exists({str(self.state / 'recording')!r})"
        start = f"__import__('hack.mutants.recorder').mutants.recorder.start({str(self.state)!r}, {str(self.copy)!r})"
        lines = [str(self.copy), str(self.copy / "plugin"), str(ours), f"import os; {started} and {start}"]
        (theirs / "copy.pth").write_text("\n".join(lines) + "\n")
        for command in filter(Path.is_file, Path(sys.executable).parent.iterdir()):
            target = self.python.parent / command.name
            with command.open("rb") as file:
                is_script = file.readline().startswith(f"#!{sys.executable}".encode())
            if is_script and not target.exists():
                target.write_text(command.read_text().replace(sys.executable, str(self.python), 1))
                target.chmod(0o755)

    def reach(self, workers: int) -> Reach:
        """Run all tests once, as far as that was not done, and return which test reaches what.

        Some files at a time, each batch in a process of its own: what crashes while it is traced costs no more.
        """
        for name in ("ran", "current", "logs"):
            (self.state / name).mkdir(exist_ok=True)
        if not (self.state / "reach.json").exists():
            files = [str(path.relative_to(self.copy)) for path in sorted((self.copy / "tests").rglob("test_*.py"))]
            batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
            (self.state / "recording").touch()
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(self._run_once, batches))
            (self.state / "recording").unlink()
            failed = [name for log in (self.state / "logs").iterdir() for name in _failed(log)]
            Reach.gather(sorted((self.state / "ran").iterdir()), failed).write(self.state / "reach.json")
        return Reach.read(self.state / "reach.json")

    def _run_once(self, files: Sequence[str]) -> None:
        log = self.state / "logs" / Path(files[0]).name
        if not log.exists():
            flags = ["-q", "-n0", "-p", "no:cacheprovider", "-p", "hack.mutants.recorder", "-o", "timeout=600", *QUIET]
            self._pytest(*flags, *files, log="logs/.running." + log.name)
            log.with_name(f".running.{log.name}").rename(log)

    def _pytest(self, *arguments: str, log: str) -> int:
        with (self.state / log).open("wb") as output:
            process = subprocess.Popen(
                [str(self.python), "-m", "pytest", *arguments],
                cwd=self.copy, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip  # a flag beside its value
            try:
                return process.wait(MOST_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return process.wait()

    def failing(self, tests: Sequence[str]) -> list[str]:
        """Return those of the tests that fail as it is, each tried alone and with nobody noting."""
        return [test for test in tests if self._pytest("-q", "-p", "no:cacheprovider", "-n0", test, log="again.log")]


def _failed(log: Path) -> list[str]:
    lines = log.read_text(errors="replace").splitlines()
    return [line.split(" ", 1)[1].partition(" - ")[0] for line in lines if line.startswith(("FAILED ", "ERROR "))]
