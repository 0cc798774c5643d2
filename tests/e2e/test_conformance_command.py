"""`fakehw-conformance` as a person or a CI job calls it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from fakekubelet.conformance import cli

pytestmark = pytest.mark.lengthy

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
FAST = ["--no-progress", "--brief", "--absent", "0.3", "--quiet", "0.3"]


def kit(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(BIN / "fakehw-conformance"), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=timeout, check=False)


def broken_plugin(name: str, state: Path) -> list[str]:
    return ["--", sys.executable, "-m", "tests.broken_plugins", name, str(state)]


def test_a_sound_plugin_ends_in_0_with_a_table(tmp_path: Path) -> None:
    done = kit(*FAST, *broken_plugin("Sound", tmp_path / "state"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "  registers                 kept   1 resource(s): example.com/dongle\n" in done.stdout
    assert ", 0 broken, " in done.stdout.splitlines()[-1]


def test_a_broken_plugin_ends_in_1_and_both_files_name_the_check(tmp_path: Path) -> None:
    as_json, as_junit = tmp_path / "found.json", tmp_path / "found.xml"
    done = kit(
        *FAST, "--json", str(as_json), "--junit", str(as_junit), *broken_plugin("AllocatesNothing", tmp_path / "state")
    )

    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(as_json.read_text())
    assert [one["name"] for one in found["checks"] if one["verdict"] == "broken"] == ["allocate-shape"]
    assert found["counts"]["broken"] == 1
    assert found["resources"] == ["example.com/dongle"]
    suite = ElementTree.parse(as_junit).getroot()
    failures = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert failures == ["allocate-shape"]
    assert suite.get("failures") == "1"
    assert int(suite.get("tests", 0)) == len(found["checks"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "give a COMMAND after --, or --plugin-dir for a plugin that runs already"),
        (["--mend", "true", "--", "true"], "--mend needs --break"),
        (["--resources", "dongle", "--", "true"], "'dongle': must be an extended resource name, contract REG-10 (--resources)"),
        (["--private-mount", "--plugin-dir", "/tmp/x", "--", "true"], "--private-mount needs a COMMAND and no --plugin-dir"),
        (["--brif"], "'--brif': is not an option of fakehw-conformance: did you mean --brief?"),
        (["my-plugin", "--flag", "x"], "'--flag': is not an option of fakehw-conformance: is it the plugin's own? Then put -- before its command: -- my-plugin ..."),
        (
            ["--quiet", "soon"],
            "'soon': must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, above 0 and less than 24h (--quiet)",
        ),
        (["--", "/no/such/plugin"], "'/no/such/plugin': No such file or directory"),
    ],
)  # fmt: skip  # one row a mistake
def test_a_wrong_use_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")

    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == f"fakehw-conformance: {line}\n"


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("{tmp}/no/x.json", "'{tmp}/no/x.json': there is no directory {tmp}/no (--json)"),
        ("{tmp}", "'{tmp}': is a directory: must be a file to write (--json)"),
        ("{tmp}/x.xml", "'{tmp}/x.xml': both would be written there (--json, --junit)"),
    ],
)
def test_a_report_that_cannot_be_written_is_told_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, line: str
) -> None:
    junit, ran = str(tmp_path / "x.xml"), tmp_path / "ran"
    arguments = ["--json", file.format(tmp=tmp_path), "--junit", junit, "--", "touch", str(ran)]

    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == f"fakehw-conformance: {line.format(tmp=tmp_path)}\n"
    assert not ran.exists()


WAYS_IN = {"a new directory": [], "a private mount": ["--private-mount"], "in a hook": ["--break"]}


@pytest.mark.parametrize(
    ("name", "way_in"),
    [("SIGINT", "a new directory"), ("SIGHUP", "a new directory"), *(("SIGTERM", way_in) for way_in in WAYS_IN)],
)
def test_a_signal_ends_the_kit_and_all_that_it_started_in_one_line(tmp_path: Path, name: str, way_in: str) -> None:
    if way_in == "a private mount" and (os.geteuid() != 0 or shutil.which("unshare") is None):
        pytest.skip("mount namespaces are not allowed here")
    started, script = tmp_path / "started", "echo $PLUGIN_DIR > {0}.new; mv {0}.new {0}; exec sleep 605"
    hang = script.format(started)
    arguments = [*FAST, *WAYS_IN[way_in]]
    arguments += [hang, *broken_plugin("Sound", tmp_path / "s")] if way_in == "in a hook" else ["--", "sh", "-c", hang]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "MARK": str(tmp_path)}
    command = [str(BIN / "fakehw-conformance"), *arguments]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True, start_new_session=True) as kit:
        deadline = time.monotonic() + 30
        while not started.exists():
            assert time.monotonic() < deadline, kit.poll()
            time.sleep(0.01)
        kit.send_signal(getattr(signal, name))
        _, said = kit.communicate(timeout=30)

    assert said.splitlines()[0] == f"fakehw-conformance: ended by {name}; nothing was judged"
    assert len(said.splitlines()) == 1
    assert kit.returncode == 128 + getattr(signal, name)
    plugin_dir = Path(started.read_text().strip())
    assert plugin_dir.name == "device-plugins"
    assert way_in == "a private mount" or not plugin_dir.parent.exists()
    assert marked(str(tmp_path)) == []


def marked(mark: str) -> list[str]:
    """Return the processes that have `mark` in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"MARK={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    script = "trap '' HUP; kill -HUP $$; exec \"$@\""
    command = ["sh", "-c", f"{script.replace('exec', '')} & sleep 1.5; kill -HUP $!; wait $!", "sh"]
    kit_command = [str(BIN / "fakehw-conformance"), *FAST, *broken_plugin("Sound", tmp_path / "state")]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [*command, *kit_command], env=environ, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_break_command_that_fails_is_a_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*FAST, "--break", "exit 7", *broken_plugin("Sound", tmp_path / "state")]) == 2

    assert capsys.readouterr().err == "fakehw-conformance: 'exit 7' ended with status 7: \n"


