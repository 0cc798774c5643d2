"""The command `fakehw`: as a process of its own where that matters, else as the function behind it."""

import io
import json
import os
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fakehw import cli

SEED = Path(__file__).parents[2] / "deploy/base/topology.yaml"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Call the command's function; what it prints, and the exit code a shell would see."""
    for name in ("FAKEHW_SPEC", "NODE_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAKEHW_ROOT", str(tmp_path / "tree"))
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object, env: dict[str, str] | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            code = cli.main(list(map(str, arguments)))
        except SystemExit as end:  # argparse's way
            code = int(end.code or 0)
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return run


@pytest.fixture
def command(tmp_path: Path):
    """Run the command as a user does, in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FAKEHW_", "NODE_NAME"))}

    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fakehw", *map(str, arguments)],
            check=False, capture_output=True, text=True, timeout=30,
            env={**clean, "FAKEHW_ROOT": str(tmp_path / "tree")},
        )  # fmt: skip  # the command stays on one line

    return command


def test_a_process_of_its_own_says_the_same_and_ends_with_the_code(command):
    assert "5 added" in command("build", "--spec", SEED).stdout
    done = command("set-health", "node2/dev3/9", "unhealthy")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("fakehw: /node2/dev3/9: no such device")


def test_the_story_of_a_day(run, tmp_path: Path):
    """Build, look, break, pull out, plug in, build again."""
    assert run("build", "--spec", SEED).stdout.splitlines()[-1] == (
        f"{tmp_path}/tree: devices: 5 added, 0 removed, 0 updated, 0 unchanged"
    )
    assert (
        run("set-health", "node2/dev3/2", "unhealthy", "--reason", "too hot").stdout
        == "/node2/dev3/2 unhealthy: too hot\n"
    )
    assert run("unplug", "node2/dev3/3").stdout == "/node2/dev3/3 unplugged\n"
    listed = {row["id"]: row for row in json.loads(run("list", "-o", "json").stdout) if row["id"]}
    assert set(listed) == {"node1-dev1-1", "node2-dev2-1", "node2-dev3-1", "node2-dev3-2"}
    assert listed["node2-dev3-2"] == {
        "path": "/node2/dev3/2",
        "id": "node2-dev3-2",
        "resource": "myplugin.io/mydevice-3",
        "health": "unhealthy",
        "numa_node": None,
        "host": "kind-worker2",
        "reason": "too hot",
        "attributes": {},
    }
    assert run("plug", "/node2/dev3/3").stdout == "/node2/dev3/3 plugged in\n"
    again = run("build", "--spec", SEED).stdout.splitlines()
    assert again[0] == "kept     /node2/dev3/2  health unhealthy too hot (by hand)"
    assert again[1].endswith("0 added, 0 removed, 0 updated, 5 unchanged; 1 kept as changed by hand")


def test_environment_stands_in_for_flags_and_flags_win(run, tmp_path: Path):
    env = {"FAKEHW_SPEC": str(SEED), "NODE_NAME": "kind-worker"}
    assert "1 added" in run("build", env=env).stdout
    assert "4 added" in run("build", "--host", "kind-worker2", "--root", tmp_path / "other", env=env).stdout


def test_spec_may_come_from_stdin(run):
    assert "5 added" in run("build", "--spec", "-", stdin=SEED.read_text()).stdout
    assert run("build", "--spec", "-", stdin="nodes: 3").stderr == (
        "stdin:1: nodes: 3: must be a mapping of node names to nodes\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        pytest.param([], 2, "required: COMMAND", id="nothing"),
        pytest.param(["bulid"], 2, "'bulid': must be one of build, list", id="misspelt command"),
        pytest.param(["build"], 2, "required: --spec", id="no spec"),
        pytest.param(["build", "--spec", "/nowhere"], 2, "'/nowhere': No such file or directory", id="no such spec"),
        pytest.param(["build", "--spec", "/"], 2, "'/': Is a directory", id="spec is a directory"),
        pytest.param(["build", "--spec", SEED, "--host", "A_b"], 2, "(--host)", id="bad host"),
        pytest.param(["build", "--spec", SEED, "--root", ""], 2, "'': must be a directory (--root)", id="empty root"),
        pytest.param(["build", "--spec", SEED, "--root", "/dev/null"], 2, "(--root, FAKEHW_ROOT)", id="root is a file"),
        pytest.param(["build", "--spec", SEED, "--root", "/proc/x"], 1, "/proc/x", id="root cannot be made"),
        pytest.param(["list"], 2, "must be the directory of a tree (--root, FAKEHW_ROOT)", id="no tree"),
        pytest.param(
            ["list", "-o", "xml"], 2, "'xml': must be one of table, wide, name, json, yaml (-o/--output)", id="output"
        ),
        pytest.param(
            ["list", "--roo", "x"],
            2,
            "'--roo': is not an argument of fakehw list: did you mean --root?",
            id="abbreviated flag",
        ),
        pytest.param(["set-health", "node2/dev3/2"], 2, "healthy or unhealthy must follow", id="no health"),
        pytest.param(
            ["set-health", "node2/dev3/2", "sick"], 2, "'sick': healthy or unhealthy must follow", id="health"
        ),
        pytest.param(["set", "node2/dev3/2", "model"], 2, "PATH, ATTRIBUTE and VALUE must follow", id="no value"),
        pytest.param(["lst"], 2, "did you mean list?", id="command nearly right"),
        pytest.param(["scenario", "run", "flaping-link"], 2, "did you mean flapping-link?", id="scenario nearly right"),
        pytest.param(["set-health", "../../etc", "healthy"], 2, "(PATH)", id="path out of the tree"),
        pytest.param(["unplug", "node2/dev3/x"], 2, "'node2/dev3/x': a device's name must be", id="device name"),
        pytest.param(["unplug", "node2/dev3/2"], 2, "(--root, FAKEHW_ROOT)", id="unplug without a tree"),
        pytest.param(
            ["completion", "fisch"],
            2,
            "'fisch': must be one of bash, zsh, fish, powershell, tcsh: did you mean fish?",
            id="shell",
        ),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(run, arguments: list[object], code: int, text: str):
    done = run(*arguments)

    assert done.returncode == code
    assert text in done.stderr
    assert done.stderr.startswith("fakehw: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_wrong_spec_names_every_error_and_writes_nothing(run, tmp_path: Path):
    spec = tmp_path / "wrong.yaml"
    spec.write_text("nodes:\n  n:\n    classes:\n      dev1: {count: -1}\n      gpu: {count: 1}\n")
    done = run("build", "--spec", spec)

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"{spec}:4: nodes.n.classes.dev1.count: -1: must be a whole number from 0 to 1000000: "
        "devices 1 to count are made",
        f"{spec}:5: nodes.n.classes.gpu: must have a resource, because it is not named devK",
    ]
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_cannot_be_written_is_one_line(run, tmp_path: Path, unbuffered: str):
    run("build", "--spec", SEED)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fakehw", "list", "--root", tmp_path / "tree"],
            check=False, stdout=full, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "fakehw: No space left on device\n"


def test_reader_that_has_read_enough_is_no_error(run, roomy_dir: Path):
    spec = roomy_dir / "many.yaml"
    spec.write_text("nodes: {n: {classes: {dev1: {count: 3000}}}}")
    run("build", "--spec", spec, "--root", roomy_dir / "tree")
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m fakehw list --root {roomy_dir}/tree | head -1"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["", "build", "list", "set-health", "plug", "unplug", "completion"])
def test_help_ends_with_examples(run, command: str):
    done = run(*filter(None, [command]), "--help")

    assert done.returncode == 0
    assert "\nexamples:\n  " in done.stdout


def test_version_is_that_of_the_distribution(run):
    assert run("--version").stdout == f"fakehw {metadata.version('fakehw')}\n"


def test_package_knows_nothing_of_the_plugin():
    code = "import sys, fakehw.cli; sys.exit(any(m.split('.')[0] in ('plugin', 'grpc') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "env", "text"),
    [
        (["build", "--spec", SEED], {"NODE_NAME": "Bad_Host"}, "(NODE_NAME)"),
        (["list"], {"FAKEHW_DOMAIN": "Bad Domain"}, "(FAKEHW_DOMAIN)"),
        (["list"], {"FAKEHW_ROOT": "/nowhere"}, "FAKEHW_ROOT"),
        (["build"], {"FAKEHW_SPEC": "/nowhere"}, "FAKEHW_SPEC"),
        (["build", "--spec", SEED, "--host", "Bad_Host"], {"NODE_NAME": "good"}, "(--host)"),
    ],
)
def test_a_bad_value_is_said_of_the_variable_that_it_came_from(run, arguments: list[object], env: dict, text: str):
    done = run(*arguments, env=env)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert text in done.stderr


def test_a_domain_of_the_plugins_moves_the_resources_that_are_shown(run, tmp_path: Path):
    run("build", "--spec", SEED)
    (tmp_path / "tree/node2/dev3/resource").unlink()
    run("set-health", "node2/dev3/1", "unhealthy")

    shown = {env: run("list", env={"FAKEHW_DOMAIN": env}).stdout for env in ("", "acme.io")}
    assert "myplugin.io/mydevice-3" in shown[""]
    assert "acme.io/mydevice-3" in shown["acme.io"]
    assert '"resource": "other.io/mydevice-3"' in run("events", "-o", "json", "--domain", "other.io").stdout


@pytest.mark.parametrize(
    ("line", "code", "stderr"),
    [
        ("--version >&-", 1, "fakehw: standard output is closed\n"),
        ("list >&-", 1, "fakehw: standard output is closed\n"),
        ("events >&-", 1, "fakehw: standard output is closed\n"),
        ("scenario list >&-", 1, "fakehw: standard output is closed\n"),
        ("build --spec - <&-", 2, "fakehw: -: standard input is closed (--spec -)\n"),
        ("scenario run flapping-link --plugin-log - <&-", 2, "fakehw: -: standard input is closed (--plugin-log -)\n"),
        ("set-health node2/dev3/1 healthy >&-", 0, ""),
        ("set-health node2/dev3/1 healthy >/dev/full", 0, ""),
        ("build --spec $SEED >/dev/full", 0, ""),
        ("build --spec $SEED --dry-run >/dev/full", 1, "fakehw: No space left on device\n"),
        ("plug node2/dev3/1 >&- 2>&-", 0, ""),
        ("set-health nope healthy 2>/dev/full", 2, ""),
        ("set-health nope healthy <&- >&- 2>&-", 2, ""),
        ("unplug node1 >/dev/full 2>/dev/full", 0, ""),
    ],
)  # fmt: skip  # one row a command
def test_what_was_done_is_done_whoever_reads_of_it(run, tmp_path: Path, line: str, code: int, stderr: str):
    run("build", "--spec", SEED)
    run("set-health", "node2/dev3/2", "unhealthy")  # for events to have a line
    environ = {**os.environ, "FAKEHW_ROOT": str(tmp_path / "tree"), "SEED": str(SEED), "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m fakehw {line}"],
        check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environ, timeout=60,
    )  # fmt: skip
    if line.startswith("scenario run"):
        done.stdout = ""  # its head line
    assert (done.returncode, done.stdout, done.stderr) == (code, "", stderr)


def test_letters_that_the_output_has_not_and_names_that_steer_a_terminal_are_escaped(tmp_path: Path):
    environ = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    root = os.fsencode(tmp_path) + b"/tr\xff\xc3\xbce\x1b[31m"

    def fakehw(*arguments: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "fakehw", *[a if isinstance(a, bytes) else str(a) for a in arguments], "--root", root],
            check=False, capture_output=True, env=environ,
        )  # fmt: skip

    assert fakehw("build", "--spec", SEED).returncode == 0
    (Path(os.fsdecode(root)) / "node1\x1b[2J").mkdir()
    (Path(os.fsdecode(root)) / "node9").write_text("")
    done = [
        fakehw("set-health", "node2/dev3/1", "unhealthy", "--reason", "zu heiß"),
        fakehw("list"),
        fakehw("list", "-o", "json"),
        fakehw("events"),
        fakehw("events", "-o", "json"),
        fakehw("build", "--spec", SEED, "--reset"),
        fakehw("build", "--spec", tmp_path / "no\x1b[31m"),
        fakehw("unplug", "node9/\x1b[31m"),
        fakehw("list", "--\x1b[31m"),
    ]
    assert [process.returncode for process in done] == [0, 0, 0, 0, 0, 1, 2, 2, 2]
    assert all(b"\x1b" not in process.stdout + process.stderr for process in done)
    assert not any(b"Traceback" in process.stderr for process in done)
    assert b"hei\\xdf" in done[0].stdout
    assert json.loads(done[2].stdout)[5]["reason"] == json.loads(done[4].stdout)["reason"] == "zu heiß"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_nothing_that_is_opened_takes_the_place_of_a_stream_that_the_shell_closed(tmp_path: Path, closed: str):
    code = "import os, sys; from fakehw import output; output.prepare('fakehw'); fd = os.open('/', 0); open(sys.argv[1], 'w').write(str(fd))"
    line = f"{sys.executable} -c {shlex.quote(code)} {tmp_path}/fd {closed}"
    assert subprocess.run(["bash", "-c", line], check=False).returncode == 0
    assert int((tmp_path / "fd").read_text()) > 2
