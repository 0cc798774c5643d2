"""What is put around the kit and around a plugin: a mount of their own, another boot id."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fakekubelet.conformance import endings, private_mount, reboot


class Process:
    """The kit that is run again: what it was started with, what it was sent, and how it ends."""

    def __init__(self, ends):
        self.ends, self.sent, self.started = iter(ends), [], []

    def __call__(self, command, env):
        self.started.append((command, env))
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.left = True

    def wait(self):
        end = next(self.ends)
        if isinstance(end, BaseException):
            raise end
        return end

    def send_signal(self, number):
        self.sent.append(number)


def run_inside(monkeypatch, *ends, uid=0, unshare="/bin/unshare"):
    process = Process(ends)
    monkeypatch.setattr(private_mount, "subprocess", SimpleNamespace(Popen=process))
    monkeypatch.setattr(
        private_mount, "shutil", SimpleNamespace(which=lambda name: unshare if name == "unshare" else None)
    )
    monkeypatch.setattr(private_mount, "os", SimpleNamespace(geteuid=lambda: uid, environ={"A": "b"}))
    return private_mount.run_inside(["--brief", "--", "plugin"]), process


@pytest.mark.parametrize(
    ("uid", "namespaces"),
    [
        (0, ["--mount", "--propagation", "private"]),
        (1000, ["--mount", "--propagation", "private", "--user", "--map-root-user"]),
    ],
)
def test_the_kit_is_run_again_as_root_of_a_namespace(monkeypatch, uid, namespaces):
    code, process = run_inside(monkeypatch, 0, uid=uid)

    ((command, environ),) = process.started
    script = command[len(namespaces) + 3]
    assert command == [
        "/bin/unshare", *namespaces, "/bin/sh", "-c", script, "sh",
        sys.executable, "-m", "fakekubelet.conformance", "--brief", "--", "plugin",
    ]  # fmt: skip  # what is around it, and what is run
    assert environ == {"A": "b", "FAKEHW_CONFORMANCE_INSIDE": "1"}
    assert (code, process.sent, process.left) == (0, [], True)
    assert [line.strip() for line in script.splitlines() if "mount -t" in line or "mkdir" in line] == [
        "mount -t tmpfs tmpfs /var/lib       # nothing may be made there outside, so it is covered whole",
        "mkdir /var/lib/kubelet",
        "mount -t tmpfs tmpfs /var/lib/kubelet",
        "mkdir -m 750 /var/lib/kubelet/device-plugins",
    ]


@pytest.mark.parametrize(("status", "code"), [(0, 0), (1, 1), (2, 2), (143, 143), (-9, 137), (-15, 143)])
def test_its_exit_code_is_that_of_the_kit_inside(monkeypatch, status, code):
    assert run_inside(monkeypatch, status)[0] == code


def test_a_signal_is_handed_on_and_the_kit_inside_ends_in_order(monkeypatch):
    code, process = run_inside(monkeypatch, endings.EndedError(2), endings.EndedError(15), 143)

    assert (code, process.sent) == (143, [2, 15])


def test_without_the_command_that_makes_namespaces_there_is_none(monkeypatch):
    with pytest.raises(private_mount.MountError, match=r"^--private-mount needs the command unshare \(util-linux\)$"):
        run_inside(monkeypatch, 0, unshare=None)


@pytest.mark.parametrize(("value", "inside"), [("1", True), ("0", False), ("", False), (None, False)])
def test_the_kit_inside_knows_where_it_is(monkeypatch, value, inside):
    monkeypatch.setattr(private_mount.os, "environ", {} if value is None else {"FAKEHW_CONFORMANCE_INSIDE": value})

    assert private_mount.is_inside() is inside


@pytest.mark.parametrize(("is_there", "covered"), [(True, "/var/lib/kubelet"), (False, "/var/lib")])
def test_what_is_covered_is_the_kubelets_directory_or_the_one_above(monkeypatch, is_there, covered):
    path = SimpleNamespace(isdir=lambda name: is_there if name == "/var/lib/kubelet" else None, dirname=os.path.dirname)
    monkeypatch.setattr(private_mount, "os", SimpleNamespace(path=path))

    assert private_mount.covered() == covered


class Tried:
    """What `unshare` would do here."""

    TimeoutExpired = subprocess.TimeoutExpired

    def __init__(self, place: Path, *, works: bool = True, error: Exception | None = None) -> None:
        self.place, self.works, self.error = place, works, error
        self.calls: list[tuple[list[str], dict[str, object]]] = []

    def run(self, command, **named):
        self.calls.append((command, named))
        if self.error is not None:
            raise self.error
        return SimpleNamespace(stdout=(self.place / "boot_id").read_bytes() if self.works else b"the kernel's")


def with_new_boot_id(monkeypatch, tried, *, uid=0, unshare="/bin/unshare"):
    monkeypatch.setattr(reboot, "subprocess", tried)
    monkeypatch.setattr(reboot, "shutil", SimpleNamespace(which=lambda name: unshare if name == "unshare" else None))
    monkeypatch.setattr(reboot, "os", SimpleNamespace(geteuid=lambda: uid))
    return reboot.with_new_boot_id(["driver", "--flag"], tried.place)


def test_a_machine_that_seems_rebooted_has_another_boot_id_each_time(monkeypatch, tmp_path):
    tried = Tried(tmp_path)

    command = with_new_boot_id(monkeypatch, tried)
    first = (tmp_path / "boot_id").read_text()
    with_new_boot_id(monkeypatch, tried)

    boot_id = "/proc/sys/kernel/random/boot_id"
    around = (
        "/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
        f'mount --bind "$1" {boot_id} && shift && exec "$@"', "sh", f"{tmp_path}/boot_id",
    )  # fmt: skip  # one command
    assert command == (*around, "driver", "--flag")
    assert tried.calls[0] == ([*around, "cat", boot_id], {"capture_output": True, "timeout": 10.0, "check": False})
    assert len(first) == 37
    assert first.endswith("\n")
    assert (tmp_path / "boot_id").read_text() != first


@pytest.mark.parametrize(
    "tried",
    [{"works": False}, {"error": OSError("no")}, {"error": subprocess.TimeoutExpired("unshare", 10)}],
)
def test_where_mounts_are_not_allowed_no_boot_id_is_to_be_had(monkeypatch, tmp_path, tried):
    assert with_new_boot_id(monkeypatch, Tried(tmp_path, **tried)) is None


def test_nothing_is_tried_without_root_or_without_the_command(monkeypatch, tmp_path):
    tried = Tried(tmp_path)

    assert with_new_boot_id(monkeypatch, tried, uid=1) is None
    assert with_new_boot_id(monkeypatch, tried, unshare=None) is None
    assert tried.calls == []
