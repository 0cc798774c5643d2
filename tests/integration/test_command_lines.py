"""All commands speak with one voice: what they complete, how they say what is wrong, which durations and files they take."""

from __future__ import annotations

import argparse
import io
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw import cli as fakehw_cli
from fakehw import durations
from fakehw_fleet import cli as fleet_cli
from fakehw_plugin import cli as plugin_cli
from fakehw_plugin import config, errors
from fakekubelet.conformance import cli as conformance_cli
from fakekubelet.conformance import command_line
from kubectl_fakehw import cli as kubectl_cli
from kubectl_fakehw import completing
from tests.running import DEADLINE_S

SEED = Path(__file__).parents[2] / "deploy/base/topology.yaml"
BIN = Path(sys.executable).parent
SHELLS = ("bash", "zsh", "fish", "powershell", "tcsh")
COMMANDS = {
    "fakehw": (fakehw_cli.main, ["completion"]),
    "fakehw-fleet": (fleet_cli.main, ["completion"]),
    "kubectl-fakehw": (kubectl_cli.main, ["completion"]),
    "fakehw-plugin": (plugin_cli.main, ["--completion"]),
    "fakehw-conformance": (conformance_cli.main, ["--completion"]),
}


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    """Call a command's function; what it prints, and the exit code a shell would see."""
    for name in [name for name in os.environ if name.startswith("FAKEHW_") or name in ("NODE_NAME", "KUBECONFIG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FAKEHW_ROOT", str(tmp_path / "tree"))
    monkeypatch.setenv("HOME", str(tmp_path))

    def call(name: str, *words: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            code = COMMANDS[name][0]([str(word) for word in words])
        except SystemExit as end:  # argparse's way
            code = int(end.code or 0)
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    return call


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_completion_script_for_every_shell(call, name: str):
    for shell in SHELLS:
        done = call(name, *COMMANDS[name][1], shell)
        assert (done.returncode, done.stderr) == (0, "")
        assert name in done.stdout
        if shell not in ("powershell", "tcsh") and shutil.which(shell):
            subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, timeout=DEADLINE_S)
    assert (
        call(name, *COMMANDS[name][1], "fisch")
        .stderr.rstrip()
        .startswith(
            f"{name.replace('kubectl-', 'kubectl ')}: 'fisch': must be one of bash, zsh, fish, powershell, tcsh"
        )
    )


COMPLETED = [
    ("fakehw", "set-health node2/dev3/", ["node2/dev3/1", "node2/dev3/2", "node2/dev3/3"]),
    ("fakehw", "set-health node2/dev3/1 unh", ["unhealthy"]),
    ("fakehw", "scenario run s", ["slow-death", "spec.yaml", "storm"]),
    ("fakehw", "build --spec nvid", ["nvidia-a100", "nvidia-h100"]),
    ("fakehw", "topology labels aws", ["aws-trainium"]),
    ("fakehw", "un", ["unplug"]),
    ("fakehw", "unplug node1", ["node1/dev1/1"]),
    ("fakehw-fleet", "up sp", ["spec.yaml"]),
    ("fakehw-fleet", "up gpu", ["gpu-server"]),
    ("fakehw-plugin", "--log-level w", ["warning"]),
    ("fakehw-plugin", "--vanished", ["--vanished-grace"]),
    ("fakehw-conformance", "--kubelet 1.36", ["1.36"]),
    ("fakehw-conformance", "--junit sp", ["spec.yaml"]),
    ("kubectl-fakehw", "break --until no", ["node"]),
]


@pytest.fixture
def place(call, tmp_path: Path) -> dict[str, str]:
    """Make a directory with a spec and a tree in it; return the environment of a shell there."""
    (tmp_path / "spec.yaml").write_text("nodes: {}\n")
    assert call("fakehw", "build", "--spec", SEED).returncode == 0
    return {"PATH": f"{BIN}:{os.environ['PATH']}", "FAKEHW_ROOT": str(tmp_path / "tree"), "HOME": str(tmp_path)}


@pytest.mark.parametrize(("name", "words", "expected"), COMPLETED)
def test_bash_completes_devices_names_words_and_files(
    call, tmp_path: Path, place: dict[str, str], name: str, words: str, expected: list[str]
):
    (tmp_path / ".completion").write_text(call(name, *COMMANDS[name][1], "bash").stdout)
    function = f"_shtab_{re.sub('[^a-z]', '_', name)}"
    lines = f"source ./.completion; COMP_WORDS=({name} {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); {function}"
    done = subprocess.run(
        ["bash", "-c", f'{lines}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
        check=True, capture_output=True, text=True, env=place, cwd=tmp_path, timeout=DEADLINE_S,
    )  # fmt: skip  # the command stays on one line
    assert sorted(done.stdout.split()) == expected


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish")
@pytest.mark.parametrize(("name", "words", "expected"), COMPLETED)
def test_fish_completes_the_same(
    call, tmp_path: Path, place: dict[str, str], name: str, words: str, expected: list[str]
):
    (tmp_path / ".completion").write_text(call(name, *COMMANDS[name][1], "fish").stdout)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source ./.completion; complete -C '{name} {words}'"],
        check=True, capture_output=True, text=True, env=place, cwd=tmp_path, timeout=DEADLINE_S,
    )  # fmt: skip  # the command stays on one line
    found = {line.split("\t")[0] for line in done.stdout.splitlines()}
    assert sorted(word for word in found if word.startswith(words.split()[-1])) == expected


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("fakehw", "set-health node2/dev3/1 unh", "unhealthy"),
        ("fakehw", "build --spec nvidia-h", "nvidia-h100"),
        ("fakehw-plugin", "--log-level w", "warning"),
        ("fakehw-conformance", "--junit sp", "spec.yaml"),
    ],
)
def test_zsh_completes_the_same(call, tmp_path: Path, place: dict[str, str], name: str, words: str, expected: str):
    (tmp_path / f"_{name}").write_text(call(name, *COMMANDS[name][1], "zsh").stdout)
    (tmp_path / ".zshrc").write_text("fpath=($HOME $fpath); autoload -U compinit; compinit -u; PS1='READ''Y '\n")
    pid, fd = pty.fork()
    if not pid:
        os.chdir(tmp_path)
        os.execvpe("zsh", ["zsh", "-i"], {**place, "TERM": "dumb"})
    try:
        _read_until(fd, "READY")
        os.write(fd, f"{name} {words}\t".encode())
        seen = _read_until(fd, expected)
        os.write(fd, b"\x15exit\n")
    finally:
        os.close(fd)
        os.waitpid(pid, 0)
    assert expected in seen


