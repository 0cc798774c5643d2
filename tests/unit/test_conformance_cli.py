"""The command `fakehw-conformance`, without a plugin: what it makes of its options, and what it prints."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import types
from pathlib import Path

import pytest

from fakekubelet.conformance import catalogue, cli, private_mount, procedure, report, subject
from fakekubelet.conformance.catalogue import Finding
from fakekubelet.conformance.command_line import UsageError
from fakekubelet.conformance.dra import catalogue as dra_catalogue
from fakekubelet.conformance.dra import settings as dra_settings
from fakekubelet.conformance.settings import Limits, Settings
from tests.kit_evidence import X, broken, kept, seen, unjudged

CHECK = catalogue.GROUPS["lists"][0]
LIMITS = Limits(start_s=1, options_s=2, list_s=3, reply_s=4, recovery_s=5, stop_s=6, absent_s=7, quiet_s=8)
LIMIT_OPTIONS = [
    "--start-limit", "1", "--options-limit", "2", "--list-limit", "3", "--reply-limit", "4", "--recovery-limit", "5", "--stop-limit", "6", "--absent", "7", "--quiet", "8",
]  # fmt: skip  # flags and values side by side


class Kit:
    """The command, with its procedure taken out: what it was told, and what it is to have found."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.settings: list[Settings | dra_settings.Settings] = []
        self.judged: list[object] = []
        self.findings = [Finding("lists", CHECK, kept("it is so"))]
        self.says: list[str] = []
        self.raises: BaseException | None = None
        self._capsys = capsys

    async def run(self, settings, progress):
        self.settings.append(settings)
        self.was_there = (
            settings.plugin_dir.parent.is_dir() if isinstance(settings, Settings) else settings.root.is_dir()
        )
        for what in self.says:
            progress(what)
        if self.raises is not None:
            raise self.raises
        return seen(settings=settings)

    def judge(self, found, groups):
        self.judged.append(groups)
        return self.findings

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error."""
        code = cli.main(list(words))
        return code, *self._capsys.readouterr()


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kit:
    made = Kit(capsys)
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr(procedure, "run", made.run)
    monkeypatch.setattr(cli, "_run_driver", made.run)
    monkeypatch.setattr(cli.catalogue, "judge", made.judge)
    return made


def test_what_is_not_given_has_a_default():
    assert vars(cli.parser().parse_args([])) == {
        "command": [], "api": "device-plugin", "driver": "", "plugin_dir": None, "private_mount": False, "resources": "",
        "break_": None, "mend": None, "unplug": None, "plug": None, "kubelet": "1.36", "brief": False, "json": None, "junit": None,
        "list": False, "explain": None, "no_progress": False, "completion": None,  "version": None,
        **dict.fromkeys([f"limit_{name}" for name in (
            "start", "options", "list", "reply", "recovery", "stop", "absent", "quiet", "info", "publish", "change", "republish",
        )]),
    }  # fmt: skip  # one list


def test_help_says_how_long_everything_may_take():
    found = {action.dest: action.help for action in cli.parser().added if action.dest.startswith("limit_")}

    assert found == {
        "limit_start": "from the process's start to its first registration (default 30s); dra: from the process's start to its registration (default 30s)",
        "limit_options": "for GetDevicePluginOptions (default 2s)",
        "limit_list": "from registration to list, and from a device's change to a list that says so (default 5s)",
        "limit_reply": "for Allocate and GetPreferredAllocation (default 5s); dra: for NodePrepareResources and NodeUnprepareResources (default 45s)",
        "limit_recovery": "until all is registered again after a disturbance (default 10s); dra: until it is registered again after a disturbance (default 15s)",
        "limit_stop": "from SIGTERM to the end (default 10s); dra: from SIGTERM to the end (default 10s)",
        "limit_absent": "how long the kubelet is away (default 3s)",
        "limit_quiet": "how long to look on without doing anything (default 1s); dra: how long to look on without doing anything (default 2s)",
        "limit_info": "dra: for GetInfo (default 1s)",
        "limit_publish": "dra: from the registration to slices (default 10s)",
        "limit_change": "dra: from a device's change to slices and a health message that say so (default 5s)",
        "limit_republish": "dra: until slices that were deleted are there again (default 75s)",
    }  # fmt: skip  # a table
    text = cli.parser().format_help()
    assert "\nexamples:\n  fakehw-conformance -- my-plugin --plugin-dir {plugin_dir}\n" in text, "as it is written"
    assert "which one (default 1.36)" in " ".join(text.split())
    assert not any(action.help is None for action in cli.parser().added)


def test_options_are_not_guessed_from_their_beginnings():
    assert cli.parser().parse_known_args(["--bri"])[1] == ["--bri"]


def test_a_plugins_settings_are_those_that_were_given(kit, tmp_path):
    words = [
        "--plugin-dir", str(tmp_path / "dp"), "--resources", f"{X},,example.com/y,", "--break", "b", "--mend", "m", "--kubelet", "1.34", "--brief", *LIMIT_OPTIONS,
        "--", "plugin", "--its-own", "-x",
    ]  # fmt: skip  # flags and values side by side

    assert kit(*words)[0] == 0
    assert kit.settings == [
        Settings(
            command=("plugin", "--its-own", "-x"), plugin_dir=tmp_path / "dp", resources=(X, "example.com/y"),
            break_command="b", mend_command="m", is_brief=True, mode="1.34", limits=LIMITS,
        )
    ]  # fmt: skip  # as they were given
    assert kit.judged == [catalogue.GROUPS]


def test_a_plugin_that_runs_already_has_no_command_and_limits_have_defaults(kit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert kit("--plugin-dir", "dp")[0] == 0
    assert kit.settings == [Settings(plugin_dir=tmp_path / "dp")]


def test_a_directory_of_its_own_is_made_and_goes_with_the_kit(kit):
    assert kit("--", "plugin")[0] == 0

    (settings,) = kit.settings
    directory = settings.plugin_dir.parent
    assert settings == Settings(command=("plugin",), plugin_dir=directory / "device-plugins")
    assert (directory.parent, directory.name[:4], kit.was_there) == (Path("/tmp"), "fhc-", True)
    assert not directory.exists()


def test_a_directory_that_was_given_stays(kit, tmp_path):
    (tmp_path / "dp").mkdir()
    (tmp_path / "dp" / "file").touch()

    assert kit("--plugin-dir", str(tmp_path / "dp"))[0] == 0
    assert (tmp_path / "dp" / "file").exists()


def test_a_drivers_settings_are_those_that_were_given(kit):
    words = [
        "--api", "dra", "--driver", "gpu.example.com", "--break", "b", "--mend", "m", "--unplug", "u", "--plug", "p", "--kubelet", "1.35", "--brief",
        "--start-limit", "1", "--info-limit", "2", "--publish-limit", "3", "--change-limit", "4", "--reply-limit", "5", "--recovery-limit", "6", "--republish-limit", "7",
        "--stop-limit", "8", "--quiet", "9", "--", "driver",
    ]  # fmt: skip  # flags and values side by side

    assert kit(*words)[0] == 0
    (settings,) = kit.settings
    root = settings.root
    assert settings == dra_settings.Settings(
        command=("driver",), root=root, cdi_dir=root / "cdi", driver="gpu.example.com", break_command="b", mend_command="m",
        unplug_command="u", plug_command="p", is_brief=True, mode="1.35",
        limits=dra_settings.Limits(
            start_s=1, info_s=2, publish_s=3, change_s=4, reply_s=5, recovery_s=6, republish_s=7, stop_s=8, quiet_s=9
        ),
    )  # fmt: skip  # as they were given
    assert (root.parent, kit.was_there, root.exists()) == (Path("/tmp"), True, False)
    assert kit.judged == [dra_catalogue.GROUPS]


def test_a_driver_needs_no_name(kit):
    assert kit("--api", "dra", "--", "driver")[0] == 0
    assert kit.settings[0].driver == ""
    assert kit.settings[0].is_brief is False


RULE = "must be the name of a driver, contract DRA-2 (--driver)"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "give a COMMAND after --, or --plugin-dir for a plugin that runs already"),
        (["--api", "dra"], "give a COMMAND after --, or --plugin-dir for a plugin that runs already"),
        (["--api", "dra", "--plugin-dir", "/tmp/x"], "--plugin-dir is not for --api dra"),
        (["--api", "dra", "--plugin-dir", "/tmp/x", "--", "p"], "--plugin-dir is not for --api dra"),
        (["--api", "dra", "--resources", X, "--", "p"], "--resources is not for --api dra"),
        (["--api", "dra", "--driver", "GPU_", "--", "p"], f"'GPU_': {RULE}"),
        (["--api", "dra", "--absent", "1", "--", "p"], "--absent is not for --api dra"),
        (["--api", "dra", "--list-limit", "1", "--options-limit", "1", "--", "p"], "--list-limit is not for --api dra"),
        (["--republish-limit", "1", "--info-limit", "1", "--", "p"], "--info-limit is not for --api device-plugin"),
        (["--resources", f"{X},y", "--", "p"], "'y': must be an extended resource name, contract REG-10 (--resources)"),
        (["--mend", "m", "--", "p"], "--mend needs --break"),
        (["--api", "dra", "--plug", "m", "--break", "b", "--", "p"], "--plug needs --unplug"),
        (["--unplug", "u", "--plug", "p", "--", "p"], "--unplug is for --api dra"),
        (["--private-mount"], "give a COMMAND after --, or --plugin-dir for a plugin that runs already"),
        (["--private-mount", "--plugin-dir", "/tmp/x"], "--private-mount needs a COMMAND and no --plugin-dir"),
        (["--private-mount", "--plugin-dir", "/tmp/x", "--", "p"], "--private-mount needs a COMMAND and no --plugin-dir"),
        (["--brif=1", "--", "p"], "'--brif=1': is not an option of fakehw-conformance: did you mean --brief?"),
        (["--xyz"], "'--xyz': is not an option of fakehw-conformance"),
        (["p", "--xyz"], "'--xyz': is not an option of fakehw-conformance: is it the plugin's own? Then put -- before its command: -- p ..."),
        (["p", "--brif"], "'--brif': is not an option of fakehw-conformance: did you mean --brief?"),
        (["--api", "drb", "--", "p"], "'drb': must be one of device-plugin, dra (--api)"),
        (["--kubelet", "1.30", "--", "p"], "'1.30': must be one of 1.31, 1.32, 1.33, 1.34, 1.35, 1.36, 1.37: did you mean 1.33? (--kubelet)"),
        (["--explain", "LW-99"], "'LW-99': must be a fact of the contract or a check: did you mean LW-9? (--explain)"),
        (["--explain", "qqqq"], "'qqqq': must be a fact of the contract or a check: see --list (--explain)"),
    ],
)  # fmt: skip  # one row a mistake
def test_a_wrong_use_is_one_line_and_runs_nothing(kit, words, line):
    code, out, err = kit(*words)

    assert (code, out, kit.settings) == (2, "", [])
    if "1.30" in line or "LW-99" in line:  # which one of the near ones is no promise
        line, err = line.partition(": did you mean")[0], err.partition(": did you mean")[0] + "\n"
    assert err == f"fakehw-conformance: {line}\n"


def test_the_directory_of_a_kubelet_is_left_alone(kit, tmp_path, monkeypatch):
    (tmp_path / "kubelet_internal_checkpoint").touch()

    assert kit("--plugin-dir", str(tmp_path)) == (
        2, "", f"fakehw-conformance: {tmp_path}: a kubelet's checkpoint is there; give another directory\n",
    )  # fmt: skip  # one line
    asked = []
    monkeypatch.setattr(cli.registration, "is_listening", lambda path: asked.append(path) or True)
    assert kit("--plugin-dir", str(tmp_path)) == (
        2, "", f"fakehw-conformance: {tmp_path}: a kubelet listens there; give another directory\n",
    )  # fmt: skip  # one line
    assert asked == [tmp_path / "kubelet.sock"]
    assert kit.settings == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(2, "No such file or directory", "plugin"), "'plugin': No such file or directory"),
        (OSError("no room"), "no room"),
        (subject.HookError("'b' ended with status 1: "), "'b' ended with status 1: "),
        (UsageError("in vain"), "in vain"),
    ],
)
def test_what_cannot_be_run_is_a_wrong_use_and_the_directory_goes(kit, error, line):
    kit.raises = error

    assert kit("--", "plugin") == (2, "", f"fakehw-conformance: {line}\n")
    assert not kit.settings[0].plugin_dir.parent.exists()


def test_a_signal_ends_it_with_the_exit_code_of_the_signal(kit, monkeypatch):
    async def ended(settings, progress):
        kit.settings.append(settings)
        os.kill(os.getpid(), signal.SIGTERM)
        await cli.endings.asyncio.Event().wait()

    monkeypatch.setattr(procedure, "run", ended)

    assert kit("--", "plugin") == (143, "", "fakehw-conformance: ended by SIGTERM; nothing was judged\n")
    assert not kit.settings[0].plugin_dir.parent.exists()


def test_a_signal_outside_of_the_procedure_ends_it_likewise(kit, monkeypatch):
    monkeypatch.setattr(cli.report, "table", lambda *_, **__: os.kill(os.getpid(), signal.SIGHUP))

    assert kit("--", "plugin")[::2] == (129, "fakehw-conformance: ended by SIGHUP; nothing was judged\n")


@pytest.mark.parametrize(
    ("findings", "code"),
    [([], 0), ([kept("")], 0), ([kept(""), unjudged("")], 0), ([kept(""), broken("")], 1), ([broken("")] * 2, 1)],
)
def test_the_exit_code_tells_whether_something_is_broken(kit, tmp_path, findings, code):
    kit.findings = [Finding("lists", CHECK, result) for result in findings]

    assert kit("--json", str(tmp_path / "found.json"), "--json", "-", "--", "plugin")[0] == code


def test_progress_goes_to_standard_error_and_the_table_to_standard_output(kit):
    kit.says = ["one", "two"]
    table = report.table(kit.findings, width=70, color=False)

    assert kit("--", "plugin") == (0, f"{table}\n", "fakehw-conformance: one\nfakehw-conformance: two\n")
    assert kit("--no-progress", "--", "plugin") == (0, f"{table}\n", "")


def test_the_table_is_as_wide_as_the_terminal_and_colored_there(kit, monkeypatch):
    calls = []
    monkeypatch.setattr(cli.report, "table", lambda *given, **named: calls.append((given, named)) or "the table")

    assert kit("--", "plugin")[1] == "the table\n"
    monkeypatch.delenv("COLUMNS")
    named = types.SimpleNamespace(get_terminal_size=os.terminal_size, rmtree=shutil.rmtree)
    monkeypatch.setattr(cli, "shutil", named)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    kit("--", "plugin")

    assert calls == [
        ((kit.findings,), {"width": 70, "color": False}),
        ((kit.findings,), {"width": 120, "color": True}),
    ]


def test_reports_are_written_as_files_beside_the_table_or_in_its_place(kit, tmp_path):
    as_json, as_junit = tmp_path / "found.json", tmp_path / "found.xml"

    code, out, _ = kit("--json", str(as_json), "--junit", str(as_junit), "--", "plugin")
    assert (code, out) == (0, report.table(kit.findings, width=70, color=False) + "\n")
    assert as_json.read_text() == report.as_json(kit.findings, seen(settings=kit.settings[0]))
    assert as_junit.read_text() == report.as_junit(kit.findings)

    code, out, _ = kit("--json", "-", "--junit", str(as_junit), "--", "plugin")
    assert json.loads(out)["command"] == ["plugin"]
    code, out, _ = kit("--junit", "-", "--", "plugin")
    assert out == report.table(kit.findings, width=70, color=False) + "\n" + report.as_junit(kit.findings)


def test_a_report_that_cannot_be_written_is_told_before_anything_is_run(kit, tmp_path, monkeypatch):
    same = tmp_path / "x"

    def refused(*words: str) -> str:
        code, out, err = kit(*words, "--", "plugin")
        assert (code, out, kit.settings) == (2, "", [])
        return err.removeprefix("fakehw-conformance: ").removesuffix("\n")

    assert refused("--json", str(tmp_path)) == f"'{tmp_path}': is a directory: must be a file to write (--json)"
    assert refused("--junit", f"{tmp_path}/no/x") == f"'{tmp_path}/no/x': there is no directory {tmp_path}/no (--junit)"
    assert (
        refused("--json", str(same), "--junit", str(same)) == f"'{same}': both would be written there (--json, --junit)"
    )
    asked = []
    monkeypatch.setattr(cli.os, "access", lambda path, how: asked.append((path, how)) or False)
    assert refused("--json", str(same)) == f"'{same}': cannot be written (--json)"
    same.touch()
    assert refused("--junit", str(same)) == f"'{same}': cannot be written (--junit)"
    assert asked == [(tmp_path, os.W_OK), (same, os.W_OK)]


def test_both_reports_may_go_where_nothing_is_kept(kit):
    assert kit("--json", "/dev/null", "--junit", "/dev/null", "--", "plugin")[0] == 0


@pytest.mark.parametrize("option", ["--json", "--junit"])
def test_a_report_below_what_a_private_mount_covers_would_be_lost(kit, tmp_path, monkeypatch, option):
    monkeypatch.setattr(private_mount, "covered", lambda: str(tmp_path))
    monkeypatch.setattr(private_mount, "run_inside", lambda words: pytest.fail("it was run"))
    monkeypatch.chdir(tmp_path)

    line = f"fakehw-conformance: 'x': would be lost: --private-mount covers {tmp_path} ({option})\n"
    assert kit("--private-mount", option, "x", "--", "plugin") == (2, "", line)


def test_a_private_mount_runs_the_kit_again_with_the_same_words(kit, tmp_path, monkeypatch):
    inside = []
    monkeypatch.delenv("FAKEHW_CONFORMANCE_INSIDE", raising=False)
    monkeypatch.setattr(private_mount, "covered", lambda: "/var/lib/kubelet")
    monkeypatch.setattr(private_mount, "run_inside", lambda words: inside.append(words) or 7)

    assert kit("--private-mount", "--json", f"{tmp_path}/x", "--", "plugin", "--flag") == (7, "", "")
    assert inside == [["--private-mount", "--json", f"{tmp_path}/x", "--", "plugin", "--flag"]]
    assert kit.settings == []


def test_no_private_mount_to_be_had_is_a_wrong_use(kit, monkeypatch):
    def none(_: object) -> int:
        raise private_mount.MountError("there is none")

    monkeypatch.setattr(private_mount, "run_inside", none)

    assert kit("--private-mount", "--", "plugin") == (2, "", "fakehw-conformance: there is none\n")


def test_inside_of_a_private_mount_the_kubelet_is_where_every_kubelet_is(kit, monkeypatch):
    monkeypatch.setenv("FAKEHW_CONFORMANCE_INSIDE", "1")
    monkeypatch.setattr(cli, "_check_directory", lambda directory: None)

    assert kit("--private-mount", "--json", "/var/lib/x", "--json", "-", "--", "plugin")[0] == 0
    assert kit.settings == [Settings(command=("plugin",), plugin_dir=Path("/var/lib/kubelet/device-plugins"))]


@pytest.mark.parametrize(
    ("is_there", "private", "inside"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_cdi_specs_are_where_the_runtime_looks_only_in_a_private_mount(
    is_there, private, inside, tmp_path, monkeypatch
):
    runtime = tmp_path / "cdi" if is_there else tmp_path / "none"
    (tmp_path / "cdi").mkdir()
    monkeypatch.setattr(cli.dra_constants, "CDI_DIR", str(runtime))
    given = cli.parser().parse_args(["--api", "dra", *(["--private-mount"] if private else []), "--", "driver"])

    settings = cli._driver_settings(given, tmp_path / "root")

    assert settings.cdi_dir == (runtime if inside else tmp_path / "root" / "cdi")


@pytest.mark.parametrize(
    ("wanted", "starts"),
    [
        ("lw-1", ["LW-1 [R] Called"]),
        ("LW-1", ["LW-1 [R] Called"]),
        ("full-lists", ["full-lists: Keeps listing a device", "LW-2 ", "LW-13 ", "PIT-14 "]),
        ("version", ["version: Registers with version v1beta1", "REG-4 "]),
    ],
)
def test_a_fact_or_a_check_is_explained_with_all_its_facts(kit, wanted, starts):
    code, out, err = kit("--explain", wanted)

    paragraphs = out.removesuffix("\n").split("\n\n")
    assert (code, err, len(paragraphs)) == (0, "", len(starts))
    assert all(text.startswith(start) for text, start in zip(paragraphs, starts, strict=True)), paragraphs


def test_checks_of_both_apis_with_one_name_are_both_explained_and_their_facts_once(kit):
    names = [
        [check.name for kind in groups.values() for check in kind]
        for groups in (catalogue.GROUPS, dra_catalogue.GROUPS)
    ]
    name = sorted({*names[0]} & {*names[1]})[0]

    paragraphs = kit("--explain", name)[1].removesuffix("\n").split("\n\n")

    assert [text.startswith(f"{name}: ") for text in paragraphs[:3]] == [True, True, False]
    assert len(paragraphs) == len(set(paragraphs))


@pytest.mark.parametrize(
    ("api", "groups", "who"), [("device-plugin", catalogue.GROUPS, "plugin"), ("dra", dra_catalogue.GROUPS, "driver")]
)
def test_the_checks_are_listed(kit, api, groups, who):
    assert kit("--api", api, "--list") == (0, catalogue.markdown(groups, who=who) + "\n", "")


def test_nothing_is_run_for_nobody(kit, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)

    assert cli.main(["--", "plugin"]) == 2
    assert kit.settings == []


def test_a_stream_that_a_shell_closed_leads_nowhere(monkeypatch):
    opened = []

    def fstat(number):
        if number != 1:
            raise OSError(9, "Bad file descriptor")

    named = types.SimpleNamespace(fstat=fstat, open=lambda *given: opened.append(given), devnull="/nowhere", O_RDWR=2)
    monkeypatch.setattr(cli, "os", named)

    cli._require_streams()

    assert opened == [("/nowhere", 2)] * 2


def test_a_standard_error_that_takes_nothing_is_given_up(monkeypatch):
    class Full:
        def write(self, _):
            raise OSError(28, "No space left on device")

        def fileno(self):
            return 77

    led = []
    named = types.SimpleNamespace(
        open=lambda *given: led.append(given) or 5,
        dup2=lambda *given: led.append(given),
        devnull="/nowhere",
        O_WRONLY=1,
        O_CLOEXEC=64,
    )
    monkeypatch.setattr(cli, "os", named)
    monkeypatch.setattr(sys, "stderr", Full())
    cli._say_on_stderr("hello")
    monkeypatch.setattr(sys, "stderr", None)
    cli._say_on_stderr("hello")

    assert led == [("/nowhere", 65), (5, 77)]


async def test_without_the_extra_a_driver_cannot_be_judged(monkeypatch):
    from fakekubelet.conformance import dra

    monkeypatch.delattr(dra, "procedure", raising=False)
    monkeypatch.setitem(sys.modules, "fakekubelet.conformance.dra.procedure", None)

    with pytest.raises(
        UsageError, match=r"^--api dra needs the extra apiserver \(pip install 'fakehw\[apiserver\]'\): "
    ):
        await cli._run_driver(dra_settings.Settings(root=Path("/"), cdi_dir=Path("/")), print)


async def test_a_driver_is_judged_by_the_procedure_of_drivers(monkeypatch):
    from fakekubelet.conformance.dra import procedure as dra_procedure

    async def run(*given):
        return given

    monkeypatch.setattr(dra_procedure, "run", run)
    settings = dra_settings.Settings(root=Path("/"), cdi_dir=Path("/"))

    assert await cli._run_driver(settings, print) == (settings, print)


def test_grpc_is_silent_unless_somebody_wants_it_to_speak(kit, monkeypatch):
    for before, after in ((None, "NONE"), ("DEBUG", "DEBUG")):
        monkeypatch.delenv("GRPC_VERBOSITY") if before is None else monkeypatch.setenv("GRPC_VERBOSITY", before)
        kit("--list")
        assert os.environ["GRPC_VERBOSITY"] == after


def test_the_words_are_those_of_the_command_line_where_none_are_given(kit, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fakehw-conformance", "--explain", "LW-1"])

    assert cli.main() == 0
    assert capsys.readouterr().out.startswith("LW-1 ")


def test_parsing_is_that_of_argparse():
    assert isinstance(cli.parser(), argparse.ArgumentParser)
    assert cli.parser().prog == "fakehw-conformance"
