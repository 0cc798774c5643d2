"""Flags and their twins, and one line for whatever is wrong."""

from __future__ import annotations

import io
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin import cli, config, errors, process
from fakehw_plugin.offer import Api


def read(*arguments: str, **environ: str) -> config.Config:
    return cli.configure(cli.read(arguments, environ))


def test_the_defaults_are_those_of_a_node() -> None:
    defaults = read()

    assert defaults.root == defaults.host_root == Path("/fakehw")
    assert defaults.plugin_dir == Path("/var/lib/kubelet/device-plugins")
    assert defaults.pod_resources == Path("/var/lib/kubelet/pod-resources/kubelet.sock")
    assert (defaults.host, defaults.http) == ("", None)


def test_the_whole_of_the_defaults() -> None:
    assert read() == config.Config(
        root=Path("/fakehw"),
        host_root=Path("/fakehw"),
        host="",
        plugin_dir=Path("/var/lib/kubelet/device-plugins"),
        pod_resources=Path("/var/lib/kubelet/pod-resources/kubelet.sock"),
        domain="myplugin.io",
        http=None,
        reconcile_s=60.0,
        quiet_s=0.005,
        vanished_grace_s=30.0,
        pre_start_check=False,
        rpc_faults=False,
        api=Api.DEVICE_PLUGIN,
        kubeconfig="",
        registry_dir=Path("/var/lib/kubelet/plugins_registry"),
        state_dir=Path("/var/lib/kubelet/plugins/fakehw"),
        cdi_dir=Path("/var/run/cdi"),
        device_metrics=False,
    )
    assert cli.read([], {})["log_level"] == "info"
    assert cli.read([], {})["log_format"] == "auto"


GIVEN = {
    "--root": ("/a", "root", Path("/a")),
    "--host-root": ("/b", "host_root", Path("/b")),
    "--host": ("a-node", "host", "a-node"),
    "--plugin-dir": ("/c", "plugin_dir", Path("/c")),
    "--pod-resources": ("/d", "pod_resources", Path("/d")),
    "--domain": ("d.io", "domain", "d.io"),
    "--api": ("dra", "api", Api.DRA),
    "--kubeconfig": ("e", "kubeconfig", "e"),
    "--registry-dir": ("/f", "registry_dir", Path("/f")),
    "--state-dir": ("/g", "state_dir", Path("/g")),
    "--cdi-dir": ("/h", "cdi_dir", Path("/h")),
    "--http": (":1", "http", ("", 1)),
    "--reconcile": ("2m", "reconcile_s", 120.0),
    "--quiet": ("1ms", "quiet_s", 0.001),
    "--vanished-grace": ("1", "vanished_grace_s", 1.0),
    "--pre-start-check": ("yes", "pre_start_check", True),
    "--rpc-faults": ("ON", "rpc_faults", True),
    "--device-metrics": ("1", "device_metrics", True),
}


@pytest.mark.parametrize("flag", GIVEN)
def test_every_flag_and_its_twin_set_what_they_are_called_after(flag: str) -> None:
    text, setting, value = GIVEN[flag]
    (env,) = [one.env for one in cli.FLAGS if one.name == flag]

    for found in (read(flag, text), read(**{env: text})):
        assert getattr(found, setting) == value
        changed = {name for name, was in read()._asdict().items() if getattr(found, name) != was}
        assert changed == ({setting} if flag != "--root" else {"root", "host_root"})


def test_what_may_be_empty_is_empty_and_what_may_not_is_refused() -> None:
    assert (read("--host", "").host, read("--kubeconfig", "").kubeconfig, read("--http", "").http) == ("", "", None)
    assert read("--host-root", "", "--root", "/x").host_root == Path("/x")
    for flag in ("--root", "--plugin-dir", "--domain", "--reconcile", "--state-dir"):
        with pytest.raises(errors.ConfigError):
            read(flag, "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0), ("5", 5.0), (".5", 0.5), ("1.5", 1.5), ("500ms", 0.5), ("3s", 3.0), ("1m30s", 90.0), ("1.5m", 90.0),
        ("24h", 86_400.0), ("1d", 86_400.0), ("86400", 86_400.0), ("250us", 0.00025), ("250µs", 0.00025), ("7ns", 7e-9),
        (".5s", 0.5), ("1.s", 1.0),
    ],
)  # fmt: skip  # one value after the other
def test_durations_are_read_as_go_writes_them_or_as_seconds(text: str, seconds: float) -> None:
    assert config.duration(text, flag="--x") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1x", "s", "1m 30s", "-1s", "86401", "24h1ns", "1e3", "inf", "1,5", "1.", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(errors.ConfigError, match=r"at most 24h \(--x\)$"):
        config.duration(text, flag="--x")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True), ("true", True), ("YES", True), ("On", True), ("", False), ("0", False), ("False", False),
        ("no", False), ("OFF", False),
    ],
)  # fmt: skip  # one value after the other
def test_truth_is_read_in_any_of_its_words(text: str, value: bool) -> None:
    assert config.boolean(text, flag="--x") is value


