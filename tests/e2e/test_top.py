"""`fakehw top` in a terminal, with the plugin and a fake kubelet behind the tree; and the pictures of the documentation."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pyte
import pytest

from fakehw import FakeTree, load_topology, make_topology
from fakehw.view.top import Top
from fakekubelet import FakeKubelet, pod
from hack import pictures
from tests.factories import make_config
from tests.running import DEADLINE_S, listed, running_daemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.lengthy

REPOSITORY = Path(__file__).parents[2]
R3 = "myplugin.io/mydevice-3"
COLUMNS, LINES = 120, 30


class Terminal:
    """A terminal of 120 by 30 that understands what is sent to it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._more = asyncio.Event()
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            self._stream.feed(os.read(self._fd, 65536))
        except OSError:  # the other end is closed
            asyncio.get_running_loop().remove_reader(self._fd)
        self._more.set()

    @property
    def text(self) -> str:
        return "\n".join(self._screen.display)

    def row(self, name: str) -> str:
        return next((line for line in self._screen.display if line.startswith(f"{name} ")), "")

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    async def shows(self, holds: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not holds():
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            pytest.fail(f"the screen never came to that:\n{self.text}")


@contextlib.asynccontextmanager
async def top(root: Path, *flags: str) -> AsyncIterator[tuple[Terminal, asyncio.subprocess.Process]]:
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fakehw", "top", "--root", str(root), *flags,
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "HOME": str(root.parent), "LANG": "C.UTF-8"},
    )  # fmt: skip  # the command stays on one line
    os.close(terminal)
    screen = Terminal(main)
    try:
        yield screen, process
    finally:
        asyncio.get_running_loop().remove_reader(main)
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(main)


async def test_keys_break_mend_unplug_and_plug_a_device_from_the_screen_to_the_kubelet(
    tmp_path: Path, short_dir: Path
) -> None:
    root, socket = tmp_path / "tree", short_dir / "pr.sock"
    FakeTree(root).build(load_topology(REPOSITORY / "deploy/base/topology.yaml"))
    async with (
        FakeKubelet(short_dir / "dp", pod_resources_socket=socket) as kubelet,
        running_daemon(make_config(root, short_dir / "dp")),
    ):
        await listed(kubelet, [R3])
        await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 3, timeout=DEADLINE_S)
        async with top(root, "--pod-resources", str(socket)) as (screen, process):
            await screen.shows(lambda: "healthy" in screen.row("node2/dev3/1"))
            assert "2 nodes, 5 devices, 0 unhealthy" in screen.text
            screen.press("\x1b[B\x1b[B")  # down, down: node1/dev1/1, node2/dev2/1, node2/dev3/1

            screen.press("b")
            await screen.shows(lambda: "unhealthy" in screen.row("node2/dev3/1"))
            assert "broken in fakehw top" in screen.row("node2/dev3/1")
            await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 2, timeout=DEADLINE_S)
            assert kubelet.capacity[R3] == 3
            await screen.shows(lambda: "2 nodes, 5 devices, 1 unhealthy" in screen.text)

            screen.press("m")
            await screen.shows(lambda: "unhealthy" not in screen.row("node2/dev3/1"))
            await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 3, timeout=DEADLINE_S)

            screen.press("u")
            await screen.shows(lambda: "unplugged" in screen.row("node2/dev3/1"))
            await kubelet.wait_for(lambda: kubelet.capacity[R3] == 2, timeout=DEADLINE_S)
            screen.press("p")
            await screen.shows(lambda: "unplugged" not in screen.row("node2/dev3/1"))
            await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 3, timeout=DEADLINE_S)

            (root / "node2/dev3/2/health").write_text("unhealthy by another hand\n")
            await screen.shows(lambda: "by another hand" in screen.row("node2/dev3/2"))
            await kubelet.admit(pod.simple("training", {"myplugin.io/mydevice-2": 1}))
            await screen.shows(lambda: "default/training/main" in screen.row("node2/dev2/1"))

            screen.press("f")
            await screen.shows(lambda: not screen.row("node2/dev3/1"))
            screen.press("\t\x1b[B\x1b[B\x1b[B\x1b[Bb")  # the classes; the fifth: node2/dev2
            await screen.shows(lambda: "unhealthy" in screen.row("node2/dev2/1"))

            screen.press("q")
            async with asyncio.timeout(DEADLINE_S):
                assert await process.wait() == 0


