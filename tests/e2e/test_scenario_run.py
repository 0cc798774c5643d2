"""Scenarios on a real tree, with the plugin and a fake kubelet behind it: the gallery, receipts, and putting back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from fakehw import FakeTree, cli, load_topology
from fakehw.scenario import named
from fakekubelet import FakeKubelet
from tests.running import DEADLINE_S, listed, running_fakehw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.lengthy

SEED = Path(__file__).parents[2] / "deploy" / "base" / "topology.yaml"
RESOURCES = [f"myplugin.io/mydevice-{number}" for number in (1, 2, 3)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    FakeTree(tmp_path / "tree").build(load_topology(SEED))
    return tmp_path / "tree"


@contextlib.asynccontextmanager
async def served(root: Path, short_dir: Path) -> AsyncIterator[list[str]]:
    """Run a kubelet and the plugin; give the flags that name them."""
    log, socket = root.parent / "log", short_dir / "pr.sock"
    async with FakeKubelet(short_dir / "dp", pod_resources_socket=socket) as kubelet:
        with log.open("wb") as stream:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "fakehw_plugin", "--root", str(root), "--plugin-dir", str(short_dir / "dp"),
                "--pod-resources", str(socket), stderr=stream, env={"PATH": os.environ["PATH"]},
            )  # fmt: skip  # a flag beside its value
        try:
            await listed(kubelet, RESOURCES)
            yield ["--plugin-log", str(log), "--pod-resources", str(socket)]
        finally:
            process.terminate()
            await process.wait()


@pytest.fixture
async def sources(root: Path, short_dir: Path) -> AsyncIterator[list[str]]:
    async with served(root, short_dir) as flags:
        yield flags


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Path, list[str]]]:
    """Give a tree that is served, and the flags, to all scenarios of the gallery one after the other."""
    root = tmp_path_factory.mktemp("gallery") / "tree"
    FakeTree(root).build(load_topology(SEED))
    with tempfile.TemporaryDirectory(prefix="fhw-", dir="/tmp") as sockets:
        async with served(root, Path(sockets)) as flags:
            yield root, flags


async def receipts(*arguments: str) -> tuple[list[dict[str, Any]], int, str]:
    async with running_fakehw("scenario", "run", *arguments, "-o", "json") as process, asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return [json.loads(line) for line in out.splitlines()], process.returncode, err.decode()


def snapshot(root: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in sorted(root.glob("[!.]*/**/*")) if path.is_file()}


SPEEDS = {"torn-write": 10, "storm": 3}
"""As fast as it goes without ending up in another lesson; the others run 100 times as fast."""


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", named.gallery())
async def test_every_scenario_of_the_gallery_lands_and_leaves_the_tree_as_it_was(
    name: str, bench: tuple[Path, list[str]]
) -> None:
    root, sources = bench
    log = Path(sources[1])
    before, logged = snapshot(root), len(log.read_text())
    speed = SPEEDS.get(name, 100)

    rows, code, err = await receipts(name, "--root", str(root), "--speed", str(speed), "--patience", "4s", *sources)

    assert (code, err) == (0, "")
    assert snapshot(root) == before
    planned = named.load(name).timeline([path for path, _ in FakeTree(root).read().devices()])
    assert [row["at_s"] for row in rows if row["step"] != "restore"] == [round(change.at_s, 6) for change in planned]
    for row in rows:
        assert row["problem"] == ""
        for hop in ("seen", "landed"):
            assert row[hop]["missing"] == 0, row
            assert row[hop]["arrived"] + row[hop]["passed_over"] == row[hop]["expected"], row
            assert row[hop]["last_at"] is None or row[hop]["last_at"] >= row["written_at"] - 0.001
    assert any(row["seen"]["arrived"] for row in rows)
    assert any(row["landed"]["arrived"] for row in rows)
    if name == "slow-death":
        assert [row["seen"]["expected"] for row in rows] == [1, 1, 1, 1, 1]
        assert [row["landed"]["expected"] for row in rows] == [0, 0, 0, 1, 1], "warnings change no allocatable"
    if name == "torn-write":
        assert [(row["act"], row["seen"]["expected"]) for row in rows] == [("tear", 0), ("finish", 1), ("set", 1)]
        assert "health file" not in log.read_text()[logged:], "nobody saw a state that nobody wrote"


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


LONG = "steps:\n- unplug: {devices: node2/dev3/3}\n- break: {devices: node2/dev3/*, reason: long}\nfor: 1h\n"


async def printed(process: asyncio.subprocess.Process, word: bytes) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"the output ended without {word!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_stop_puts_everything_back(number: signal.Signals, root: Path, tmp_path: Path) -> None:
    (root / "node2/dev3/1/health").write_text("Healthy since Monday\nall fine\n")
    (root / "node2/dev3/3/model").write_text("by hand\n")
    before = snapshot(root)
    async with (
        running_fakehw("scenario", "run", write(tmp_path / "s.yaml", LONG), "--root", str(root)) as process,
        asyncio.timeout(DEADLINE_S),
    ):
        await printed(process, b"long")
        assert not (root / "node2/dev3/3").exists()
        assert (root / "node2/dev3/1/health").read_text() == "unhealthy long\n"
        process.send_signal(number)
        _, err = await process.communicate()

    assert (process.returncode, err.decode()) == (130, "fakehw: stopped; the devices are as they were\n")
    assert snapshot(root) == before


async def test_what_somebody_else_changed_meanwhile_is_left_alone(root: Path, tmp_path: Path) -> None:
    async with (
        running_fakehw("scenario", "run", write(tmp_path / "s.yaml", LONG), "--root", str(root)) as process,
        asyncio.timeout(DEADLINE_S),
    ):
        await printed(process, b"long")
        (root / "node2/dev3/2/health").write_text("unhealthy by a person\n")
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()

    assert err.splitlines() == [
        b"fakehw: /node2/dev3/2: was changed by somebody else meanwhile: left as it is",
        b"fakehw: stopped; all but 1 of the devices are as they were",
    ]
    assert (root / "node2/dev3/2/health").read_text() == "unhealthy by a person\n"
    assert (root / "node2/dev3/1/health").read_text() == "healthy\n"


def test_without_anyone_who_saw_it_a_change_is_missing_and_the_exit_code_says_so(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write(tmp_path / "log", "")
    file = write(tmp_path / "s.yaml", "steps:\n- break: {devices: node2/dev3/1}\n")
    code = cli.main([
        "scenario", "run", file, "--root", str(root), "--plugin-log", log, "--pod-resources", str(tmp_path / "nobody.sock"),
        "--patience", "0.1", "--keep", "-o", "json",
    ])  # fmt: skip  # a flag beside its value
    assert code == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["seen"]["missing"], row["landed"]["missing"]) for row in rows] == [(1, 1)]
    assert (root / "node2/dev3/1/health").read_text() == "unhealthy broken by a scenario\n", "--keep"


async def test_a_storm_of_many_devices_is_receipted_though_the_log_names_only_the_first(
    root: Path, tmp_path: Path, sources: list[str]
) -> None:
    for number in range(4, 104):
        (root / f"node2/dev3/{number}").mkdir()
        (root / f"node2/dev3/{number}/health").write_text("healthy\n")
    async with asyncio.timeout(DEADLINE_S):
        while (
            "more_devices_changed" not in Path(sources[1]).read_text()
            and '"node2-dev3-103"' not in Path(sources[1]).read_text()
        ):
            await asyncio.sleep(0.01)
    file = write(tmp_path / "s.yaml", "steps:\n- break: {devices: node2/dev3/*, for: 20s}\n")

    rows, code, _ = await receipts(file, "--root", str(root), "--speed", "10", *sources)

    assert code == 0
    assert [row["seen"]["arrived"] for row in rows] == [103, 103]
    assert [row["landed"]["arrived"] for row in rows] == [103, 103]


def test_a_dry_run_prints_the_timeline_and_touches_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(root)
    assert cli.main(["scenario", "run", "unplug-replug", "--root", str(root), "--dry-run", "--speed", "10"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "     2.000s  unplug      unplug node2/dev3/2",
        "     3.000s  unplug      plug   node2/dev3/2",
        "     4.000s  unplug      unplug node2/dev3/1, node2/dev3/2",
        "     5.000s  plug        plug   node2/dev3/1, node2/dev3/2",
        "     5.000s  restore",
    ]
    assert snapshot(root) == before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nothing.yaml"], "fakehw: 'nothing.yaml': No such file or directory: must be a scenario file, or a name of `fakehw scenario list` (FILE)\n"),
        (["storm", "--speed", "0"], "fakehw: '0': must be a number from 0.001 to 1000000 (--speed)\n"),
        (["storm", "--plugin-log", "/nowhere"], "fakehw: /nowhere: No such file or directory: must be the plugin's log (--plugin-log)\n"),
    ],
)  # fmt: skip  # one row a mistake
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: int | str | None = cli.main(["scenario", "run", *arguments, "--root", str(root)])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert capsys.readouterr().err.splitlines(keepends=True)[-1] == line
