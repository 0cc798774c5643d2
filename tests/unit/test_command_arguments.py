"""What each command of `fakehw` takes: its usage, what stands in for what is left out, and what a shell offers."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakehw import cli, parser
from fakehw.scenario import figures, named
from fakehw.spec import profiles


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FAKEHW_") or name == "NODE_NAME"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "1000")


def commands(whole: parser.Parser) -> Iterator[parser.Parser]:
    yield whole
    for action in whole.added:
        if isinstance(action.choices, dict):
            for below in action.choices.values():
                yield from commands(below)


USAGE = """\
fakehw [-h] [--version] COMMAND ...
fakehw build [-h] --spec FILE [--root DIR] [--host NAME] [--reset] [--dry-run] [--tolerant]
fakehw list [-h] [--root DIR] [--domain NAME] [-o {table,wide,name,json,yaml}] [--summary] [--no-headers] [--pod-resources SOCKET] [PATH ...]
fakehw set-health [-h] [--reason TEXT] [--root DIR] PATH [PATH ...] {healthy,unhealthy} [REASON ...]
fakehw set [-h] [--root DIR] PATH [PATH ...] ATTRIBUTE VALUE
fakehw plug [-h] [--create] [--root DIR] PATH [PATH ...]
fakehw unplug [-h] [--root DIR] PATH [PATH ...]
fakehw events [-h] [--root DIR] [--domain NAME] [-f] [--pod-resources SOCKET] [-o {lines,json}]
fakehw top [-h] [--root DIR] [--domain NAME] [--pod-resources SOCKET]
fakehw scenario [-h] COMMAND ...
fakehw scenario run [-h] [--root DIR] [--domain NAME] [--api NAME] [--devices PATTERN] [--dry-run] [--speed TIMES] [--from DURATION] [--keep] [--plugin-log FILE] [--pod-resources SOCKET] [--patience DURATION] [-o {lines,json}] FILE
fakehw scenario import [-h] --spec FILE [--seed NUMBER] [--fails {device,node}] {infinitehbd} FILE
fakehw scenario synthesize [-h] --spec FILE [--seed NUMBER] [--fails {device,node}] --days DAYS [--figures FILE] [--rate NUMBER]
fakehw scenario list [-h] [--names]
fakehw topology [-h] COMMAND ...
fakehw topology show [-h] [NAME]
fakehw topology labels [-h] NAME
fakehw topology reasons [-h] NAME [CODE]
fakehw topology expand [-h] [--host NAME] SPEC
fakehw demo [-h] [--play]
fakehw hand [-h] [--root DIR] [--domain NAME]
fakehw completion [-h] SHELL
"""


def test_the_usage_of_every_command() -> None:
    whole = cli.make_parser()
    assert "".join(command.format_usage().removeprefix("usage: ") for command in commands(whole)) == USAGE


def taken(line: str) -> dict[str, Any]:
    arguments = vars(cli.make_parser().parse_args(line.split()))
    assert arguments.pop("version") is None
    run = arguments.pop("run")
    return {"run": f"{run.__module__.removeprefix('fakehw.commands.')}.{run.__name__}", **arguments}


ROOT = Path("/fakehw")
LEAST = {
    "build --spec x": {"run": "build.run", "spec": "x", "root": ROOT, "host": None, "reset": False, "dry_run": False, "tolerant": False},
    "list": {"run": "list_devices.run", "paths": [], "root": ROOT, "domain": "myplugin.io", "output": "table", "summary": False, "no_headers": False, "pod_resources": []},
    "set-health a healthy": {"run": "set_health.run", "words": ["a", "healthy"], "reason": "", "root": ROOT},
    "set a b c": {"run": "set_attribute.run", "words": ["a", "b", "c"], "root": ROOT},
    "plug a b": {"run": "plug.run", "paths": ["a", "b"], "create": False, "root": ROOT},
    "unplug a": {"run": "unplug.run", "paths": ["a"], "root": ROOT},
    "events": {"run": "events.run", "root": ROOT, "domain": "myplugin.io", "follow": False, "pod_resources": [], "output": "lines"},
    "top": {"run": "top.run", "root": ROOT, "domain": "myplugin.io", "pod_resources": []},
    "scenario": {"run": "scenario.run"},
    "scenario run x": {
        "run": "scenario._play", "file": "x", "root": ROOT, "domain": "myplugin.io", "api": "device-plugin", "devices": [], "dry_run": False, "speed": 1.0,
        "from_s": 0.0, "keep": False, "plugin_log": [], "pod_resources": [], "patience": 5.0, "output": "lines",
    },
    "scenario import infinitehbd x --spec s": {"run": "fault_logs._import", "kind": "infinitehbd", "file": "x", "spec": "s", "seed": 0, "fails": "device"},
    "scenario synthesize --spec s --days 1.5": {"run": "fault_logs._synthesize", "spec": "s", "days": 1.5, "seed": 0, "fails": "device", "figures": "infinitehbd", "rate": None},
    "scenario list": {"run": "scenario._list", "names": False},
    "topology": {"run": "topology.run"},
    "topology show": {"run": "topology._show", "name": None},
    "topology labels x": {"run": "topology._labels", "name": "x"},
    "topology reasons x": {"run": "topology._reasons", "name": "x", "code": None},
    "topology expand x": {"run": "topology._expand", "spec": "x", "host": None},
    "demo": {"run": "demo.run", "play": False},
    "hand": {"run": "hand.run", "root": ROOT, "domain": "myplugin.io"},
    "completion bash": {"run": "completion.run", "shell": "bash"},
}  # fmt: skip  # one row a command
MOST = {
    "build --spec x --root /r --host h --reset --dry-run --tolerant": {"root": Path("/r"), "host": "h", "reset": True, "dry_run": True, "tolerant": True},
    "list a --root /r --domain my.io -o json --summary --no-headers --pod-resources /a --pod-resources /b": {
        "paths": ["a"], "root": Path("/r"), "domain": "my.io", "output": "json", "summary": True, "no_headers": True, "pod_resources": [Path("/a"), Path("/b")],
    },
    "set-health a unhealthy --reason hot --root /r": {"reason": "hot", "root": Path("/r")},
    "set a b c --root /r": {"root": Path("/r")},
    "plug a --create --root /r": {"create": True, "root": Path("/r")},
    "unplug a --root /r": {"root": Path("/r")},
    "events -f -o json --domain my.io --root /r": {"follow": True, "output": "json", "domain": "my.io", "root": Path("/r")},
    "top --domain my.io --root /r --pod-resources /a --pod-resources /b": {"domain": "my.io", "root": Path("/r"), "pod_resources": [Path("/a"), Path("/b")]},
    "scenario run x --root /r --domain my.io --api dra --devices a/b/1 --devices c/d/1 --dry-run --speed 0.001 --from 1d --keep --plugin-log a --plugin-log - --pod-resources /a --pod-resources /b --patience 1m -o json": {
        "root": Path("/r"), "domain": "my.io", "api": "dra", "devices": ["a/b/1", "c/d/1"], "dry_run": True, "speed": 0.001, "from_s": 86_400.0, "keep": True,
        "plugin_log": ["a", "-"], "pod_resources": [Path("/a"), Path("/b")], "patience": 60.0, "output": "json",
    },
    "scenario run x --speed 1000000 --from 36600d": {"speed": 1e6, "from_s": 36_600 * 86_400.0},
    "scenario import infinitehbd x --spec s --seed 4294967295 --fails node": {"seed": 4_294_967_295, "fails": "node"},
    "scenario synthesize --spec s --days 36500 --seed 7 --fails node --figures f --rate 1000000": {"days": 36_500.0, "seed": 7, "fails": "node", "figures": "f", "rate": 1e6},
    "scenario synthesize --spec s --days 0.001 --rate 0": {"days": 0.001, "rate": 0.0},
    "scenario list --names": {"names": True},
    "topology show x": {"name": "x"},
    "topology reasons x 79": {"code": "79"},
    "topology expand x --host h": {"host": "h"},
    "demo --play": {"play": True},
    "hand --root /r --domain my.io": {"root": Path("/r"), "domain": "my.io"},
}  # fmt: skip  # one row a command


@pytest.mark.parametrize("line", LEAST)
def test_what_is_left_out_has_a_value_that_stands_in(line: str) -> None:
    assert taken(line) == LEAST[line]


@pytest.mark.parametrize("line", MOST)
def test_every_flag_is_taken(line: str) -> None:
    found = taken(line)
    assert {name: found[name] for name in MOST[line]} == MOST[line]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("list --pod-resources", "expected one argument (--pod-resources)"),
        ("plug", "the following arguments are required: PATH"),
        ("unplug", "the following arguments are required: PATH"),
        ("set", "the following arguments are required: WORD"),
        ("set-health", "the following arguments are required: WORD"),
        ("events -o xml", "'xml': must be one of lines, json (-o/--output)"),
        ("scenario run", "the following arguments are required: FILE"),
        ("scenario run x -o xml", "'xml': must be one of lines, json (-o/--output)"),
        ("scenario run x --speed 0.0009", "'0.0009': must be a number from 0.001 to 1000000 (--speed)"),
        ("scenario run x --speed 1000001", "'1000001': must be a number from 0.001 to 1000000 (--speed)"),
        ("scenario run x --from soon", "'soon': must be a duration such as 3s, 2.5h or 349d, or a number of seconds, at most 100 years (--from)"),
        ("scenario run x --patience 8d", "'8d': must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, at most 7 days (--patience)"),
        ("scenario run x --api x", "'x': must be device-plugin or dra (--api)"),
        ("scenario import x y --spec s", "'x': must be one of infinitehbd (kind)"),
        ("scenario import infinitehbd y", "the following arguments are required: --spec"),
        ("scenario import infinitehbd y --spec s --fails all", "'all': must be one of device, node (--fails)"),
        ("scenario synthesize --spec s", "the following arguments are required: --days"),
        ("scenario synthesize --spec s --days 36501", "'36501': must be a number from 0.001 to 36500 (--days)"),
        ("scenario synthesize --spec s --days 1 --rate -1", "'-1': must be a number from 0 to 1000000 (--rate)"),
        ("scenario synthesize --spec s --days 1 --rate 1000001", "'1000001': must be a number from 0 to 1000000 (--rate)"),
        ("scenario synthesize --spec s --days 1 --seed 4294967296", "'4294967296': must be a whole number from 0 to 4294967295 (--seed)"),
        ("topology labels", "the following arguments are required: NAME"),
        ("topology expand", "the following arguments are required: SPEC"),
        ("completion", "the following arguments are required: SHELL"),
    ],
)  # fmt: skip  # one row a mistake
def test_what_a_command_does_not_take_is_said(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.make_parser().parse_args(line.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f": {said}")


@pytest.mark.parametrize(("line", "said"), [("scenario", "run, import, synthesize, list: one of them must follow (scenario)"), ("topology", "show, labels, reasons, expand: one of them must follow (topology)")])  # fmt: skip
def test_a_command_of_commands_says_which_may_follow(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([line]) == 2
    assert capsys.readouterr() == ("", f"fakehw: {said}\n")


def test_variables_stand_in_for_flags_where_help_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SPEC": "s", "ROOT": "/r", "DOMAIN": "my.io", "API": "dra"}.items():
        monkeypatch.setenv(f"FAKEHW_{name}", value)
    monkeypatch.setenv("NODE_NAME", "h")
    for line in ("build", "scenario synthesize --days 1", "scenario import infinitehbd x"):
        assert taken(line)["spec"] == "s"
    for line in ("build", "topology expand x"):
        assert taken(line)["host"] == "h"
    for line in ("list", "events", "top", "hand", "scenario run x"):
        assert (taken(line)["domain"], taken(line)["root"]) == ("my.io", Path("/r"))
    assert taken("scenario run x")["api"] == "dra"


def test_what_a_shell_may_complete_an_argument_with() -> None:
    profile, gallery = sorted(profiles.names()), list(named.gallery())
    vendors = [name for name in profile if profiles.labels(name)]
    found = {
        (command.prog.removeprefix("fakehw "), action.dest): (sorted(offer.words()), offer.has_files, offer.has_devices)
        for command in commands(cli.make_parser())
        for action, offer in command.offers.items()
    }
    assert found == {
        ("build", "spec"): (profile, True, False),
        ("set-health", "words"): (["healthy", "unhealthy"], False, True),
        ("scenario run", "file"): (gallery, True, False),
        ("scenario import", "spec"): (profile, True, False),
        ("scenario synthesize", "spec"): (profile, True, False),
        ("scenario synthesize", "figures"): (figures.names(), True, False),
        ("topology show", "name"): (profile, False, False),
        ("topology labels", "name"): (vendors, False, False),
        ("topology reasons", "name"): (vendors, False, False),
        ("topology expand", "spec"): (profile, True, False),
    }
    assert 0 < len(vendors) < len(profile)


def test_help_explains_every_command_and_every_argument_and_ends_with_examples() -> None:
    for command in commands(cli.make_parser()):
        assert command.description
        assert command.description[0].isupper()
        assert command.epilog
        assert command.epilog.startswith("examples:\n  ")
        assert command.epilog.splitlines()[1].split()[0] in ("fakehw", "kubectl", "source", "echo")
        assert all(action.help or isinstance(action, argparse._SubParsersAction) for action in command.added if action.dest != "version")  # fmt: skip


def test_each_command_of_commands_has_the_examples_that_are_about_it() -> None:
    examples = {
        command.prog.removeprefix("fakehw "): command.epilog.splitlines()[1:]
        for command in commands(cli.make_parser())
        if command.epilog
    }
    assert examples["scenario run"] == examples["scenario"][1:]
    assert examples["scenario list"] == ["  fakehw scenario list"]
    assert examples["topology show"] == examples["topology"][:2]
    assert examples["topology expand"] == examples["topology"][2:]
    assert all("fakehw topology show" in line for line in examples["topology show"])
    assert examples["topology labels"] == examples["topology reasons"]
    assert [len(lines) for lines in examples.values()] == [
        6,
        5,
        6,
        5,
        3,
        5,
        4,
        3,
        3,
        5,
        4,
        2,
        3,
        1,
        3,
        2,
        2,
        2,
        1,
        2,
        2,
        3,
    ]
