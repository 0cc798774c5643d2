"""What each command of `fakehw` prints, ends with and asks of others, run as a function, to the letter."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fakehw import FakeTree, cli, output
from fakehw.commands import build as build_command
from fakehw.commands import list_devices, places
from fakehw.commands import scenario as scenario_command
from fakehw.commands import top as top_command
from fakehw.errors import InputError, TreeError
from fakehw.hand import session
from fakehw.layout import TreePath
from fakehw.scenario import named, player, shown
from fakehw.scenario.receipts import Hop, Receipt
from fakehw.scenario.timeline import Act, Change
from fakehw.tree.plan import Plan
from fakehw.view import events, pod_resources

SPEC = "nodes: {a: {host: kind-a, classes: {dev1: {count: 3}}}, b: {classes: {dev1: {count: 1}, dev2: {count: 0}}}}\n"


class Done(NamedTuple):
    code: int | str | None
    out: list[str]
    err: list[str]


Command = Callable[..., Done]


@pytest.fixture
def place(roomy_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory with a spec in it, to be in."""
    (roomy_dir / "spec.yaml").write_text(SPEC)
    monkeypatch.chdir(roomy_dir)
    return roomy_dir


@pytest.fixture
def fakehw(place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    for name in [name for name in os.environ if name.startswith("FAKEHW_") or name == "NODE_NAME"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FAKEHW_ROOT", "tree")
    monkeypatch.setattr(output, "_name", "fakehw")

    def run(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capfd.readouterr()
        try:
            code: int | str | None = cli.main(arguments)
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return Done(code, out.splitlines(), err.splitlines())

    return run


@pytest.fixture
def built(fakehw: Command) -> Command:
    assert fakehw("build", "--spec", "spec.yaml").code == 0
    return fakehw


# build.


def test_a_build_names_what_it_does_and_counts_it(fakehw: Command, place: Path) -> None:
    added = [f"added    /a/dev1/{number}" for number in (1, 2, 3)] + [
        "added    /b/dev1/1",
        "added    /b/dev2  (no devices)",
    ]
    dry = fakehw("build", "--spec", "spec.yaml", "--dry-run")
    assert dry == Done(0, [*added, "tree: devices: 4 added, 0 removed, 0 updated, 0 unchanged (dry run: nothing written)"], [])  # fmt: skip
    assert not (place / "tree").exists()
    assert fakehw("build", "--spec", "spec.yaml") == Done(0, [*added, "tree: devices: 4 added, 0 removed, 0 updated, 0 unchanged"], [])  # fmt: skip
    fakehw("set-health", "a/dev1/1", "unhealthy", "hot")
    (place / "spec.yaml").write_text(SPEC.replace("count: 3", "count: 2, numa_node: 1"))
    assert fakehw("build", "--spec", "spec.yaml") == Done(
        0,
        [
            "removed  /a/dev1/3", "updated  /a/dev1/1  numa_node (none) -> 1", "updated  /a/dev1/2  numa_node (none) -> 1",
            "kept     /a/dev1/1  health unhealthy hot (by hand)",
            "tree: devices: 0 added, 1 removed, 2 updated, 1 unchanged; 1 kept as changed by hand",
        ],
        [],
    )  # fmt: skip
    fakehw("build", "--spec", "spec.yaml", "--reset")
    assert (place / "tree/a/dev1/1/health").read_text() == "healthy\n"


@pytest.mark.parametrize(("count", "more"), [(40, []), (41, ["..."]), (90, ["..."])])
def test_a_build_names_forty_devices(fakehw: Command, place: Path, count: int, more: list[str]) -> None:
    (place / "spec.yaml").write_text(f"nodes: {{n: {{classes: {{dev1: {{count: {count}}}}}}}}}")
    done = fakehw("build", "--spec", "spec.yaml")
    assert done.out[:40] == [f"added    /n/dev1/{number}" for number in range(1, 41)]
    assert done.out[40:] == [*more, f"tree: devices: {count} added, 0 removed, 0 updated, 0 unchanged"]


def test_a_host_that_owns_no_node_is_remarked_on_with_where_it_came_from(
    fakehw: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "spec.yaml").write_text("nodes: {a: {host: kind-a, classes: {dev1: {count: 1}}}}")
    remark = "fakehw: 'kind-b': no node of spec.yaml is of this host: building an empty tree"
    assert fakehw("build", "--spec", "spec.yaml", "--host", "kind-b").err == [f"{remark} (--host)"]
    monkeypatch.setenv("NODE_NAME", "kind-b")
    assert fakehw("build", "--spec", "spec.yaml").err == [f"{remark} (NODE_NAME)"]
    assert fakehw("build", "--spec", "spec.yaml", "--host", "kind-a").err == []
    monkeypatch.delenv("NODE_NAME")
    assert fakehw("build", "--spec", "spec.yaml").err == []
    (place / "spec.yaml").write_text("nodes: {}")
    assert fakehw("build", "--spec", "spec.yaml", "--host", "kind-b").err == [], "nobody has any"


def test_a_host_from_the_environment_takes_no_node_away_that_another_build_made(
    built: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_NAME", "kind-b")
    refused = built("build", "--spec", "spec.yaml")
    assert (refused.code, len(refused.err)) == (2, 1)
    assert "NODE_NAME" in refused.err[0]
    assert built("build", "--spec", "spec.yaml", "--host", "kind-b").out[0] == "removed  /a/dev1/1"


@pytest.mark.parametrize(("count", "more"), [(40, []), (42, ["fakehw: tree: and 2 more"])])
def test_what_stands_in_the_way_is_named_up_to_forty_and_the_code_says_so(
    fakehw: Command, monkeypatch: pytest.MonkeyPatch, count: int, more: list[str]
) -> None:
    def build(_: FakeTree, *__: object, **___: object) -> Plan:
        return Plan(conflicts=[f"/n/dev1/{number}: is a file" for number in range(count)])

    monkeypatch.setattr(FakeTree, "build", build)
    done = fakehw("build", "--spec", "spec.yaml")
    assert done == Done(
        3, ["tree: devices: 0 added, 0 removed, 0 updated, 0 unchanged"], [*(f"fakehw: tree/n/dev1/{number}: is a file" for number in range(40)), *more],
    )  # fmt: skip
    assert fakehw("build", "--spec", "spec.yaml", "--tolerant") == done._replace(code=0)


class Stream(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal
        self.flushed = 0

    def isatty(self) -> bool:
        return self._is_terminal

    def flush(self) -> None:
        self.flushed += 1


def test_a_large_build_shows_on_a_terminal_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(is_terminal=True)
    progress = build_command._Progress(stream)
    progress.show(4999, 4999)
    progress.clear()
    assert (stream.getvalue(), stream.flushed) == ("", 0), "not worth a line"
    progress.show(0, 5000)
    progress.show(2500, 5000)
    progress.clear()
    assert stream.getvalue() == "\rmaking devices: 0 of 5000\rmaking devices: 2500 of 5000\r\x1b[K"
    assert stream.flushed == 3

    for nowhere in (None, Stream(is_terminal=False)):
        progress = build_command._Progress(nowhere)
        progress.show(1, 9999)
        progress.clear()
        assert nowhere is None or nowhere.getvalue() == ""

    def gone(_: str) -> int:
        raise OSError(5, "Input/output error")

    stream = Stream(is_terminal=True)
    progress = build_command._Progress(stream)
    with monkeypatch.context() as patch:
        patch.setattr(stream, "write", gone)
        progress.show(1, 9999)
    progress.show(2, 9999)
    assert stream.getvalue() == "", "and it is not written to again"


def test_a_build_that_fails_leaves_no_rest_of_its_progress(fakehw: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(is_terminal=True)

    def build(_: FakeTree, *__: object, progress: Callable[[int, int], None], **___: object) -> Plan:
        progress(1, 5000)
        raise TreeError("/n: is locked")

    monkeypatch.setattr(FakeTree, "build", build)
    monkeypatch.setattr(sys, "stderr", stream)
    assert fakehw("build", "--spec", "spec.yaml").code == 1
    assert stream.getvalue() == "\rmaking devices: 1 of 5000\r\x1b[Kfakehw: /n: is locked\n"


# list.


def test_a_list_is_of_what_is_wanted_and_remarks_on_what_stands_in_the_way(built: Command, place: Path) -> None:
    (place / "tree/a/dev1/7").write_text("")
    (place / "tree/x").symlink_to("a")
    done = built("list", "a/dev1/[12]", "/b/dev2", "--no-headers")
    assert (done.code, done.out) == (
        0,
        [
            "/a/dev1/1   myplugin.io/mydevice-1   healthy   -",
            "/a/dev1/2   myplugin.io/mydevice-1   healthy   -",
            "/b/dev2     myplugin.io/mydevice-2   -         -   no devices",
        ],
    )
    assert sorted(done.err) == [
        "fakehw: tree/a/dev1/7: is a file: passed over",
        "fakehw: tree/x: is a symbolic link: passed over",
    ]
    assert built("list", "-o", "name").out == ["a/dev1/1", "a/dev1/2", "a/dev1/3", "b/dev1/1"]
    assert built("list", "b/dev2", "-o", "name").out == []
    assert built("list", "--summary", "b").out == [
        "HOST   RESOURCE                 DEVICES   HEALTHY   UNHEALTHY",
        "-      myplugin.io/mydevice-1   1         1         0",
        "-      myplugin.io/mydevice-2   0         0         0",
    ]
    assert built("list", "--summary", "--no-headers", "b/dev1").out == ["-   myplugin.io/mydevice-1   1   1   0"]
    assert built("list", "c").err == ["fakehw: 'c': fits nothing in tree: `fakehw list` shows what there is (PATH)"]
    assert built("list", "a", "/b/dev3").err == ["fakehw: 'b/dev3': fits nothing in tree: did you mean b/dev2? (PATH)"]
    (place / "tree/b/dev2/resource").unlink()
    assert built("list", "--domain", "my.io", "b/dev2").out[1].split()[1] == "my.io/mydevice-2"


def test_no_more_than_forty_obstacles_are_remarked_on(built: Command, place: Path) -> None:
    for number in range(50, 91):
        (place / f"tree/a/dev1/{number}").write_text("")
    assert len(built("list").err) == 40


def test_a_reason_is_cut_to_the_terminal(built: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    built("set-health", "a/dev1/1", "unhealthy", "x" * 90)
    assert len(built("list", "a/dev1/1").out[1]) > 130, "elsewhere it is not"
    asked: list[int] = []
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: (asked.append(fd), os.terminal_size((80, 24)))[1])
    assert built("list", "a/dev1/1").out[1][-13:] == f"{'x' * 10}..."
    assert len(built("list", "a/dev1/1").out[1]) == 80
    assert asked[-1] == sys.stdout.fileno(), "of what it is printed on"


def test_who_holds_what_is_asked_of_every_kubelet_and_one_that_is_silent_is_remarked_on(
    built: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: dict[str, Any] = {
        "one": {"a-dev1-1": "x/y/z"}, "two": pod_resources.UnknownError("two: nobody there"), "three": {"b-dev1-1": "p/q/r"},
    }  # fmt: skip

    async def holders(socket: Path) -> dict[str, str]:
        if isinstance(answers[socket.name], Exception):
            raise answers[socket.name]
        found: dict[str, str] = answers[socket.name]
        return found

    monkeypatch.setattr(pod_resources, "holders", holders)
    flags = [word for name in answers for word in ("--pod-resources", name)]
    done = built("list", "-o", "json", *flags)
    assert [(entry["id"], entry["held_by"]) for entry in json.loads("\n".join(done.out))] == [
        ("a-dev1-1", "x/y/z"), ("a-dev1-2", ""), ("a-dev1-3", ""), ("b-dev1-1", "p/q/r"), (None, ""),
    ]  # fmt: skip
    assert done.err == ["fakehw: nobody says who holds what: two: nobody there"]
    assert "HELD BY" in built("list", *flags).out[0]
    assert "HELD BY" not in built("list").out[0]
    answers["two"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        built("list", *flags)


def test_all_that_is_wanted_is_chosen_in_the_order_of_the_list() -> None:
    from fakehw.tree import selection
    from fakehw.view.listing import Record

    records = [
        Record(f"/n/dev1/{number}", f"n-dev1-{number}", None, "healthy", None, None, "", {}) for number in (1, 2, 3)
    ]
    wanted = selection.parse_all(["n/dev1/3", "n/dev1/1"])
    assert list_devices.choose(records, [], where="x") is records
    assert [one.path for one in list_devices.choose(records, wanted, where="x")] == ["/n/dev1/1", "/n/dev1/3"]


# set-health, set, plug, unplug.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a/dev1/1", "unhealthy"], "/a/dev1/1 unhealthy"),
        (["a/dev1/1", "UNHEALTHY", "too", " hot "], "/a/dev1/1 unhealthy: too hot"),
        (["a/dev1/1", "unhealthy", "--reason", "too hot"], "/a/dev1/1 unhealthy: too hot"),
        (["a/dev1/1", "a/dev1/2", "healthy"], "/a/dev1/1, /a/dev1/2 healthy"),
        (["a/dev1", "healthy"], "/a/dev1 healthy (3 devices)"),
        (["a/dev1/*", "healthy"], "/a/dev1/1, /a/dev1/2, /a/dev1/3 healthy"),
        (["*/dev1/*", "healthy"], "*/dev1/* healthy (4 devices)"),
        (["a/dev1/1", "a/dev1/1", "healthy"], "/a/dev1/1, /a/dev1/1 healthy (1 devices)"),
    ],
)
def test_a_health_that_was_set_is_confirmed_for_so_many_devices(built: Command, words: list[str], said: str) -> None:
    assert built("set-health", *words) == Done(0, [said], [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a/dev1/1", "sick"], "'sick': healthy or unhealthy must follow the paths (HEALTH)"),
        (["a/dev1/1", "Helthy"], "'Helthy': healthy or unhealthy must follow the paths: did you mean healthy? (HEALTH)"),
        (["healthy", "a/dev1/1"], "'healthy': a path must come first, such as node2/dev3/2 (PATH)"),
        (["a/dev1/1", "healthy", "x", "y", "--reason", "z"], "'z': must not stand beside 'x y': one reason, in either place (--reason)"),
        (["c/*/*", "healthy"], "'c/*/*': fits nothing in tree: `fakehw list` shows what there is (PATH)"),
    ],
)  # fmt: skip  # one row a mistake
def test_words_that_are_no_health_are_refused(built: Command, words: list[str], said: str) -> None:
    assert built("set-health", *words) == Done(2, [], [f"fakehw: {said}"])


def test_an_attribute_that_was_set_is_confirmed(built: Command, place: Path) -> None:
    assert built("set", "a/dev1/1", "fan", "2") == Done(0, ["a/dev1/1 fan 2"], [])
    assert built("set", "a", "b/*/*", "fan", "3 x") == Done(0, ["a, b/*/* fan 3 x (4 devices)"], [])
    assert [(place / f"tree/{name}/fan").read_text() for name in ("a/dev1/1", "a/dev1/3", "b/dev1/1")] == ["3 x\n"] * 3
    for words, said in (
        (["a/dev1/1", "fan"], "'a/dev1/1 fan': PATH, ATTRIBUTE and VALUE must follow (set)"),
        (["a/dev1/9", "fan", "1"], "/a/dev1/9: no such device in tree: did you mean a/dev1/3? (PATH)"),
        (["b/dev2", "fan", "1"], "/b/dev2: no such device in tree: did you mean b/dev2? (PATH)"),
    ):
        done = built("set", *words)
        assert (done.code, done.out) == (2, [])
        assert done.err[0].partition("did you")[0] == f"fakehw: {said}".partition("did you")[0]


def test_what_was_pulled_out_and_plugged_in_is_named(built: Command) -> None:
    assert built("unplug", "a/dev1/1", "b/*/*") == Done(0, ["/a/dev1/1 unplugged", "/b/dev1/1 unplugged"], [])
    assert built("unplug", "*/dev1/1").code == 2, "they are out"
    assert built("plug", "a", "*/dev1/1") == Done(0, ["/a/dev1/1 plugged in", "/b/dev1/1 plugged in"], [])
    assert built("plug", "a/dev1/1", "b") == Done(0, ["a/dev1/1, b already there"], [])
    assert built("plug", "c/dev1/1").code == 2
    assert built("plug", "--create", "c/dev1/1") == Done(0, ["/c/dev1/1 plugged in"], [])


def test_places_are_paths_as_they_are_and_patterns_of_what_there_is_each_once() -> None:
    there = [TreePath("a", "dev1", number) for number in (2, 1)]
    asked: list[int] = []

    def known() -> list[TreePath]:
        asked.append(1)
        return there

    def resolve(*texts: str) -> list[str]:
        return [str(path) for path in places.resolve(texts, Path("/r"), known)]

    assert resolve("b/dev9", "/r/a/dev1/1", "b/dev9") == ["/b/dev9", "/a/dev1/1", "/b/dev9"]
    assert asked == [], "there was no pattern"
    assert resolve("z", "a/dev1/*", "a/dev1/2", "*/*/1") == ["/z", "/a/dev1/1", "/a/dev1/2"]
    assert asked == [1]
    with pytest.raises(InputError, match=r"^'a/dev2/\*': fits nothing in /r: did you mean a/dev1/2\? \(PATH\)$"):
        resolve("a/dev1/1", "a/dev2/*")


# events, top, hand, demo.


class Told:
    """Stands for `events.tell`, and remembers what it was told to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, error: BaseException | None = None) -> None:
        self.given: list[dict[str, Any]] = []
        self._error = error
        monkeypatch.setattr(events, "tell", self._tell)

    async def _tell(self, root: Path, **more: Any) -> None:
        self.given.append({"root": root, **more})
        if self._error is not None:
            raise self._error
        more["say"]("a line")
        more["remark"]("a remark")
        if more.get("greeting"):
            more["say"](more["greeting"]())


def test_events_are_followed_as_the_flags_say(built: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    assert built("events") == Done(0, ["a line"], ["fakehw: a remark"])
    built(
        "events",
        "-f",
        "-o",
        "json",
        "--domain",
        "my.io",
        "--root",
        "other",
        "--pod-resources",
        "/a",
        "--pod-resources",
        "/b",
    )
    assert told.given == [
        {"root": Path("tree"), "domain": "myplugin.io", "follow": False, "as_json": False, "sockets": [], "say": output.say_now, "remark": output.remark},
        {"root": Path("other"), "domain": "my.io", "follow": True, "as_json": True, "sockets": [Path("/a"), Path("/b")], "say": output.say_now, "remark": output.remark},
    ]  # fmt: skip
    Told(monkeypatch, error=KeyboardInterrupt())
    assert built("events", "-f") == Done(0, [], []), "Ctrl-C is how it ends"


def test_top_greets_with_the_table_and_goes_on_with_lines_where_there_is_no_terminal(
    built: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(monkeypatch)
    (place / "tree/a/dev1/resource").unlink()
    done = built("top", "--domain", "my.io")
    assert (done.code, done.out[0], done.out[1].split()[0], done.out[2].split()[1]) == (0, "a line", "PATH", "my.io/mydevice-1")  # fmt: skip
    assert {key: told.given[0][key] for key in ("root", "domain", "follow", "as_json")} == {
        "root": Path("tree"), "domain": "my.io", "follow": True, "as_json": False,
    }  # fmt: skip
    Told(monkeypatch, error=KeyboardInterrupt())
    assert built("top") == Done(0, [], [])


def test_top_takes_the_terminal_where_there_is_one_on_both_sides(
    built: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fakehw.view import top

    ran: list[Any] = []
    monkeypatch.setattr(top, "run", lambda *arguments, **more: ran.append((*arguments, more)))
    monkeypatch.setattr(top_command, "_is_terminal", lambda: True)
    assert built("top", "--domain", "my.io", "--pod-resources", "/s") == Done(0, [], [])
    assert ran == [(Path("tree"), [Path("/s")], {"domain": "my.io"})]
    monkeypatch.setitem(sys.modules, "fakehw.view.top", None)
    monkeypatch.delattr(sys.modules["fakehw.view"], "top")
    assert built("top").err == ["fakehw: fakehw.view.top: not installed: pip install 'fakehw[top]'"]


@pytest.mark.parametrize("stdin", [True, False, None])
@pytest.mark.parametrize("stdout", [True, False, None])
def test_a_terminal_is_one_where_both_are(
    monkeypatch: pytest.MonkeyPatch, stdin: bool | None, stdout: bool | None
) -> None:
    for name, kind in (("stdin", stdin), ("stdout", stdout)):
        monkeypatch.setattr(sys, name, None if kind is None else Stream(is_terminal=kind))
    assert top_command._is_terminal() is (stdin is True and stdout is True)


def test_a_hand_greets_and_answers_in_short_lines_at_once(fakehw: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    async def serve(root: Path, answer: Callable[[Any], None], **more: Any) -> None:
        given.append((root, more))
        answer({"done": [1, {"a": "ü"}]})

    monkeypatch.setattr(session, "serve_stdin", serve)
    done = fakehw("hand", "--domain", "my.io")
    assert done == Done(0, ['{"hand":1,"fakehw":"0.1.0"}', '{"done":[1,{"a":"\\u00fc"}]}'], [])
    assert given == [(Path("tree"), {"domain": "my.io"})]


def test_a_demo_is_another_program_in_place_of_this_one(fakehw: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(os, "execv", lambda *arguments: ran.append(arguments))
    fakehw("demo")
    fakehw("demo", "--play")
    command = [sys.executable, "-m", "fakehw_fleet", "demo"]
    assert ran == [(sys.executable, command), (sys.executable, [*command, "--play"])]
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert fakehw("demo") == Done(2, [], ["fakehw: demo: fakehw was installed without its fleet"])
    assert len(ran) == 2


# topology.


def test_specs_that_come_with_fakehw_are_shown(fakehw: Command) -> None:
    listed = fakehw("topology", "show").out
    assert len(listed) % 2 == 0
    names = listed[::2]
    assert all(line.startswith("    ") and line.endswith(".") for line in listed[1::2])
    text = fakehw("topology", "show", "gpu-server").out
    assert [line.split("#")[0].strip() for line in text if line.startswith("nodes")] == ["nodes:"]
    assert text[-1] != ""
    expanded = fakehw("topology", "expand", "gpu-server")
    assert expanded.code == 0
    assert sum("gpu-" in line for line in expanded.out) > 8
    for command in (["show"], ["labels"], ["reasons"]):
        done = fakehw("topology", *command, "gpu-serve")
        assert (done.code, done.out) == (2, [])
        assert done.err[0].startswith("fakehw: 'gpu-serve': must be one of ")
        assert done.err[0].endswith(" (NAME)")
        assert (", ".join(names) in done.err[0]) is (command == ["show"])
    assert fakehw("topology", "labels", "gpu-server").code == 2, "it is no vendor's"
    for line in fakehw("topology", "labels", "nvidia-a100").out:
        assert line.count("=") == 1


def test_reasons_are_a_table_of_codes_or_the_text_of_one(fakehw: Command) -> None:
    codes = fakehw("topology", "reasons", "nvidia-a100").out
    assert codes[0] == "31   XID 31: GPU memory page fault"
    assert len({line.index("XID") for line in codes}) == 1
    assert any(line.startswith("119  XID 119: ") for line in codes)
    assert fakehw("topology", "reasons", "nvidia-a100", "48") == Done(0, ["XID 48: double-bit ECC error"], [])
    done = fakehw("topology", "reasons", "nvidia-a100", "480")
    assert done.err[0].startswith("fakehw: '480': must be one of 31, 48, ")
    assert done.err[0].endswith(": did you mean 48? (CODE)")


def test_a_spec_is_written_out_for_one_host_or_for_all(fakehw: Command) -> None:
    whole, part = (fakehw("topology", "expand", "spec.yaml", *flags).out for flags in ([], ["--host", "kind-b"]))
    assert [name for name in ("a:", "b:") if f"  {name}" in whole] == ["a:", "b:"]
    assert [name for name in ("a:", "b:") if f"  {name}" in part] == ["b:"]
    assert fakehw("topology", "expand", "none.yaml").err[0].endswith("(SPEC)")


# scenario.

STEPS = "name: a day\nfor: {}\nsteps:\n- break: {{devices: a/dev1/1}}\n- {{at: 4s, break: {{devices: '*/dev1/[23]', for: 6s}}}}\n"


@pytest.fixture
def scenario(built: Command, place: Path) -> Command:
    (place / "s.yaml").write_text(STEPS.format("20s"))
    return lambda *arguments: built("scenario", *arguments)


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        ([], [(0, "break       set    a/dev1/1: unhealthy broken by a scenario"), (4, "break       set    a/dev1/2, a/dev1/3: unhealthy broken by a scenario"), (10, "break       set    a/dev1/2, a/dev1/3: healthy"), (20, "restore")]),
        (["--speed", "8"], [(0, "break       set    a/dev1/1: unhealthy broken by a scenario"), (0.5, "break       set    a/dev1/2, a/dev1/3: unhealthy broken by a scenario"), (1.25, "break       set    a/dev1/2, a/dev1/3: healthy"), (2.5, "restore")]),
        (["--from", "6", "--speed", "2"], [(0, "break       set    a/dev1/1: unhealthy broken by a scenario"), (0, "break       set    a/dev1/2, a/dev1/3: unhealthy broken by a scenario"), (2, "break       set    a/dev1/2, a/dev1/3: healthy"), (7, "restore")]),
        (["--from", "25"], [(0, "break       set    a/dev1/1: unhealthy broken by a scenario"), (0, "restore")]),
        (["--devices", "b/*/*"], [(0, "break       set    b/dev1/1: unhealthy broken by a scenario"), (4, "break       set    b/dev1/1: unhealthy broken by a scenario"), (10, "break       set    b/dev1/1: healthy"), (20, "restore")]),
    ],
)  # fmt: skip  # one row a timeline
def test_a_dry_run_prints_when_what_would_happen(
    scenario: Command, flags: list[str], lines: list[tuple[float, str]]
) -> None:
    assert scenario("run", "s.yaml", "--dry-run", *flags) == Done(0, [f"{at:10.3f}s  {text}" for at, text in lines], [])


def test_whoever_begins_in_the_middle_has_mended_by_then_what_was_broken_before(scenario: Command, place: Path) -> None:
    (place / "s.yaml").write_text("steps:\n- mend: {devices: a/dev1/*}\n- {at: 9s, mend: {devices: b/*/*}}\n")
    for path, text in (("a/dev1/1", "unhealthy"), ("a/dev1/2", "healthy but warm")):
        (place / "tree" / path / "health").write_text(f"{text}\n")
    assert scenario("run", "s.yaml", "--from", "5s", "--dry-run").out == [
        "     0.000s  mend        set    a/dev1/1, a/dev1/2: healthy",
        "     4.000s  mend        set    b/dev1/1: healthy",
        "     4.000s  restore",
    ]


def test_a_dry_run_ends_with_the_last_change_where_that_is_later(scenario: Command, place: Path) -> None:
    (place / "s.yaml").write_text(STEPS.format("3s"))
    assert scenario("run", "s.yaml", "--dry-run").out[-1] == "    10.000s  restore"
    (place / "log.csv").write_text("at,node,event\n")
    assert scenario("run", "log.csv", "--dry-run").out == ["     0.000s  restore"]


@pytest.mark.parametrize(("columns", "widest"), [("80", 80), ("60", 60), ("20", 40), ("400", 120)])
def test_the_gallery_is_listed_as_wide_as_the_terminal_within_reason(
    fakehw: Command, monkeypatch: pytest.MonkeyPatch, columns: str, widest: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = fakehw("scenario", "list").out
    assert [line for line in lines if not line.startswith(" ")] == list(named.gallery())
    taught = [line for line in lines if line.startswith("    ")]
    assert widest - 12 < max(map(len, taught)) <= widest
    assert " ".join(line.strip() for line in lines[1 : lines.index("overheating")]) == named.from_gallery("flapping-link").teaches  # fmt: skip
    assert fakehw("scenario", "list", "--names").out == list(named.gallery())


class Player:
    """Stands for the player: remembers what it was asked, says what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *receipts: Receipt, **outcome: Any) -> None:
        self.given: dict[str, Any] = {}
        self.signals: dict[int, Any] = {}
        self.at_s = 0.0
        self._outcome = player.Outcome(list(receipts), **outcome)
        monkeypatch.setattr(player, "run", self._run)

    async def _run(self, root: Path, timeline: Any, before: Any, **more: Any) -> player.Outcome:
        self.given = {"root": root, "timeline": timeline, "before": dict(before.devices()), **more}
        self.signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        for receipt in self._outcome.receipts:
            more["show"](receipt)
        more["tell"]("a word")
        if self.at_s:
            more["progress"](self.at_s, 1)
        return self._outcome


def receipt(*, step: str = "x", problem: str = "", **hops: Hop) -> Receipt:
    return Receipt(1, Change(0.0, step, Act.SET, (TreePath("a", "dev1", 1),), "healthy"), 1e9, problem, **hops)


def test_a_run_is_asked_of_the_player_as_the_flags_say(
    scenario: Command, monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    stand_in = Player(monkeypatch, receipt())
    done = scenario("run", "s.yaml", "--from", "5", "--speed", "3", "--keep", "--patience", "9", "--plugin-log", "l", "--pod-resources", "/s", "--domain", "my.io", "--api", "dra")  # fmt: skip
    assert done == Done(
        0, ["a day: 3 changes on tree", shown.text_line(receipt()), "1 of 1 changes written"], ["fakehw: a word"]
    )
    given = stand_in.given
    assert given["options"] == player.Options(3.0, True, 9.0, ["l"], [Path("/s")], "my.io", "dra", 5.0)
    assert (given["root"], given["lasts_s"], given["before"]) == (Path("tree"), 20.0, dict(FakeTree(place / "tree").read().devices()))  # fmt: skip
    assert [change.at_s for change in given["timeline"]] == [5.0, 5.0, 10.0]
    assert not given["stop"].is_set()
    scenario("run", "s.yaml")
    assert stand_in.given["options"] == player.Options(1.0, False, 5.0, [], [], "myplugin.io", "device-plugin", 0.0)
    (place / "s.yaml").write_text(STEPS.format("0").replace("name: a day\n", ""))
    assert scenario("run", "s.yaml").out[0] == "s.yaml: 3 changes on tree"


def test_programs_get_receipts_and_nothing_else(scenario: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Player(monkeypatch, receipt(), receipt(problem="full"))
    assert scenario("run", "s.yaml", "-o", "json") == Done(
        1, [shown.json_line(receipt()), shown.json_line(receipt(problem="full"))], ["fakehw: a word"]
    )


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([], 0),
        ([receipt(seen=Hop(2, 2), landed=Hop(1, 1))], 0),
        ([receipt(seen=Hop(2, 1, 1))], 0),
        ([receipt(seen=Hop(2, 1, 0, 1))], 1),
        ([receipt(seen=Hop(1, 1), landed=Hop(1, 0, 0, 1))], 1),
        ([receipt(), receipt(in_slice=Hop(2, 1, 0, 1))], 1),
        ([receipt(), receipt(problem="full")], 1),
        ([receipt(seen=Hop(1, 0, 1)), receipt(seen=Hop(1, 0, 1))], 1),
        ([receipt(seen=Hop(1, 1)), receipt(seen=Hop(1, 0, 1))], 0),
        ([receipt(seen=Hop(1, 1)), receipt(landed=Hop(1, 0, 1))], 1),
    ],
)
def test_the_exit_code_says_whether_everything_arrived_and_anything_at_all(
    scenario: Command, monkeypatch: pytest.MonkeyPatch, given: list[Receipt], code: int
) -> None:
    Player(monkeypatch, *given)
    assert scenario("run", "s.yaml").code == code


@pytest.mark.parametrize(
    ("flags", "lasts", "left", "at_s", "remarks"),
    [
        ([], "20s", 0, 0.0, ["stopped; the devices are as they were"]),
        ([], "20s", 3, 7.0, ["stopped; all but 3 of the devices are as they were"]),
        (["--keep"], "20s", 0, 0.0, ["stopped"]),
        ([], "1d", 0, 0.0, ["stopped; the devices are as they were"]),
        ([], "23h59m", 0, 5400.0, ["stopped; the devices are as they were"]),
        ([], "1d", 0, 5400.0, ["stopped; the devices are as they were", "to go on from here: --from 1.5h"]),
        ([], "24h", 0, 86_400.0, ["stopped; the devices are as they were", "to go on from here: --from 1.0d"]),
    ],
)
def test_a_run_that_was_stopped_says_how_things_are_and_where_to_go_on(
    scenario: Command,
    monkeypatch: pytest.MonkeyPatch,
    place: Path,
    flags: list[str],
    lasts: str,
    left: int,
    at_s: float,
    remarks: list[str],
) -> None:
    (place / "s.yaml").write_text(STEPS.format(lasts))
    stand_in = Player(monkeypatch, receipt(), is_stopped=True, left=left)
    stand_in.at_s = at_s
    done = scenario("run", "s.yaml", *flags)
    assert (done.code, len(done.out)) == (130, 2)
    assert [line for line in done.err if "left" not in line or "stopped" in line][-len(remarks) :] == [f"fakehw: {line}" for line in remarks]  # fmt: skip


def test_what_could_not_be_put_back_is_remarked_on(scenario: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Player(
        monkeypatch,
        receipt(problem="no"),
        receipt(step="restore"),
        receipt(step="restore", problem="/a/dev1/1: in use"),
    )
    assert scenario("run", "s.yaml").err == ["fakehw: a word", "fakehw: not restored: /a/dev1/1: in use"]


def test_a_signal_stops_a_run_and_one_that_is_ignored_does_not(
    scenario: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[int] = []

    class Loop(asyncio.SelectorEventLoop):
        def add_signal_handler(self, sig: int, callback: Any, *_: Any) -> None:
            added.append(sig)
            callback()

    stopped: list[bool] = []

    async def run(*_: object, stop: asyncio.Event, **__: object) -> player.Outcome:
        stopped.append(stop.is_set())
        return player.Outcome([])

    monkeypatch.setattr(player, "run", run)
    real = asyncio.run
    monkeypatch.setattr(asyncio, "run", lambda work: asyncio.Runner(loop_factory=Loop).run(work))
    for handler, expected in ((signal.SIG_DFL, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]), (signal.SIG_IGN, [signal.SIGINT, signal.SIGTERM])):  # fmt: skip
        added.clear()
        before = signal.signal(signal.SIGHUP, handler)
        try:
            scenario("run", "s.yaml")
        finally:
            signal.signal(signal.SIGHUP, before)
        assert added == expected
    monkeypatch.setattr(asyncio, "run", real)
    assert stopped == [True, True]


def test_progress_is_of_what_lasts_long_and_begins_anew_around_each_line(
    scenario: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    calls: list[str] = []

    class Progress(shown.Progress):
        def __init__(self, *arguments: Any) -> None:
            made.append(arguments)
            super().__init__(None, *arguments[1:])

        def around(self, say: Callable[[], None]) -> None:
            calls.append("around")
            super().around(say)

        def clear(self) -> None:
            calls.append("clear")

    monkeypatch.setattr(scenario_command.shown, "Progress", Progress)
    Player(monkeypatch, receipt())
    scenario("run", "s.yaml", "--speed", "4")
    scenario("run", "s.yaml", "--from", "30")
    assert [arguments[1:] for arguments in made] == [(3, 20.0, 4.0), (1, 30.0, 1.0)]
    assert made[0][0] is sys.stderr
    assert calls == ["around", "clear", "clear"] * 2


# Fault logs.

TRACE = [
    {
        "node_id": server,
        "event_time": day,
        "event_type": f"fault_{kind}",
        "fault_type": {"Class": "GPU", "Desc": "lost"},
    }
    for server, day, kind in (("x", 1, "start"), ("y", 1.5, "start"), ("x", 2, "end"))
]


def test_an_import_prints_a_log_with_its_sources_and_says_them(fakehw: Command, place: Path) -> None:
    (place / "t.json").write_text(json.dumps(TRACE))
    remarks = [
        "2 faults of t.json, on 2 of 2 nodes",
        "from github.com/stepfun-ai/InfiniteHBD-Trace, Apache-2.0",
        "which node stands for which server: by chance (seed 3)",
        "every fault takes all devices of its node",
    ]
    done = fakehw("scenario", "import", "infinitehbd", f"{place}/t.json", "--spec", "spec.yaml", "--seed", "3", "--fails", "node")  # fmt: skip
    x, y = ("a", "b") if done.out[5].split(",")[1] == "a" else ("b", "a")
    assert done == Done(
        0,
        [
            *(f"# {remark}" for remark in remarks), "at,node,device,event,reason",
            f"86400,{x},,break,GPU: lost", f"129600,{y},,break,GPU: lost", f"172800,{x},,mend,", f"172800,{y},,mend,",
        ],
        [f"fakehw: {remark}" for remark in remarks],
    )  # fmt: skip
    by_device = fakehw("scenario", "import", "infinitehbd", "t.json", "--spec", "spec.yaml", "--seed", "7")
    assert by_device.out[3] == "# which device of a server failed is not known: chosen by chance (seed 7)"
    assert all("dev1/" in line for line in by_device.out[5:])
    chosen = {
        fakehw("scenario", "import", "infinitehbd", "t.json", "--spec", "spec.yaml", "--fails", "node", "--seed", str(seed)).out[5]
        for seed in range(9)
    }  # fmt: skip
    assert chosen == {"86400,a,,break,GPU: lost", "86400,b,,break,GPU: lost"}, "by the seed"


def test_an_import_needs_a_node_for_each_server(fakehw: Command, place: Path) -> None:
    more = [TRACE[0] | {"node_id": name} for name in "xyz"]
    (place / "t.json").write_text(json.dumps(more))
    assert fakehw("scenario", "import", "infinitehbd", "t.json", "--spec", "spec.yaml") == Done(
        2, [], ["fakehw: 2 nodes: must be at least as many as servers fail in it, 3 (--spec)"]
    )
    (place / "t.json").write_text(json.dumps(more[:2]))
    assert fakehw("scenario", "import", "infinitehbd", "t.json", "--spec", "spec.yaml").code == 0
    assert fakehw("scenario", "import", "infinitehbd", "t.json", "--spec", "none").err[0].endswith("(--spec)")


def test_a_synthesis_prints_what_it_was_drawn_from(fakehw: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from fakehw.scenario import figures

    command = ["scenario", "synthesize", "--spec", "spec.yaml", "--days", "300", "--seed", "5", "--rate", "20"]
    done = fakehw(*command)
    measured = figures.load("infinitehbd")
    assert done.code == 0
    assert done.err == [f"fakehw: {line.removeprefix('# ')}" for line in done.out[:4]]
    assert done.out[0].startswith("# ")
    assert " faults on 2 of 2 nodes in 300 days: " in done.out[0]
    assert done.out[1:5] == [
        f"# drawn with seed 5 from infinitehbd: {measured.about}", f"# {measured.source}",
        "# which device of a server failed is not known: chosen by chance (seed 5)", "at,node,device,event,reason",
    ]  # fmt: skip
    broken = [line for line in done.out[5:] if ",break," in line]
    assert done.out[0].startswith(f"# {len(broken)} faults")
    assert fakehw(*command) == done
    assert fakehw(*command[:-4], "--seed", "6", "--rate", "20") != done
    other = fakehw(*command, "--figures", "llama3", "--fails", "node")
    assert other.out[1].startswith("# drawn with seed 5 from llama3: ")
    assert all(line.split(",")[2] == "" for line in other.out[5:])
    monkeypatch.setenv("FAKEHW_SPEC", "none")
    assert fakehw("scenario", "synthesize", "--days", "1").err[0].endswith("(FAKEHW_SPEC)")
