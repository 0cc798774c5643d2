"""Flags and their twins, and one line for whatever is wrong."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin import cli, config, errors


def read(*arguments: str, **environ: str) -> config.Config:
    return cli.configure(cli.read(arguments, environ))


def test_the_defaults_are_those_of_a_node() -> None:
    defaults = read()

    assert defaults.root == defaults.host_root == Path("/fakehw")
    assert defaults.plugin_dir == Path("/var/lib/kubelet/device-plugins")
    assert defaults.pod_resources == Path("/var/lib/kubelet/pod-resources/kubelet.sock")
    assert (defaults.host, defaults.http) == ("", None)


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
