"""Trees that somebody tampered with."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.faults.catalogue import FAULTS, Fault, fault
from tests.faults.scene import R1, R3, REPOSITORY, Scene, playing, scene

HEALTH, DEVICE = "In place of a health file", "In place of a device"
UNHEALTHY = "That device Unhealthy with the reason; healthy again when mended"
SKIPPED = "Passed over, with one log line; the other devices as before"


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def loop_of_links(path: Path) -> None:
    path.symlink_to(".loop")
    (path.parent / ".loop").unlink(missing_ok=True)
    (path.parent / ".loop").symlink_to(path.name)


def node(mode: int, major: int, minor: int) -> Callable[[Path], None]:
    return lambda path: os.mknod(path, mode | 0o666, os.makedev(major, minor))


MAKERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a FIFO": (os.mkfifo, "a FIFO"),
    "a socket": (bind_socket, "a socket"),
    "a character device": (node(0o20000, 1, 5), "a character device"),
    "a block device": (node(0o60000, 7, 250), "a block device"),
    "a directory": (lambda path: path.mkdir(), "a directory"),
    "a relative link to a healthy one": (lambda path: path.symlink_to("../1/health"), "a symbolic link"),
    "an absolute link": (lambda path: path.symlink_to("/etc/hostname"), "a symbolic link"),
    "a loop of links": (loop_of_links, "a symbolic link"),
    "a link to /": (lambda path: path.symlink_to("/"), "a symbolic link"),
    "1 GB": (sparse, "longer than 4096 bytes"),
    "binary": (lambda path: path.write_bytes(os.urandom(64) + b"\xff"), "not UTF-8"),
    "not UTF-8": (lambda path: path.write_bytes("gesund ü".encode("latin-1")), "not UTF-8"),
    "an unknown word": (lambda path: path.write_text("maybe\n"), "says 'maybe'"),
    "nothing at all": (lambda path: path.touch(), "health file is empty"),
}


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


async def tamper_with_health(one: Scene, make: Callable[[Path], object], reason: str) -> None:
    health, since = one.path("node2/dev3/2/health"), len(one.plugin.log)
    remove(health)
    make(health)
    await one.until(lambda: one.kubelet.devices(R3).get("node2-dev3-2") == "Unhealthy")
    entry = await one.plugin.logged("device_changed", since=since)
    await one.serves_others()
    while reason not in entry["reason"]:  # "is missing" may have come first, when the file was slow to appear
        since = one.plugin.log.index(entry, since) + 1
        entry = await one.plugin.logged("device_changed", since=since)
    remove(health)
    health.write_text("healthy\n")
    await one.until(lambda: one.kubelet.devices(R3).get("node2-dev3-2") == "Healthy")


async def put_in_place_of_a_device(one: Scene, make: Callable[[Path], object]) -> None:
    path = one.path("node2/dev3/4")
    make(path)
    await one.serves_others()
    await one.converged()
    assert "node2-dev3-4" not in one.kubelet.devices(R3)
    remove(path)
    path.mkdir()
    (path / "health").write_text("healthy\n")
    await one.until(lambda: "node2-dev3-4" in one.kubelet.devices(R3))
    await one.shell("rm -r tree/node2/dev3/4")
    await one.until(lambda: "node2-dev3-4" not in one.kubelet.devices(R3))


for what, (make, reason) in MAKERS.items():
    needs_root = what.endswith("device")
    FAULTS.append(
        Fault(
            HEALTH, what, UNHEALTHY,
            functools.partial(tamper_with_health, make=make, reason=reason), needs_root=needs_root,
        )
    )  # fmt: skip  # one row a kind
for what in ("a FIFO", "a socket", "a character device", "an absolute link", "a relative link to a healthy one",
             "a loop of links", "a link to /", "1 GB"):  # fmt: skip
    FAULTS.append(
        Fault(
            DEVICE, what.replace("a healthy one", "another device"), SKIPPED,
            functools.partial(
                put_in_place_of_a_device,
                make=MAKERS[what][0] if "healthy" not in what else lambda path: path.symlink_to("1"),
            ),
            needs_root=what.endswith("device"),
        )
    )  # fmt: skip  # one row a kind

TREE = "Hostile names, sizes and moves"
NAMES = ("4\n", " 5", "..6", "...", "07", "x" * 255, "８", "²", "-1", "4\udcff", "1e3", "\u202e9", "node\\x2d", "%s")  # noqa: RUF001  # digits of other scripts, on purpose


@fault(TREE, "names with newline, spaces, dots, 255 characters, bytes, digits of other scripts", SKIPPED)
async def names(one: Scene) -> None:
    for level in ("", "node2", "node2/dev3"):
        for name in NAMES:
            os.mkdir(os.fsencode(one.path(level) / name))  # noqa: PTH102  # a name of bytes
    await one.serves_others()
    for level in ("", "node2", "node2/dev3"):
        for name in NAMES:
            os.rmdir(os.fsencode(one.path(level) / name))  # noqa: PTH106
    await one.converged()
    # Valid names of nodes are among them; what came of those is in no list, as they have no class.
    assert set(one.told()) == {f"myplugin.io/mydevice-{number}" for number in (1, 2, 3)}


@fault(TREE, "an ID of more than 63 characters", SKIPPED)
async def long_id(one: Scene) -> None:
    name = "n" * 59
    await one.shell(f"mkdir -p tree/{name}/dev1/1; echo healthy > tree/{name}/dev1/1/health")
    await one.serves_others()
    await one.converged()
    await one.shell(f"rm -r tree/{name}")


@fault(TREE, "a device swapped for a link to / and back, between two Allocate calls", "Refused while it is a link")
async def swapped(one: Scene) -> None:
    await one.shell("mv tree/node2/dev3/2 tree/.aside; ln -s / tree/node2/dev3/2")
    await one.until(lambda: "node2-dev3-2" not in one.kubelet.devices(R3))
    await one.serves_others()
    await one.shell("rm tree/node2/dev3/2; mv tree/.aside tree/node2/dev3/2")
    await one.converged()


@fault(TREE, "a class swapped for a link", "Its devices go; back when the class is")
async def class_swapped(one: Scene) -> None:
    await one.shell("mv tree/node2/dev2 tree/.aside; ln -s ../.aside tree/node2/dev2")
    await one.until(lambda: "myplugin.io/mydevice-2" not in one.told())
    await one.serves_others()
    await one.shell("rm tree/node2/dev2; mv tree/.aside tree/node2/dev2")
    await one.converged()


@fault(
    TREE, "a device removed and made again at once, 50 times", "Still followed (its inode number may be the old one)"
)
async def made_again(one: Scene) -> None:
    for _ in range(50):
        await one.shell("rm -r tree/node2/dev3/3; mkdir tree/node2/dev3/3; echo healthy > tree/node2/dev3/3/health")
    await one.converged()
    await one.serves_others("node2/dev3/3")


@fault(TREE, "a class removed and made again at once", "One registration after the other, never two", tries=10)
async def class_again(one: Scene) -> None:
    await one.shell("cp -r tree/node2/dev2 tree/.new; rm -r tree/node2/dev2; mv tree/.new tree/node2/dev2")
    await one.converged()
    assert one.kubelet.live_streams("myplugin.io/mydevice-2") == 1


@fault(TREE, "the root replaced by a rename", "Read from its new place, and followed there")
async def root_replaced(one: Scene) -> None:
    await one.shell("cp -r tree new; rm -r new/node2/dev3/3; mv tree old; mv new tree")
    await one.until(lambda: "node2-dev3-3" not in one.kubelet.devices(R3))
    await one.serves_others()
    await one.shell("mv tree new; mv old tree; rm -r new")
    await one.converged()


@fault(
    TREE, "two trees take the root's place from each other, 200 times, while they are read",
    "The last one is served, and followed",
)  # fmt: skip
async def roots_in_turn(one: Scene) -> None:
    await one.shell("cp -r tree other")

    def swap() -> None:
        for _ in range(200):
            (one.root.parent / "tree").rename(one.root.parent / "meanwhile")
            (one.root.parent / "other").rename(one.root.parent / "tree")
            (one.root.parent / "meanwhile").rename(one.root.parent / "other")

    await asyncio.to_thread(swap)
    await one.shell("mkdir -p tree/node2/dev8/1; echo healthy > tree/node2/dev8/1/health")
    await one.until(lambda: "node2-dev8-1" in one.kubelet.devices("myplugin.io/mydevice-8"))
    await one.serves_others()
    await one.shell("rm -r other tree/node2/dev8")
    await one.converged()


@fault(TREE, "the root removed and made again", "No devices meanwhile; all back, and followed")
async def root_removed(one: Scene) -> None:
    await one.shell("cp -r tree new; rm -r tree")
    await one.until(lambda: not one.kubelet.devices(R3))
    await one.shell("mv new tree")
    await one.converged()
    await one.serves_others()


@fault(TREE, "a file in place of the root", "No devices meanwhile; all back, and followed")
async def root_is_a_file(one: Scene) -> None:
    await one.shell("mv tree old; echo nothing > tree")
    await one.until(lambda: not one.kubelet.devices(R3))
    await one.shell("rm tree; mv old tree")
    await one.converged()
    await one.serves_others()


@fault(
    TREE, "a file system mounted over the root, and taken off", "Its tree is served, then the old one; both followed",
    set_up=functools.partial(playing, namespaces=True), needs_namespaces=True, tries=10,
)  # fmt: skip
async def mounted_over(one: Scene) -> None:
    await one.shell(
        "mount -t tmpfs none tree; cd tree; mkdir -p node9/dev3/7; echo healthy > node9/dev3/7/health", inside=True
    )
    await one.until(lambda: set(one.kubelet.devices(R3)) == {"node9-dev3-7"})
    inside = Path(f"/proc/{one.plugin.pid}/root{one.root}")
    await one.serves_others("node9/dev3/7", root=inside)
    await one.shell("umount tree", inside=True)
    await one.converged()
    await one.serves_others()


@fault(
    TREE, "a health file is mounted from elsewhere, written there, and taken off", "Followed, once a second",
    set_up=functools.partial(playing, namespaces=True), needs_namespaces=True, tries=3,
)  # fmt: skip
async def mounted_file(one: Scene) -> None:
    await one.shell("echo unhealthy there > elsewhere; mount --bind elsewhere tree/node2/dev3/2/health", inside=True)
    await one.until(lambda: one.kubelet.devices(R3)["node2-dev3-2"] == "Unhealthy")
    await one.shell("echo healthy > elsewhere")
    await one.until(lambda: one.kubelet.devices(R3)["node2-dev3-2"] == "Healthy")
    await one.shell("echo unhealthy again > elsewhere")
    await one.until(lambda: one.kubelet.devices(R3)["node2-dev3-2"] == "Unhealthy")
    await one.shell("umount tree/node2/dev3/2/health", inside=True)
    await one.converged()


@contextlib.asynccontextmanager
async def bind_mounted() -> AsyncIterator[Scene]:
    """The tree as a container has it: mounted from elsewhere."""
    async with scene() as one:
        await one.shell("mv tree host; mkdir tree")
        async with one.running(
            "--http", "127.0.0.1:0", namespaces=True, before=f"mount --bind {one.directory}/host {one.root}"
        ):
            await one.until(lambda: len(one.kubelet.devices(R3)) == 3)
            yield one


@fault(
    TREE, "the directory is deleted on the host and made again, under the container's mount",
    "No devices, not ready, said; the liveness probe fails, so that the container is made anew", tries=1,
    needs_namespaces=True, set_up=bind_mounted,
)  # fmt: skip
async def orphaned(one: Scene) -> None:
    port = (await one.plugin.logged("web_serving"))["port"]
    assert await probe(port, "/healthz") == await probe(port, "/readyz") == 200
    await one.shell("cp -r host new; rm -r host; mv new host")
    await one.plugin.logged("tree_not_ready")
    await one.until(lambda: not any(one.kubelet.capacity.values()))
    assert await probe(port, "/healthz") == await probe(port, "/readyz") == 503


async def probe(port: int, path: str) -> int:
    def ask() -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                status: int = answer.status
                return status
        except urllib.error.HTTPError as error:
            return error.code

    return await asyncio.to_thread(ask)


@fault(
    TREE, "a file system mounted over a class, and taken off", "Its devices are served, then the old ones",
    set_up=functools.partial(playing, namespaces=True), needs_namespaces=True, tries=10,
)  # fmt: skip
async def mounted_over_class(one: Scene) -> None:
    await one.shell(
        "mount -t tmpfs none tree/node2/dev3; cd tree/node2/dev3; mkdir 1 8; for n in 1 8; do echo healthy > $n/health; done",
        inside=True,
    )
    await one.until(lambda: set(one.kubelet.devices(R3)) == {"node2-dev3-1", "node2-dev3-8"})
    await one.serves_others("node2/dev3/8", root=Path(f"/proc/{one.plugin.pid}/root{one.root}"))
    await one.shell("umount tree/node2/dev3", inside=True)
    await one.converged()
    await one.serves_others()


@fault(
    TREE, "a disk that fills up while a tree is built", "fakehw says so and shows nothing half; the plugin serves on",
    set_up=functools.partial(playing, namespaces=True), needs_namespaces=True, tries=5,
)  # fmt: skip
async def disk_full(one: Scene) -> None:
    (one.directory / "big.yaml").write_text("nodes: {node1: {classes: {dev1: {count: 1}, dev3: {count: 20000}}}}\n")
    (one.directory / "small.yaml").write_text("nodes: {node1: {classes: {dev1: {count: 1}, dev3: {count: 2}}}}\n")
    fakehw = f"{sys.executable} -m fakehw build --root {one.root} --spec"
    await one.shell("mount -t tmpfs -o size=4m,nr_inodes=2000 none tree", inside=True)
    await one.shell(f"PYTHONPATH={REPOSITORY} {fakehw} small.yaml >/dev/null", inside=True)
    wanted = {"node1-dev3-1": "Healthy", "node1-dev3-2": "Healthy"}
    await one.until(lambda: one.kubelet.devices(R3) == wanted)
    await one.shell(f"! PYTHONPATH={REPOSITORY} {fakehw} big.yaml >/dev/null 2>err", inside=True)
    assert "No space left" in (one.directory / "err").read_text(), (one.directory / "err").read_text()
    await one.serves_others("node1/dev3/2", root=Path(f"/proc/{one.plugin.pid}/root{one.root}"))
    assert one.kubelet.devices(R3) == wanted
    await one.shell("umount tree", inside=True)
    await one.converged()


@fault(TREE, "100,000 files in a device directory, added while running, then removed", "Nobody notices", tries=1)
async def crowd(one: Scene) -> None:
    one.path("node2/dev3/2/.many").mkdir()
    make = "import os,sys\nfor n in range(100000): os.close(os.open(f'{sys.argv[1]}/x{n}', os.O_CREAT|os.O_WRONLY))"
    await one.shell(f'{sys.executable} -c "{make}" tree/node2/dev3/2')
    await one.serves_others()
    await one.serves_others("node2/dev3/2")
    await one.shell("find tree/node2/dev3/2 -name 'x*' -delete; rmdir tree/node2/dev3/2/.many")
    await one.serves_others("node2/dev3/2")
    await one.converged()


@fault(
    TREE, "a class of 50,000 devices moved in, renamed with its node, removed", "All listed, moved and gone",
    tries=1,
)  # fmt: skip
async def many_devices(one: Scene) -> str:
    script = (
        "import os,sys\nfor n in range(50000):\n os.makedirs(f'{sys.argv[1]}/{n}')\n"
        " f=open(f'{sys.argv[1]}/{n}/health','w'); f.write('healthy'); f.close()"
    )
    (one.directory / "make.py").write_text(script)
    await one.shell(f"{sys.executable} make.py class")
    await one.shell("mkdir tree/node5; mv class tree/node5/dev1")
    await one.until(lambda: len(one.kubelet.devices(R1)) == 50_000, timeout_s=120)
    await one.shell("mv tree/node5 tree/node6")
    await one.until(lambda: "node6-dev1-1" in one.kubelet.devices(R1), timeout_s=120)
    await one.until(
        lambda: len(one.kubelet.devices(R1)) == 50_000 and "node5-dev1-1" not in one.kubelet.devices(R1), timeout_s=120
    )
    await one.shell("rm -r tree/node6")
    await one.until(lambda: not one.kubelet.devices(R1), timeout_s=120)
    await one.converged()
    return f"RSS {(await one.gauge()).rss_mib:.0f} MiB at the end"