def _read_until(fd: int, text: str) -> str:
    seen, deadline = "", time.monotonic() + DEADLINE_S
    while text not in seen and time.monotonic() < deadline:
        if select.select([fd], [], [], 0.2)[0]:
            try:
                seen += os.read(fd, 4096).decode(errors="replace")
            except OSError:
                break
    return seen


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], ["list", "break", "mend", "set", "plug", "unplug", "events", "scenario", "hands", "completion", ":4"]),
        (["scenario", ""], ["run", ":4"]),
        (["scenario", "run", "--speed", "2", "st"], ["storm", ":0"]),
        (["break", "--until", ""], ["tree", "plugin", "node", "pods", "evicted", ":4"]),
        (["break", "--until=node", "--wait", "--rea"], ["--reason", ":4"]),
        (["list", "--kubeconfig", ""], [":0"]),
        (["completion", "z"], ["zsh", ":4"]),
        (["unplug", "node2/dev3/1", "--no"], ["--node", ":4"]),
    ],
)
def test_kubectl_is_told_what_may_stand_where_tab_was_pressed(
    capfd: pytest.CaptureFixture[str], words: list[str], expected: list[str]
):
    assert completing.main(words) == 0
    out, err = capfd.readouterr()
    assert (out.splitlines(), err) == (expected, "")


def test_tab_is_silent_where_no_cluster_answers(call, capfd: pytest.CaptureFixture[str]):
    assert completing.main(["break", ""]) == 0
    assert capfd.readouterr() == (":4\n", "")