@pytest.mark.parametrize("text", ["a", "a.b", "a-b", "0", "a" * 253])
def test_a_node_may_be_called_so(text: str) -> None:
    assert config.node_name(text, flag="--x") == text


@pytest.mark.parametrize("text", ["A", "a.", ".a", "a-", "a_b", "a" * 254, "a\n"])
def test_a_node_may_not_be_called_so(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="must be the name of a node"):
        config.node_name(text, flag="--x")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must be a path"),
        ("a\0", "must be a path"),
        ("a\nb", "must be a path"),
        ("a\udcff", "must be UTF-8: the kubelet takes paths as text"),
        ("a\udfffb", "must be UTF-8: the kubelet takes paths as text"),
    ],
)
def test_a_path_is_one_line_of_text(text: str, rule: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        config.absolute_path(text, flag="--x")
    assert str(caught.value) == f"{text!r}: {rule} (--x)"


def test_a_path_is_absolute_and_characters_beside_the_surrogates_are_text() -> None:
    assert config.absolute_path("a", flag="--x") == Path.cwd() / "a"
    assert config.absolute_path("/\ud7ff\ue000", flag="--x") == Path("/\ud7ff\ue000")


def test_a_directory_for_sockets_has_room_for_the_shortest_name(tmp_path: Path) -> None:
    longest = "/" + "d" * (107 - 1 - len("fakehw-01234567.sock") - 1)
    assert config.directory_for_sockets(longest, flag="--x") == Path(longest)
    with pytest.raises(errors.ConfigError, match="too long: the path of a Unix socket has at most 107 bytes"):
        config.directory_for_sockets(longest + "d", flag="--x")


@pytest.mark.parametrize(
    ("text", "address"), [("1.2.3.4:65535", ("1.2.3.4", 65535)), ("[::]:0", ("::", 0)), ("::1:80", ("::1", 80))]
)
def test_an_address_has_a_port_of_16_bits(text: str, address: tuple[str, int]) -> None:
    assert config.address(text, flag="--x") == address


@pytest.mark.parametrize("text", [":65536", ":", ":-1", ":٣", "1.2.3:80", "[::1:80", "1.2.3.4", ":80x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="must be IP:PORT"):
        config.address(text, flag="--x")


def test_an_api_is_one_of_two() -> None:
    with pytest.raises(errors.ConfigError) as caught:
        config.api("DRA", flag="--api")
    assert str(caught.value) == "'DRA': must be device-plugin or dra (--api)"


@pytest.mark.parametrize(
    ("argument", "end"),
    [
        ("--hots", ": did you mean --host?"),
        ("--hots=x", ": did you mean --host?"),
        ("--plugindir", ": did you mean --plugin-dir?"),
        ("x", ": see fakehw-plugin --help"),
    ],
)
def test_what_may_have_been_meant_is_said(argument: str, end: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        read(argument)
    assert str(caught.value) == f"{argument!r}: is not an argument of fakehw-plugin{end}"


def test_a_flag_is_not_shortened() -> None:
    with pytest.raises(errors.UsageError):
        read("--plugin", "/x")


def test_the_help_names_every_flag_with_its_twin_and_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as stop:
        read("--help")
    out = capsys.readouterr().out

    assert stop.value.code == 0
    assert out.startswith("usage: fakehw-plugin [-h] ")
    assert "\n\nA Kubernetes device plugin for a tree of fake devices.\n\n" in out
    assert out.endswith(cli.EPILOG)
    folded = " ".join(out.split())
    for flag in cli.FLAGS:
        shown = f", default {flag.default}" if flag.default else ""
        assert f" {flag.name} {flag.metavar} {flag.help} [{flag.env}{shown}]" in folded


@pytest.mark.parametrize(("columns", "width"), [("100", 98), ("0", 78), ("", 78), ("wide", 78)])
def test_the_help_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    def no_terminal(fd: int) -> Any:
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(cli.os, "get_terminal_size", no_terminal)
    assert cli._formatter("x")._width == width


def test_a_terminal_s_width_counts_where_no_variable_says_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(cli.os, "get_terminal_size", lambda fd: cli.os.terminal_size((fd * 120, 50)))
    assert cli._formatter("x")._width == 118


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh", "fish", "powershell"])
def test_a_shell_is_told_how_to_complete_every_flag(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    with pytest.raises(SystemExit) as stop:
        read("--completion", shell)
    out = capsys.readouterr().out

    assert stop.value.code == 0
    assert [flag.name for flag in cli.FLAGS if flag.name.lstrip("-") not in out] == []
    assert out.endswith("\n")


def test_another_shell_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        read("--completion", "sh")
    assert str(caught.value) == "'sh': must be one of bash, zsh, fish, powershell, tcsh (--completion)"


class Full(io.StringIO):
    """A standard stream that takes nothing."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.parametrize("argument", ["--help", "--version", "--completion=bash"])
def test_an_answer_that_nobody_takes_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, is_closed: bool, argument: str
) -> None:
    stream = None if is_closed else Full()
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit) as stop:
        read(argument)
    assert stop.value.code == 1
    assert stream is None or stream.closed, "else the interpreter would try again at its end"


def test_the_command_runs_with_what_it_was_told_and_answers_0(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(process, "occupy_standard_streams", lambda: done.append("streams"))
    monkeypatch.setattr(process, "run", lambda *values, **more: done.append((values, more)))
    monkeypatch.setenv("FAKEHW_DOMAIN", "d.io")

    assert cli.main(["--root", "/x", "--log-level", "debug", "--log-format", "json"]) == 0

    expected = read("--root", "/x", "--domain", "d.io")
    assert done == ["streams", ((expected,), {"log_level": "debug", "log_format": "json"})]


def test_without_arguments_the_command_takes_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(process, "occupy_standard_streams", lambda: None)
    monkeypatch.setattr(process, "run", lambda found, **_: done.append(found.root))
    monkeypatch.setattr(sys, "argv", ["fakehw-plugin", "--root", "/from/argv"])

    assert cli.main() == 0
    assert done == [Path("/from/argv")]


def test_a_mistake_is_exit_code_2_and_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "occupy_standard_streams", lambda: None)
    monkeypatch.setattr(process, "run", lambda *_, **__: pytest.fail("it ran"))

    assert cli.main(["--root", ""]) == 2
    assert capsys.readouterr() == ("", "fakehw-plugin: '': must be a path (--root)\n")


def test_every_setting_has_a_twin_in_the_environment_and_the_flag_wins() -> None:
    assert read(NODE_NAME="kind-worker").host == "kind-worker"
    assert read("--host", "kind-worker2", NODE_NAME="kind-worker").host == "kind-worker2"


def test_an_empty_socket_turns_questions_off() -> None:
    assert read("--pod-resources", "").pod_resources is None


@pytest.mark.parametrize(
    ("text", "address"),
    [(":9115", ("", 9115)), ("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:80", ("::1", 80)), ("", None)],
)
def test_addresses_are_read(text: str, address: object) -> None:
    assert read("--http", text).http == address


@pytest.mark.parametrize(
    ("arguments", "environ", "line"),
    [
        (["--reconcile", "soon"], {}, "'soon': must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, at most 24h (--reconcile)"),
        (["--quiet", "-1"], {}, "'-1': must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, at most 24h (--quiet)"),
        (["--reconcile", "nan"], {}, "'nan': must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, at most 24h (--reconcile)"),
        (["--http", "localhost:80"], {}, "'localhost:80': must be IP:PORT, [IPv6]:PORT or :PORT, or empty for none (--http)"),
        (["--http", "9115"], {}, "'9115': must be IP:PORT, [IPv6]:PORT or :PORT, or empty for none (--http)"),
        ([], {"FAKEHW_HTTP": ":99999"}, "':99999': must be IP:PORT, [IPv6]:PORT or :PORT, or empty for none (--http, from FAKEHW_HTTP)"),
        (["--domain", "Bad"], {}, "'Bad': the domain must be lower-case letters, digits and '-' in parts joined by '.' (--domain)"),
        (["--domain", "kubernetes.io"], {}, "'kubernetes.io': must not contain kubernetes.io/, which Kubernetes keeps for itself (--domain)"),
        (["--host", "Bad Host"], {}, "'Bad Host': must be the name of a node: lower-case letters, digits and '-' in parts joined by '.', at most 253 (--host)"),
        ([], {"NODE_NAME": "-x"}, "'-x': must be the name of a node: lower-case letters, digits and '-' in parts joined by '.', at most 253 (--host, from NODE_NAME)"),
        (["--plugin-dir", "/" + "d" * 100], {}, "'/" + "d" * 100 + "': too long: the path of a Unix socket has at most 107 bytes (--plugin-dir)"),
        (["--plugin-dir", "/dev/null"], {}, "'/dev/null': must be a directory (--plugin-dir)"),
        (["--root", ""], {}, "'': must be a path (--root)"),
        (["--log-level", "loud"], {}, "'loud': must be one of debug, info, warning, error (--log-level)"),
        (["--pre-start-check", "maybe"], {}, "'maybe': must be true or false (--pre-start-check)"),
        (["--zz"], {}, "'--zz': is not an argument of fakehw-plugin: see fakehw-plugin --help"),
        (["--root"], {}, "expected one argument (--root)"),
    ],
)  # fmt: skip  # one row a mistake
def test_a_mistake_is_one_line_with_value_rule_and_flag(
    arguments: list[str], environ: dict[str, str], line: str
) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        read(*arguments, **environ)

    assert str(caught.value) == line


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        read("--version")

    assert stop.value.code == 0
    assert capsys.readouterr().out == f"fakehw-plugin {metadata.version('fakehw')}\n"


@given(st.lists(st.text(max_size=20), max_size=4))
def test_no_command_line_ends_in_anything_but_a_configuration_or_one_line(arguments: list[str]) -> None:
    try:
        assert isinstance(read(*arguments), config.Config)
    except errors.ConfigError as error:
        assert "\n" not in str(error)
    except SystemExit as stop:  # --help and --version
        assert stop.code == 0
