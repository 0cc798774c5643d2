"""The kit's reboot: a driver that compares the kernel's boot id sees another one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fakekubelet.conformance import reboot
from fakekubelet.conformance.dra import evidence, recovery_checks
from fakekubelet.conformance.verdict import Verdict

BOOT_ID = Path(reboot.BOOT_ID)


def test_a_process_sees_another_boot_id_and_nobody_else_does(tmp_path):
    before = BOOT_ID.read_text()
    command = reboot.with_new_boot_id(["cat", str(BOOT_ID)], tmp_path)
    if command is None:
        pytest.skip("only root can put one file over another here")

    seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert seen not in ("", before)
    assert BOOT_ID.read_text() == before


def test_who_is_not_root_gets_no_other_boot_id(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert reboot.with_new_boot_id(["true"], tmp_path) is None


@pytest.mark.parametrize(("is_new", "verdict"), [(True, Verdict.BROKEN), (False, Verdict.UNJUDGED)])
def test_a_driver_is_reproached_with_lost_files_only_if_it_could_see_the_reboot(is_new, verdict):
    entry = evidence.Entry("", ())
    exchange = evidence.Exchange("after a reboot", "NodePrepareResources", ("uid",), {"uid": entry})
    seen = evidence.Evidence(
        settings=None, exchanges=[exchange], cdi_unresolvable={"after a reboot": "unresolvable"}, has_new_boot_id=is_new
    )

    assert recovery_checks.cdi_after_reboot(seen).verdict is verdict