async def test_ten_thousand_devices_are_shown_and_one_of_them_is_broken_by_key(roomy_dir: Path) -> None:
    FakeTree(roomy_dir / "t").build(make_topology({"nodes": {"n": {"classes": {"dev1": {"count": 10_000}}}}}))
    async with top(roomy_dir / "t") as (screen, _):
        await screen.shows(lambda: "1 nodes, 10000 devices" in screen.text and bool(screen.row("n/dev1/1")))
        screen.press("\x1b[F")  # End
        await screen.shows(lambda: "healthy" in screen.row("n/dev1/10000"))
        screen.press("b")
        await screen.shows(lambda: "unhealthy" in screen.row("n/dev1/10000"))


def test_a_mistake_is_said_before_the_terminal_changes(tmp_path: Path) -> None:
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "fakehw", "top", "--root", str(tmp_path / "nowhere")]
    result = subprocess.run(command, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, text=True)
    os.close(main)
    os.close(terminal)
    assert result.returncode == 2
    assert "must be the directory of a tree" in result.stderr


def test_the_pictures_are_drawn_by_a_command_and_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "hack/pictures.py"), "--to", str(tmp_path), "top"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    for name, words in (
        ("top", ("over&#160;temperature", "unplugged")),
        ("demo", ("dp1-3", "allocatable&#160;3&#160;-&gt;&#160;2")),
    ):
        drawn = [tmp_path / "top.svg"] if name == "top" else []  # the demo's takes a demo, which others play
        for svg in (*drawn, REPOSITORY / f"docs/pictures/{name}.svg"):
            text = svg.read_text()
            assert all(word in text for word in words), svg
            assert "url(http" not in text


def test_a_picture_that_does_not_exist_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pictures.py", "--to", str(tmp_path), "top", "tree"])
    with pytest.raises(SystemExit) as ended:
        pictures.main()
    assert ended.value.code == 2
    assert "there is no picture 'tree', only: top, demo" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "something was drawn all the same"


async def test_ctrl_c_ends_it_and_a_tree_that_is_built_again_is_shown(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    FakeTree(root).build(load_topology(REPOSITORY / "deploy/base/topology.yaml"))
    async with top(root) as (screen, process):
        await screen.shows(lambda: "healthy" in screen.row("node2/dev3/1"))
        root.rename(tmp_path / "elsewhere")
        await screen.shows(lambda: "unplugged" in screen.row("node2/dev3/1"))
        FakeTree(root).build(make_topology({"nodes": {"node2": {"classes": {"dev3": {"count": 1}}}}}))
        await screen.shows(lambda: "healthy" in screen.row("node2/dev3/1"))
        screen.press("\x03")
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0


# A terminal as small as any.


async def test_80_by_24_shows_counts_and_reasons_sorts_groups_and_finds(tmp_path: Path) -> None:
    tree = FakeTree(tmp_path / "tree")
    tree.build(load_topology(REPOSITORY / "deploy/base/topology.yaml"))
    tree.set_health("node2/dev3/2", "unhealthy", reason="over temperature")
    app = Top(tree.root)

    def lines() -> list[str]:
        return ["".join(part.text for part in strip) for strip in app.screen._compositor.render_strips()]

    def row(name: str) -> list[str]:
        return next((line.split() for line in lines() if line.startswith(f"{name} ")), [])

    def devices() -> list[str]:
        return [line.split()[0] for line in lines() if line.startswith("node")]

    async with app.run_test(size=(80, 24)) as pilot:

        async def comes(holds: Callable[[], bool]) -> None:
            async with asyncio.timeout(DEADLINE_S):
                while not holds():
                    await pilot.pause(0.01)

        await comes(lambda: row("node2/dev3/2")[1:] == ["unhealthy", "over", "temperature"])
        await comes(lambda: row("node2/dev3") == ["node2/dev3", "2", "1", "myplugin.io/mydevice-3", "kind-worker2"])
        await comes(lambda: lines()[-1].rstrip().endswith("q quit"))  # all keys are named

        await pilot.press("s", "g")
        await comes(lambda: row("myplugin.io/mydevice-3")[1:] == ["2", "1", "2", "hosts"])
        await comes(lambda: devices()[:1] == ["node2/dev3/2"])  # unhealthy first

        await pilot.press("slash", *"temper", "enter")
        await comes(lambda: devices() == ["node2/dev3/2"])
        await pilot.press("escape")
        await comes(lambda: len(devices()) == 5)

        await pilot.press("tab", "home", "m")  # all devices of the resource in the first row
        async with asyncio.timeout(DEADLINE_S):
            while (tree.root / "node2/dev3/2/health").read_text() != "healthy\n":
                await pilot.pause(0.01)