WRONG = [
    ("fakehw-plugin", ["--rot", "x"], "'--rot': is not an argument of fakehw-plugin: did you mean --root?"),
    ("fakehw-plugin", ["x"], "'x': is not an argument of fakehw-plugin: see fakehw-plugin --help"),
    ("fakehw-plugin", ["--root"], "expected one argument (--root)"),
    ("fakehw-plugin", ["--quiet", "1x"], "'1x': must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, at most 24h (--quiet)"),
    ("fakehw-conformance", ["--kubelet", "1.3", "--", "x"], "'1.3': must be one of 1.31, 1.32, 1.33, 1.34, 1.35, 1.36, 1.37: did you mean .*? (--kubelet)"),
    ("fakehw-conformance", ["--explain", "LW-133"], "'LW-133': must be a fact of the contract or a check: did you mean LW-13? (--explain)"),
    ("fakehw-conformance", ["--list-limt", "3", "--", "x"], "'--list-limt': is not an option of fakehw-conformance: did you mean --list-limit?"),
    ("fakehw-conformance", ["my-plugin", "--flag"], "'--flag': is not an option of fakehw-conformance: is it the plugin's own? Then put -- before its command: -- my-plugin ..."),
    ("fakehw-conformance", ["--stop-limit", "0"], "'0': must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, above 0 and less than 24h (--stop-limit)"),
    ("fakehw-fleet", ["up", "gpu-serer"], "'gpu-serer': No such file or directory: must be a file that can be read, or one of .*: did you mean gpu-server? (SPEC)"),
    ("fakehw-fleet", ["up", "seed", "--pods", "nofile", "--for", "1s"], "'nofile': No such file or directory: must be a file of pods (--pods)"),
    ("fakehw-fleet", ["play", "x", "--speed", "fast"], "'fast': must be a number from 0.001 to 1000000 (--speed)"),
    ("fakehw-fleet", ["play", "x", "--speed", "nan"], "'nan': must be a number from 0.001 to 1000000 (--speed)"),
    ("fakehw", ["scenario", "synthesize", "--spec", "seed", "--days", "3", "--seed", "x"], "'x': must be a whole number from 0 to 4294967295 (--seed)"),
    ("fakehw", ["scenario", "synthesize", "--spec", "seed", "--days", "3", "--figures", "delta"], "'delta': No such file or directory: must be a file that can be read, or one of delta-a100, infinitehbd, llama3: did you mean delta-a100? (--figures)"),
    ("fakehw", ["scenario", "synthesize", "--spec", "seed", "--days", "inf"], "'inf': must be a number from 0.001 to 36500 (--days)"),
    ("fakehw", ["scenario", "run", "nofile.csv"], "'nofile.csv': No such file or directory: must be a fault log, a CSV file that can be read (FILE)"),
    ("fakehw", ["scenario", "run", "strom"], "'strom': No such file or directory: must be a scenario file, or a name of `fakehw scenario list`: did you mean storm? (FILE)"),
    ("fakehw", ["topology", "show", "nvdia-a100"], "'nvdia-a100': must be one of .*: did you mean nvidia-a100? (NAME)"),
    ("fakehw", ["topology", "reasons", "nvidia-a100", "7"], "'7': must be one of .* (CODE)"),
    ("fakehw", ["build", "--spec", "sed"], "'sed': No such file or directory: .*: did you mean seed? (--spec)"),
    ("fakehw", ["set-health", "node2/dev3/1", "unhealty"], "'unhealty': healthy or unhealthy must follow the paths: did you mean unhealthy? (HEALTH)"),
    ("fakehw", ["list", "node22"], "'node22': fits nothing in .*: did you mean node2? (PATH)"),
    ("fakehw", ["unplug", "node2/dev33/1"], "/node2/dev33/1: no such device in .*: did you mean node2/dev3/1?"),
    ("kubectl-fakehw", ["list", "--kubeconfig", "/none"], "/none: cannot be read: No such file or directory (--kubeconfig)"),
    ("kubectl-fakehw", ["break", "x", "--until", "nod"], "'nod': must be one of tree, plugin, node, pods, evicted: did you mean node? (--until)"),
]  # fmt: skip  # one row a mistake


@pytest.mark.parametrize(("name", "words", "line"), WRONG)
def test_what_is_wrong_is_one_line_with_value_rule_and_flag(call, name: str, words: list[str], line: str):
    call("fakehw", "build", "--spec", SEED)
    done = call(name, *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    pattern = re.escape(f"{name.replace('kubectl-', 'kubectl ')}: {line}\n").replace(re.escape(".*"), ".*")
    assert re.fullmatch(pattern, done.stderr), done.stderr


TEXTS = st.from_regex(r"([0-9]{1,3}(\.[0-9]{0,2})?(ns|us|µs|ms|s|m|h)){1,3}", fullmatch=True) | st.text(
    "0123456789.smhun-e ", max_size=6
)


@given(TEXTS)
def test_all_commands_take_the_same_durations(text: str):
    def read(how, wrong: type[Exception]) -> float | None:
        try:
            return how(text)
        except wrong:
            return None

    plugin = read(lambda text: config.duration(text, flag="--x"), errors.ConfigError)
    conformance = read(command_line.duration, argparse.ArgumentTypeError)
    everywhere = read(durations.seconds, ValueError)
    if everywhere is None or everywhere <= 86_400:
        assert plugin == everywhere
    if everywhere is None or 0 < everywhere < 86_400:
        assert conformance == everywhere
    elif not everywhere:
        assert conformance is None


LOG = "# a log\nat,node,device,event\n0,node2,dev3/1,break\n"


@pytest.mark.parametrize(
    ("words", "stdin", "expected"),
    [
        ("build --spec - --dry-run", SEED.read_text(), "5 added"),
        ("topology expand -", SEED.read_text(), "node2"),
        ("scenario run - --dry-run", "steps: [{mend: {devices: '*/*/*'}}]", "healthy"),
        ("scenario run - --dry-run", LOG, "unhealthy"),
        ("scenario synthesize --spec - --days 1", SEED.read_text(), "at,node,device,event,reason"),
        ("scenario import infinitehbd - --spec seed", '[{"node_id": "a", "event_time": 1, "event_type": "fault_start", "fault_type": {"Level": "Hardware", "Class": "GPU", "Desc": "x"}}]', "break"),
    ],
)  # fmt: skip  # one row a command
def test_a_dash_is_standard_input_wherever_a_file_is_read(call, words: str, stdin: str, expected: str):
    if "dry-run" in words and "build" not in words:
        call("fakehw", "build", "--spec", SEED)
    done = call("fakehw", *words.split(), stdin=stdin)
    assert (done.returncode, expected in done.stdout) == (0, True), done.stderr


def test_devices_of_a_scenario_may_be_named_as_a_shell_completes_them(call, tmp_path: Path):
    call("fakehw", "build", "--spec", SEED)
    done = call("fakehw", "scenario", "run", "storm", "--dry-run", "--devices", f"{tmp_path}/tree/node1/dev1/1")
    assert done.returncode == 0
    assert "node1/dev1/1" in done.stdout