def test_it_never_stands_in_for_a_kubelet_that_listens(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as kubelet:
        kubelet.bind(str(short_dir / "kubelet.sock"))
        kubelet.listen()
        assert cli.main(["--plugin-dir", str(short_dir)]) == 2

    assert capsys.readouterr().err.endswith("a kubelet listens there; give another directory\n")
    assert (short_dir / "kubelet.sock").exists()


def test_a_private_mount_serves_plugins_that_know_one_directory_only(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    if unshare is None or subprocess.run([unshare, "--mount", *user, "true"], check=False).returncode != 0:
        pytest.skip("mount namespaces are not allowed here")
    before = Path("/var/lib/kubelet").exists()
    as_json = tmp_path / "found.json"
    done = kit(*FAST, "--json", str(as_json), "--private-mount", *broken_plugin("Sound", tmp_path / "state"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(as_json.read_text())["counts"]["broken"] == 0
    assert Path("/var/lib/kubelet").exists() == before


def test_the_page_has_the_checks_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "conformance.md").read_text()

    assert cli.main(["--list"]) == 0
    assert capsys.readouterr().out.rstrip() in page


def test_the_page_has_the_checks_of_drivers_too(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "conformance.md").read_text()

    assert cli.main(["--api", "dra", "--list"]) == 0
    assert capsys.readouterr().out.rstrip() in page


def test_the_snippets_for_ci_are_yaml_with_commands_that_there_are() -> None:
    page = (ROOT / "docs" / "conformance.md").read_text()
    snippets = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    lines = [step.get("run", "") for step in snippets[0]["conformance"]["steps"]] + snippets[1]["conformance"]["script"]
    commands = [shlex.split(line) for line in lines if line.startswith("fakehw-conformance")]

    assert len(commands) == 2
    for words in commands:
        assert cli.parser().parse_args(words[1:]).command


@pytest.mark.parametrize(
    ("word", "text"), [("LW-1", "LW-1 [R] Called exactly once"), ("full-lists", "full-lists: Keeps listing a device")]
)
def test_a_fact_or_a_check_is_explained(word: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--explain", word]) == 0
    assert capsys.readouterr().out.startswith(text)


def test_a_driver_is_judged_with_json_on_standard_output_and_progress_beside_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    done = kit(
        "--api", "dra", "--brief", "--quiet", "0.3", "--json", "-", "--driver", "sound.example.com",
        "--", sys.executable, "-m", "tests.broken_drivers", "Sound", str(state),
    )  # fmt: skip  # the command as one types it

    found = json.loads(done.stdout)
    assert found["counts"]["broken"] == 0, done.stdout
    assert found["resources"] == ["sound.example.com"]
    assert "fakehw-conformance: the driver is started\n" in done.stderr
    assert done.returncode == 0


def test_version_is_that_of_the_distribution() -> None:
    assert kit("--version").stdout == f"fakehw-conformance {metadata.version('fakehw')}\n"


def test_pytest_is_not_needed(tmp_path: Path) -> None:
    code = "import sys; sys.modules['pytest'] = None; from fakekubelet.conformance import cli; sys.exit(cli.main(['--list']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_progress_and_errors_that_nobody_takes_change_no_exit_code(unbuffered: str, tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    sound = [str(BIN / "fakehw-conformance"), *FAST[1:], *broken_plugin("Sound", tmp_path)]
    with Path("/dev/full").open("w") as full:
        wrong = subprocess.run([sound[0], "--bogus"], stderr=full, env=environ, timeout=60, check=False)
        judged = subprocess.run(sound, stdout=subprocess.PIPE, stderr=full, env=environ, timeout=60, check=False)

    assert wrong.returncode == 2
    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize("wanted", ["--version", "--list", "--brief -- true"])
def test_a_report_for_nobody_is_refused_before_anything_runs(wanted: str) -> None:
    command = f"{BIN}/fakehw-conformance {wanted} >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "fakehw-conformance: standard output is closed\n")
