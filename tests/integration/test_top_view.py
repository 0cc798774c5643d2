"""What `fakehw top` shows and what its keys do, on screens of several widths, with nobody behind the tree."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input
from textual.worker import WorkerFailed

from fakehw import FakeTree, make_topology
from fakehw.errors import InputError, TreeError
from fakehw.layout import TreePath
from fakehw.view import follower, pod_resources, top
from fakehw.view.top import Top
from tests.open_files import open_below
from tests.running import DEADLINE_S

pytestmark = pytest.mark.lengthy

SPEC: Mapping[str, Any] = {
    "nodes": {
        "a": {"host": "kind-a", "classes": {"dev1": {"count": 2}, "gpu": {"count": 1, "resource": "a.b/gpu"}}},
        "b": {"classes": {"dev1": {"count": 1}, "dev2": {"count": 0}}},
    }
}
NOON = 1_764_158_400.0
SAID = "Tab goes to the upper table, whose keys work on all that a row counts"


@pytest.fixture
def root(roomy_dir: Path) -> Path:
    FakeTree(roomy_dir / "tree").build(make_topology(SPEC))
    (roomy_dir / "tree/a/dev1/2/health").write_text("unhealthy over temperature\n")
    (roomy_dir / "tree/a/gpu/1/numa_node").write_text("1\n")
    return roomy_dir / "tree"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


class Screen:
    """The view on a screen, and whoever looks at it."""

    def __init__(self, app: Top, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    def lines(self) -> list[str]:
        return ["".join(part.text for part in strip).rstrip() for strip in self.app.screen._compositor.render_strips()]

    def devices(self) -> list[str]:
        """Return the rows of the lower table that are in view."""
        table = self.app.device_table
        lines = [table.render_line(y).text.rstrip() for y in range(1, table.size.height)]
        return [line for line in lines if line]

    def names(self) -> list[str]:
        return [line.split()[0] for line in self.devices()]

    def upper(self) -> list[list[str]]:
        """Return the rows of the upper table, cell by cell, as far as there are columns for them."""
        table = self.app.class_table
        lines = [table.render_line(y).text.rstrip() for y in range(1, table.size.height)]
        return [re.split(" {2,}", line) for line in lines if line]

    @property
    def said(self) -> str:
        return self.lines()[-2].strip()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def comes(self, holds: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not holds():
                    await self.pilot.pause(0.01)
        except TimeoutError:
            pytest.fail("the screen never came to that:\n" + "\n".join(self.lines()))


@contextlib.asynccontextmanager
async def shown(
    root: Path, *, size: tuple[int, int] = (110, 24), sockets: tuple[Path, ...] = (), **more: Any
) -> AsyncIterator[Screen]:
    app = Top(root, sockets, clock=lambda: NOON, **more)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield Screen(app, pilot)


def held(monkeypatch: pytest.MonkeyPatch, answers: Callable[[Path], Any]) -> list[Path]:
    """Have kubelets say who holds what, as often as anybody can ask."""
    asked: list[Path] = []

    async def holders(socket: Path) -> dict[str, str]:
        asked.append(socket)
        answer = answers(socket)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, dict)
        return answer

    monkeypatch.setattr(pod_resources, "holders", holders)
    monkeypatch.setattr(top, "HOLDERS_EVERY_S", 0.05)
    return asked


# What is shown.


async def test_a_wide_screen_shows_everything(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = held(
        monkeypatch,
        lambda socket: {"a-dev1-1": "default/train/main"} if socket.name == "one" else {"b-dev1-1": "x/y/z"},
    )
    async with shown(root, sockets=(Path("one"), Path("two"))) as screen:
        await screen.comes(lambda: "default/train/main" in screen.devices()[0])
        (root / "b/dev1/1/health").write_text("unhealthy hot\n")
        await screen.comes(lambda: "12:00:00" in "".join(screen.lines()))
        lines = screen.lines()
        assert lines[1:7] == [
            "CLASS             HEALTHY  UNHEALTHY  RESOURCE                  HOST",
            "a/dev1            1        1          myplugin.io/mydevice-1    kind-a",
            "a/gpu             1        0          a.b/gpu                   kind-a",
            "b/dev1            0        1          myplugin.io/mydevice-1    any",
            "b/dev2            0        0          myplugin.io/mydevice-2    any",
            "─" * 110,
        ]
        assert lines[7:12] == [
            "DEVICE                HEALTH     NUMA  CHANGED   HELD BY                   REASON",
            "a/dev1/1              healthy    -               default/train/main",
            "a/dev1/2              unhealthy  -                                         over temperature",
            "a/gpu/1               healthy    1",
            "b/dev1/1              unhealthy  -     12:00:00  x/y/z                     hot",
        ]
        assert (screen.app.title, screen.app.sub_title) == ("2 nodes, 4 devices, 2 unhealthy", str(root))
        assert screen.said == SAID
        assert lines[-1] == " b break  m mend  u unplug  p plug  f bad  / find  s sort  g group  q quit"
        assert lines[0].endswith(f"2 nodes, 4 devices, 2 unhealthy — {root}")
        assert set(asked) == {Path("one"), Path("two")}


@pytest.mark.parametrize(
    ("width", "has_sockets", "head"),
    [
        (100, False, "DEVICE                HEALTH     NUMA  CHANGED   HELD BY                   REASON"),
        (99, False, "DEVICE           HEALTH     CHANGED   REASON"),
        (99, True, "DEVICE           HEALTH     HELD BY               REASON"),
    ],
)
async def test_a_narrow_screen_shows_what_it_is_all_about(
    root: Path, monkeypatch: pytest.MonkeyPatch, width: int, has_sockets: bool, head: str
) -> None:
    held(monkeypatch, lambda _: {})
    async with shown(root, size=(width, 20), sockets=(Path("s"),) if has_sockets else ()) as screen:
        assert [line for line in screen.lines() if line.startswith("DEVICE")] == [head]


async def test_colours_say_what_words_say(root: Path) -> None:
    async with shown(root) as screen:
        await screen.press("u")
        await screen.comes(lambda: "unplugged" in screen.devices()[0])
        cells = {path: screen.app.device_table._row(path) for path in (TreePath("a", "dev1", n) for n in (1, 2))}
        gpu = screen.app.device_table._row(TreePath("a", "gpu", 1))
        assert [(row["HEALTH"].plain, str(row["HEALTH"].style)) for row in (*cells.values(), gpu)] == [
            ("unplugged", "dim"), ("unhealthy", "bold red"), ("healthy", "green"),
        ]  # fmt: skip
        rows = [screen.app.class_table._row(TreePath(*name)) for name in (("a", "dev1"), ("a", "gpu"), ("b", "dev2"))]
        assert [(str(row["HEALTHY"].style), str(row["UNHEALTHY"].style)) for row in rows] == [
            ("dim", "bold red"), ("green", "dim"), ("dim", "dim"),
        ]  # fmt: skip


async def test_the_upper_table_is_as_high_as_its_rows_but_takes_eight_lines_at_most(roomy_dir: Path) -> None:
    for count in (3, 9):
        tree = FakeTree(roomy_dir / str(count))
        tree.build(
            make_topology({"nodes": {f"n{number}": {"classes": {"dev1": {"count": 1}}} for number in range(count)}})
        )
        async with shown(tree.root) as screen:
            assert screen.app.class_table.size.height == min(count + 1, 7), "and a line below it"


async def test_a_domain_is_that_of_classes_that_name_no_resource(root: Path) -> None:
    (root / "a/dev1/resource").unlink(missing_ok=True)
    async with shown(root, domain="my.io") as screen:
        assert screen.upper()[0] == ["a/dev1", "1", "1", "my.io/mydevice-1", "kind-a"]


# What the keys do.


def health(root: Path, name: str) -> str:
    return (root / name / "health").read_text()


async def test_keys_work_on_the_device_that_is_selected(root: Path) -> None:
    async with shown(root) as screen:
        assert screen.app.device_table.has_focus
        await screen.press("b")
        await screen.comes(lambda: screen.said == "/a/dev1/1 unhealthy")
        assert health(root, "a/dev1/1") == "unhealthy broken in fakehw top\n"
        await screen.comes(lambda: screen.app.title == "2 nodes, 4 devices, 2 unhealthy")
        await screen.press("m")
        await screen.comes(lambda: screen.said == "/a/dev1/1 healthy")
        assert health(root, "a/dev1/1") == "healthy\n"
        await screen.press("u")
        await screen.comes(lambda: "unplugged" in screen.devices()[0])
        assert screen.said == "/a/dev1/1 unplugged"
        assert not (root / "a/dev1/1").exists()
        await screen.comes(lambda: screen.app.title == "2 nodes, 3 devices, 1 unhealthy")
        await screen.press("u")
        await screen.comes(lambda: screen.said.startswith("/a/dev1/1: no such device"))
        await screen.press("p")
        await screen.comes(lambda: screen.said == "/a/dev1/1 plugged in")
        await screen.comes(lambda: screen.devices()[0].split() == ["a/dev1/1", "healthy", "-", "12:00:00"])


async def test_keys_work_on_all_that_a_row_of_the_upper_table_counts(root: Path) -> None:
    async with shown(root) as screen:
        await screen.press("tab", "b")
        assert screen.app.class_table.has_focus
        await screen.comes(lambda: screen.said == "/a/dev1 unhealthy")
        assert health(root, "a/dev1/1") == health(root, "a/dev1/2") == "unhealthy broken in fakehw top\n"
        assert (health(root, "a/gpu/1"), health(root, "b/dev1/1")) == ("healthy\n", "healthy\n")
        await screen.press("g", "home", "down", "m")
        await screen.comes(lambda: screen.said == "myplugin.io/mydevice-1 healthy")
        assert {health(root, name) for name in ("a/dev1/1", "a/dev1/2", "b/dev1/1")} == {"healthy\n"}
        await screen.press("tab", "down", "down", "b")
        assert screen.app.device_table.has_focus
        await screen.comes(lambda: screen.said == "/a/gpu/1 unhealthy")


async def test_of_several_classes_those_without_devices_are_left_out_and_one_alone_says_why(root: Path) -> None:
    (root / "b/dev2/resource").write_text("a.b/gpu\n")
    async with shown(root) as screen:
        await screen.press("g", "tab", "home", "b")
        await screen.comes(lambda: screen.said == "a.b/gpu unhealthy")
        assert health(root, "a/gpu/1") == "unhealthy broken in fakehw top\n"
        await screen.press("g", "end", "b")
        await screen.comes(lambda: screen.said == f"/b/dev2: has no devices in {root}")


async def test_an_empty_table_has_nothing_that_keys_could_work_on(roomy_dir: Path) -> None:
    FakeTree(roomy_dir / "t").build(make_topology({"nodes": {}}))
    async with shown(roomy_dir / "t") as screen:
        await screen.press("b", "tab", "u")
        assert (screen.said, screen.app.title) == (SAID, "0 nodes, 0 devices, 0 unhealthy")


async def test_only_what_is_bad_can_be_shown_and_what_becomes_bad_joins_it(root: Path) -> None:
    async with shown(root) as screen:
        await screen.press("f")
        assert (screen.names(), screen.said) == (["a/dev1/2"], "only what is unhealthy or unplugged")
        (root / "b/dev1/1/health").write_text("unhealthy hot\n")
        await screen.comes(lambda: screen.names() == ["a/dev1/2", "b/dev1/1"])
        await screen.press("u")
        await screen.comes(lambda: "unplugged" in screen.devices()[0])
        (root / "b/dev1/1/health").write_text("healthy\n")
        await screen.comes(lambda: screen.names() == ["a/dev1/2"])
        await screen.press("f")
        assert (screen.names(), screen.said) == (["a/dev1/1", "a/dev1/2", "a/gpu/1", "b/dev1/1"], "all devices")


async def test_what_is_unhealthy_comes_first_where_it_is_sorted_in_both_tables(root: Path) -> None:
    (root / "b/dev1/1/health").write_text("unhealthy hot\n")
    async with shown(root) as screen:
        assert [cells[0] for cells in screen.upper()] == ["a/dev1", "a/gpu", "b/dev1", "b/dev2"]
        await screen.press("s")
        assert screen.said == "devices unhealthy first"
        assert screen.names() == ["a/dev1/2", "b/dev1/1", "a/dev1/1", "a/gpu/1"]
        assert [cells[0] for cells in screen.upper()] == ["a/dev1", "b/dev1", "a/gpu", "b/dev2"]
        (root / "a/gpu/1/health").write_text("unhealthy hot\n")
        await screen.comes(lambda: screen.names() == ["a/dev1/2", "a/gpu/1", "b/dev1/1", "a/dev1/1"])
        await screen.press("s")
        assert screen.said == "devices in the order of their names"
        assert screen.names() == ["a/dev1/1", "a/dev1/2", "a/gpu/1", "b/dev1/1"]
        assert [cells[0] for cells in screen.upper()] == ["a/dev1", "a/gpu", "b/dev1", "b/dev2"]


async def test_the_upper_table_counts_by_resource_where_that_is_asked(root: Path) -> None:
    (root / "b/x").mkdir()
    async with shown(root) as screen:
        assert screen.upper()[-1] == ["b/x", "0", "0", "-", "any"]
        await screen.press("g")
        assert screen.said == "by resource"
        assert screen.lines()[1] == "RESOURCE                      HEALTHY  UNHEALTHY  HOST"
        assert screen.upper() == [
            ["-", "0", "0", "any"], ["a.b/gpu", "1", "0", "kind-a"], ["myplugin.io/mydevice-1", "2", "1", "2 hosts"],
            ["myplugin.io/mydevice-2", "0", "0", "any"],
        ]  # fmt: skip
        await screen.press("s")
        assert screen.upper()[0][0] == "myplugin.io/mydevice-1"
        await screen.press("g")
        assert screen.said == "by class"
        assert screen.upper()[0] == ["a/dev1", "1", "1", "myplugin.io/mydevice-1", "kind-a"]


FOUND = {
    "B/DEV1": ["b/dev1/1"],
    "temper": ["a/dev1/2"],
    "a.b/g": ["a/gpu/1"],
    "kind": ["a/dev1/1", "a/dev1/2", "a/gpu/1"],
    "unhealthy": ["a/dev1/2"],
    " train/main ": ["a/dev1/1"],
    "nothing": [],
}


async def test_what_is_looked_for_is_found_in_all_that_a_row_says_while_it_is_typed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(monkeypatch, lambda _: {"a-dev1-1": "default/train/main"})
    async with shown(root, sockets=(Path("s"),)) as screen:
        await screen.comes(lambda: "default/train/main" in screen.devices()[0])
        field = screen.app.query_one("#find", Input)
        assert not field.display
        await screen.press("slash")
        assert (field.display, field.has_focus) == (True, True)
        for word, names in FOUND.items():
            field.value = word
            await screen.pilot.pause()
            assert screen.names() == names
        field.value = " Temper "
        await screen.press("enter")
        assert (screen.names(), field.display, screen.app.device_table.has_focus) == (["a/dev1/2"], False, True)
        assert screen.said == "only what has 'temper' in it; Esc shows all"
        await screen.press("escape")
        assert (len(screen.names()), screen.said, field.value) == (4, "all devices", "")
        await screen.press("slash", "t", "e", "m")
        assert screen.names() == ["a/dev1/2"]


async def test_what_was_pulled_out_is_found_by_that_word_and_a_new_device_that_fits_joins(root: Path) -> None:
    async with shown(root) as screen:
        await screen.press("u")
        await screen.comes(lambda: "unplugged" in screen.devices()[0])
        await screen.press("slash")
        screen.app.query_one("#find", Input).value = " unplugged "
        await screen.press("enter")
        assert screen.names() == ["a/dev1/1"]
        FakeTree(root).unplug("b/dev1/1")
        await screen.comes(lambda: screen.names() == ["a/dev1/1", "b/dev1/1"])
        await screen.press("slash", "escape")
        assert len(screen.names()) == 4


async def test_a_device_that_is_new_has_a_row_and_one_that_comes_back_has_its_own(root: Path) -> None:
    async with shown(root) as screen:
        FakeTree(root).plug("a/dev1/7")
        await screen.comes(lambda: "a/dev1/7" in screen.names())
        assert screen.names() == ["a/dev1/1", "a/dev1/2", "a/dev1/7", "a/gpu/1", "b/dev1/1"]
        FakeTree(root).unplug("a/dev1/7")
        await screen.comes(lambda: "unplugged" in screen.devices()[2])
        assert len(screen.names()) == 5
        FakeTree(root).plug("a/dev1/7")
        await screen.comes(lambda: "unplugged" not in screen.devices()[2])
        assert screen.devices()[2].split() == ["a/dev1/7", "healthy", "-", "12:00:00"]


async def test_a_kubelet_that_is_silent_holds_nothing_and_is_asked_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [{"a-dev1-1": "x/y/z"}, pod_resources.UnknownError("nobody"), ValueError("odd")]
    asked = held(monkeypatch, lambda _: answers.pop(0) if len(answers) > 1 else answers[0])
    async with shown(root, sockets=(Path("s"),)) as screen:
        await screen.comes(lambda: len(asked) > 4)
        assert "x/y/z" not in "".join(screen.lines())
        answers[:] = [{"a-dev1-1": "x/y/z"}]
        await screen.comes(lambda: "x/y/z" in "".join(screen.lines()))


async def test_holders_are_asked_for_every_two_seconds_and_only_where_there_is_a_socket(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = held(monkeypatch, lambda _: {})
    async with shown(root):
        assert asked == []
    monkeypatch.setattr(top, "HOLDERS_EVERY_S", 3600.0)
    async with shown(root, sockets=(Path("s"),)) as screen:
        await screen.comes(lambda: bool(asked))
        await screen.pilot.pause(0.05)
        assert asked == [Path("s")]


async def test_a_tree_that_cannot_be_followed_any_more_ends_the_view_with_why(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: follower.Follower) -> list[follower.Happening]:
        raise TreeError("inotify: a limit")

    ended: list[Any] = []
    monkeypatch.setattr(follower.Follower, "happenings", fails)
    monkeypatch.setattr(Top, "exit", lambda app, *a, **more: (ended.append(more), App.exit(app, *a, **more)))
    async with shown(root):
        pass
    assert ended[0] == {"message": "fakehw: inotify: a limit"}


@pytest.mark.parametrize("keys", [["q"], ["ctrl+c"], ["slash", "q", "ctrl+c"]])
async def test_it_is_left_by_q_and_from_anywhere_by_ctrl_c_and_lets_go_of_the_tree(root: Path, keys: list[str]) -> None:
    async with shown(root) as screen:
        assert str(root) in open_below(root)
        await screen.press(*keys[:-1])
        assert screen.app.is_running
        await screen.press(keys[-1])
        assert not screen.app.is_running
    assert str(root) not in open_below(root)


@pytest.mark.parametrize("worker", ["follow the tree", "ask who holds what"])
async def test_a_bug_ends_it_with_a_traceback_whoever_has_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, worker: str
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(*(follower.Follower, "happenings") if worker == "follow the tree" else (pod_resources, "holders"), broken)  # fmt: skip
    with pytest.raises(WorkerFailed, match="ZeroDivisionError"):
        async with shown(root, sockets=(Path("s"),)) as screen:
            await screen.comes(lambda: not screen.app.is_running)


def test_a_tree_that_is_not_there_is_said_before_the_screen_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[Any, ...]] = []
    monkeypatch.setattr(Top, "run", lambda app: ran.append((app._fake_root, app._sockets, app._follower._domain)))
    with pytest.raises(InputError):
        top.run(root / "none", [])
    assert ran == []
    top.run(root, [Path("s")], domain="my.io")
    top.run(root, iter([]))
    assert ran == [(root, (Path("s"),), "my.io"), (root, (), "myplugin.io")]
