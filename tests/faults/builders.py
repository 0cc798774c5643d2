"""`fakehw` at work on a tree that refuses it, with the plugin serving what is there."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.faults.catalogue import fault
from tests.faults.scene import R3, REPOSITORY, Scene, playing

BUILDING = "fakehw on a tree that refuses"
FAKEHW = f"PYTHONPATH={REPOSITORY} FAKEHW_ROOT=tree {sys.executable} -m fakehw"
SPEC = "nodes: {node2: {classes: {dev3: {count: %d}}}}"


async def fakehw(one: Scene, arguments: str, *, code: int = 0, before: str = "") -> str:
    """Run it, expect an exit code, and return what it remarked."""
    await one.shell(
        f"code=0; {before} sh -c '{FAKEHW} {arguments}' >out 2>err || code=$?; test $code = {code} || {{ cat err >&2; exit 1; }}"
    )
    return (one.directory / "err").read_text()


def system(*arguments: object, check: bool = True, **more: object) -> subprocess.CompletedProcess[str]:
    """Run a command of the system, which takes milliseconds."""
    return subprocess.run(list(map(str, arguments)), check=check, **more)  # type: ignore[call-overload,no-any-return]


def spec(one: Scene, count: int) -> str:
    (one.directory / "spec.yaml").write_text(SPEC % count)
    return "spec.yaml"


async def lists(one: Scene, *numbers: int) -> None:
    await one.until(lambda: set(one.kubelet.devices(R3)) == {f"node2-dev3-{number}" for number in numbers})


@contextlib.asynccontextmanager
async def on_a_mount(kind: str) -> AsyncIterator[Scene]:
    """The plugin on a root with a file system of this kind mounted over it."""
    async with playing() as one:
        place = one.directory / "layers"
        if kind == "btrfs":
            if not shutil.which("mkfs.btrfs"):
                raise AssertionError("mkfs.btrfs is not here")
            with (one.directory / "image").open("wb") as image:
                image.truncate(120 << 20)
            system("mkfs.btrfs", "--quiet", one.directory / "image", check=True, capture_output=True)
            command: list[object] = ["mount", "-o", "loop", one.directory / "image", one.root]
        else:
            for name in ("lower", "upper", "work"):
                (place / name).mkdir(parents=True)
            built = system(
                sys.executable, "-m", "fakehw", "build", "--spec", "-", "--root", place / "lower",
                input=SPEC % 3, text=True, check=False, capture_output=True, cwd=REPOSITORY,
            )  # fmt: skip
            assert built.returncode == 0, built.stderr
            options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
            command = ["mount", "-t", "overlay", "overlay", "-o", options, one.root]
        system(*command)
        try:
            yield one
        finally:
            system("umount", "--lazy", one.root)


async def day(one: Scene) -> None:
    """Build, break, pull out, plug in, build smaller, start over; nobody complains and all of it is served."""
    remarks = await fakehw(one, f"build --spec {spec(one, 3)}")
    await lists(one, 1, 2, 3)
    await one.serves_others()
    remarks += await fakehw(one, "unplug node2/dev3/2")
    await lists(one, 1, 3)
    remarks += await fakehw(one, "plug node2/dev3/2")
    await lists(one, 1, 2, 3)
    remarks += await fakehw(one, "set-health node2/dev3/3 unhealthy")
    await one.until(lambda: one.kubelet.devices(R3)["node2-dev3-3"] == "Unhealthy")
    remarks += await fakehw(one, f"build --spec {spec(one, 2)}")
    await lists(one, 1, 2)
    remarks += await fakehw(one, f"build --reset --spec {spec(one, 3)}")
    await one.until(lambda: one.kubelet.devices(R3) == {f"node2-dev3-{n}": "Healthy" for n in (1, 2, 3)})
    assert remarks == "", remarks
    await one.converged()


if shutil.which("mkfs.btrfs"):
    fault(BUILDING, "a tree on btrfs (a loop file)", "As anywhere", set_up=lambda: on_a_mount("btrfs"), needs_root=True, tries=5)(day)  # fmt: skip
fault(BUILDING, "a tree in a layer of an image (overlayfs)", "As anywhere", set_up=lambda: on_a_mount("overlay"), needs_root=True, tries=5)(day)  # fmt: skip


@fault(
    BUILDING, "an owner closes his device (mode 000), and a root without capabilities builds",
    "The rest is built and served; his device is named, exit code 3", needs_root=True,
)  # fmt: skip
async def closed(one: Scene) -> None:
    device = one.path("node2/dev3/2")
    os.chown(device, 1000, 1000)
    device.chmod(0)
    remarks = await fakehw(
        one, f"build --spec {spec(one, 4)}", code=3, before="setpriv --inh-caps=-all --bounding-set=-all"
    )
    assert remarks.count("\n") == 1
    assert "/node2/dev3/2: is a directory that cannot be opened" in remarks
    await one.until(lambda: "node2-dev3-4" in one.kubelet.devices(R3))
    await one.serves_others()
    device.chmod(0o755)
    os.chown(device, 0, 0)
    await fakehw(one, f"build --spec {spec(one, 3)}")
    await one.until(lambda: "node2-dev3-4" not in one.kubelet.devices(R3))
    await one.converged()


@fault(BUILDING, "what cannot be cleared away from the stage of a build that was killed", "Named, left, and in nobody's way", needs_root=True)  # fmt: skip
async def leftovers(one: Scene) -> None:
    await fakehw(one, f"build --spec {spec(one, 3)}")
    hostile = one.path(".fakehw/stage.dead/old/1/theirs")
    hostile.mkdir(parents=True)
    (hostile / "file").touch()
    system("mount", "-t", "tmpfs", "none", hostile)
    try:
        remarks = await fakehw(one, "set-health node2/dev3/1 unhealthy")
        assert "cannot be cleared away, and is left" in remarks
        await one.until(lambda: one.kubelet.devices(R3)["node2-dev3-1"] == "Unhealthy")
        await fakehw(one, "set-health node2/dev3/1 healthy")
    finally:
        for line in Path("/proc/self/mounts").read_text().splitlines():
            if line.split()[1].startswith(f"{one.root}/.fakehw/"):
                system("umount", line.split()[1])
    assert await fakehw(one, "set-health node2/dev3/1 healthy") == ""
    assert not list(one.path(".fakehw").glob("stage*"))
    await one.converged()


@fault(
    BUILDING, "somebody holds the lock of the tree for ever", "Waited for, named, and given up; the plugin serves on"
)
async def held(one: Scene) -> None:
    await fakehw(one, f"build --spec {spec(one, 3)}")
    code = "import sys, fakehw; fakehw.FakeTree(sys.argv[1], lock_wait_s=0.2).set_health('node2', 'unhealthy')"
    with one.path(".fakehw/lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(one.root), cwd=REPOSITORY, stderr=asyncio.subprocess.PIPE
        )
        _, stderr = await process.communicate()
        assert process.returncode
        assert f"is held by process {os.getpid()}".encode() in stderr, stderr
        await one.serves_others()
    await one.converged()


@fault(BUILDING, "a device with a file system of somebody's mounted in it is unplugged and built over", "Nothing of it is deleted", needs_root=True)  # fmt: skip
async def mounted(one: Scene) -> None:
    data, place = one.directory / "data", one.path("node2/dev3/2/data")
    data.mkdir(exist_ok=True)
    (data / "precious").write_text("x")
    await fakehw(one, f"build --spec {spec(one, 3)}")
    place.mkdir()
    system("mount", "--bind", data, place)
    try:
        await fakehw(one, "unplug node2/dev3/2")
        await lists(one, 1, 3)
        await fakehw(one, f"build --spec {spec(one, 1)}")
        await fakehw(one, f"build --reset --spec {spec(one, 3)}")
    finally:
        for line in Path("/proc/self/mounts").read_text().splitlines():
            if line.split()[1].startswith(f"{one.root}/"):
                system("umount", line.split()[1])
    assert (data / "precious").read_text() == "x"
    await fakehw(one, f"build --reset --spec {spec(one, 3)}")
    await lists(one, 1, 2, 3)
    await one.converged()


@fault(BUILDING, "a wrong --root, given in haste", "Refused by every command that writes; nothing in it is touched")
async def haste(one: Scene) -> None:
    photos = one.directory / "photos/holidays/1"
    photos.mkdir(parents=True, exist_ok=True)
    (photos / "beach.jpg").write_text("x")
    for command in ("unplug photos", "set-health photos unhealthy", "plug photos/dev1/1 --create", f"build --spec {spec(one, 1)}", f"build --reset --spec {spec(one, 1)}"):  # fmt: skip
        assert "is not a fake tree" in await fakehw(one, f"{command} --root .", code=2)
    assert (photos / "beach.jpg").read_text() == "x"
    shutil.rmtree(one.directory / "photos")
    await one.serves_others()
