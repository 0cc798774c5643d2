"""What tests lean on does what it says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fakehw import cli
from fakehw_plugin import cli as plugin_cli
from tests import running


def test_every_variable_that_a_command_reads_is_forgotten(capsys):
    helped = [plugin_cli.parser().format_help(), cli.make_parser().format_help()]
    variables = {flag.env for flag in plugin_cli.FLAGS} | {"FAKEHW_ROOT", "FAKEHW_SPEC", "FAKEHW_DOMAIN", "NODE_NAME"}
    environ = dict.fromkeys([*variables, "PATH", "MY_NODE_NAME"], "x")

    running.forget_settings(environ)

    assert "NODE_NAME" in helped[0]
    assert environ == {"PATH": "x", "MY_NODE_NAME": "x"}
    assert not variables & os.environ.keys()


@pytest.mark.skipif(os.geteuid() != 0, reason="others are somebody whom modes concern anyway")
def test_root_can_heed_modes_and_reads_its_own_all_the_same(tmp_path):
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    for path in (theirs, own):
        path.write_text("x")
        path.chmod(0o600)
    os.chown(theirs, 65534, 65534)

    with running.heeding_modes():
        assert own.read_text() == "x"
        with pytest.raises(PermissionError):
            theirs.read_text()
    assert theirs.read_text() == "x"

    done = subprocess.run(
        running.command_heeding_modes("/bin/cat", str(own), str(theirs)), capture_output=True, text=True
    )
    assert done.stdout == "x"
    assert "Permission denied" in done.stderr
    assert Path(theirs).read_text() == "x"
