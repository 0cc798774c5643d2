"""Random histories of a tree, its kubelet and its plugin: after the dust has settled the kubelet has what the tree says.

Real inotify, real sockets. The operations run in a thread while the loop turns, so that the plugin is in the middle of
something when the next one comes. What the tree says is read by tests/faults/reading.py, which knows docs/tree.md and
nothing of the plugin. `make soak` runs the same for as long as it is told, from a seed that it prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import fakehw
from fakehw import FakeTree
from fakehw_plugin.daemon import Daemon
from fakehw_plugin.deviceplugin import neighbours
from fakekubelet import FakeKubelet, StubPlugin, stub_plugin
from tests.factories import make_config, make_tree
from tests.faults import reading

HOST = "worker"
DEADLINE_S = 15.0
NODES = st.sampled_from(["node1", "node2", "n-3"])
CLASSES = st.sampled_from(["dev1", "dev3", "gpu"])
NUMBERS = st.sampled_from(["1", "2", "10"])
DEVICES = st.tuples(NODES, CLASSES, NUMBERS).map("/".join)
TEXTS = st.sampled_from(
    ["healthy\n", "unhealthy\n", "Healthy", "unhealthy too hot\n", "", "sick\n", "heal", "\ufeffhealthy\n"]
)
RESOURCES = st.sampled_from(["nvidia.com/gpu", "myplugin.io/mydevice-1", "no resource", ""])
HOSTS = st.sampled_from([HOST, "elsewhere", ""])


def write(path: Path, text: str) -> None:
    path.write_text(text)


def copy(path: Path, text: str) -> None:
    (path.parent / ".new").write_text(text)
    shutil.copyfile(path.parent / ".new", path)


def move(path: Path, text: str) -> None:
    (path.parent / ".new").write_text(text)
    (path.parent / ".new").rename(path)


def truncate_then_append(path: Path, text: str) -> None:
    os.truncate(path, 0)
    with path.open("a") as file:
        file.write(text)


def hold_open(path: Path, text: str) -> None:
    with path.open("w") as file:
        for letter in text:
            file.write(letter)
            file.flush()


def link(path: Path, text: str) -> None:
    path.unlink()
    path.symlink_to("../1/health")


WAYS = st.sampled_from([write, copy, move, truncate_then_append, hold_open, link])


class World:
    """A tree, a kubelet and a plugin in this process, in one loop for all examples."""

    def __init__(self, runner: asyncio.Runner, place: Path | None) -> None:
        self.run = runner.run
        self.directory = Path(tempfile.mkdtemp(prefix="fhw-", dir="/tmp"))
        self.place = Path(tempfile.mkdtemp(prefix="fhw-", dir=place or self.directory))
        self.root, plugin_dir = self.place / "tree", self.directory / "dp"
        make_tree(self.root, "node1/dev1/1", "node2/dev1/", "node2/dev3/1", "node2/dev3/2", hosts={"node2": HOST})
        plugin_dir.mkdir()
        self.config = make_config(self.root, plugin_dir, host=HOST)
        self.kubelet = FakeKubelet(plugin_dir, node_status_period_s=None)
        self.task: asyncio.Task[None] | None = None

    async def start_plugin(self) -> None:
        self.task = asyncio.create_task(Daemon(self.config).run(), name="daemon under test")

    async def stop_plugin(self) -> None:
        assert self.task is not None
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        self.task = None

    def do(self, operation: Callable[[], object]) -> None:
        """Run an operation on the tree while the loop turns; one that is impossible at the moment does nothing."""

        def attempt() -> None:
            with contextlib.suppress(OSError, fakehw.FakehwError):
                operation()

        self.run(asyncio.to_thread(attempt))

    def is_right(self) -> bool:
        wanted = reading.read(self.root, host=HOST)
        for resource in {*wanted, *self.kubelet._history}:
            history, streams = self.kubelet.history(resource), self.kubelet.live_streams(resource)
            if resource in wanted:
                if streams != 1 or not history or dict(history[-1].devices) != wanted[resource]:
                    return False
            elif self.registered_last(resource) != "stub.sock" and (streams or self.kubelet.allocatable.get(resource)):
                return False  # what another plugin leaves in a kubelet that took it for us (REG-13, REG-14), nobody can mend
        return True

    def registered_last(self, resource: str) -> str:
        """Return the endpoint of whoever registered a resource last; empty: nobody has."""
        return next((one.endpoint for one in reversed(self.kubelet.registrations) if one.resource_name == resource), "")

    async def settle(self) -> None:
        try:
            await self.kubelet.wait_for(self.is_right, timeout=DEADLINE_S)
        except TimeoutError as error:
            raise AssertionError(f"{error}\nthe tree says {reading.read(self.root, host=HOST)}") from None
        assert self.task is not None
        assert not self.task.done()

    def end(self) -> None:
        try:
            self.run(self.stop_plugin())
            self.run(self.kubelet.stop())
        finally:
            shutil.rmtree(self.place, ignore_errors=True)
            shutil.rmtree(self.directory, ignore_errors=True)


class Model(RuleBasedStateMachine):
    """What may happen, in any order."""

    runner: asyncio.Runner
    place: Path | None = None
    steps = 0

    @initialize()
    def begin(self) -> None:
        self.world = World(self.runner, self.place)
        self.run: Callable[[Coroutine[Any, Any, Any]], Any] = self.world.run
        self.do, self.root = self.world.do, self.world.root
        self.run(self.world.kubelet.start())
        self.run(self.world.start_plugin())

    # Health

    @rule(device=DEVICES, text=TEXTS, way=WAYS)
    def set_health(self, device: str, text: str, way: Callable[[Path, str], None]) -> None:
        self.do(lambda: way(self.root / device / "health", text))

    @rule(device=DEVICES)
    def remove_health(self, device: str) -> None:
        self.do((self.root / device / "health").unlink)

    @rule(device=DEVICES, mode=st.sampled_from([0o000, 0o644]))
    def change_mode(self, device: str, mode: int) -> None:
        self.do(lambda: (self.root / device / "health").chmod(mode))

    @rule(device=DEVICES, text=st.sampled_from(["0\n", "1", "-1\n", "x", "", "+1", "1_0", "2.0", "\ufeff1"]))
    def set_numa_node(self, device: str, text: str) -> None:
        self.do(lambda: write(self.root / device / "numa_node", text))

    # Devices

    @rule(device=DEVICES, whole=st.booleans(), text=TEXTS)
    def plug(self, device: str, whole: bool, text: str) -> None:
        def whole_device() -> None:
            new = self.root / ".new"
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            (new / "health").write_text(text)
            (self.root / device).parent.mkdir(parents=True, exist_ok=True)
            new.rename(self.root / device)

        def by_hand() -> None:
            (self.root / device).mkdir(parents=True)
            (self.root / device / "health").write_text(text)

        self.do(whole_device if whole else by_hand)

    @rule(device=DEVICES)
    def unplug(self, device: str) -> None:
        self.do(lambda: shutil.rmtree(self.root / device))

    @rule(device=DEVICES)
    def replug(self, device: str) -> None:
        def at_once() -> None:
            shutil.rmtree(self.root / device)
            (self.root / device).mkdir()
            (self.root / device / "health").write_text("healthy\n")

        self.do(at_once)

    @rule(device=DEVICES, to=st.sampled_from(["/", "../../node1", "1"]))
    def link_device(self, device: str, to: str) -> None:
        self.do(lambda: (self.root / device).symlink_to(to))

    @rule(device=DEVICES)
    def unlink_device(self, device: str) -> None:
        self.do((self.root / device).unlink)

    @rule(one=DEVICES, other=DEVICES)
    def rename_device(self, one: str, other: str) -> None:
        self.do(lambda: (self.root / one).rename(self.root / other))

    @rule(one=DEVICES, other=DEVICES)
    def swap_devices(self, one: str, other: str) -> None:
        def swap() -> None:
            (self.root / one).rename(self.root / ".swap")
            (self.root / other).rename(self.root / one)
            (self.root / ".swap").rename(self.root / other)

        self.do(swap)

    # Classes, nodes, the root

    @rule(node=NODES, class_name=CLASSES, text=RESOURCES)
    def set_resource(self, node: str, class_name: str, text: str) -> None:
        self.do(lambda: write(self.root / node / class_name / "resource", text))

    @rule(node=NODES, class_name=CLASSES)
    def add_class(self, node: str, class_name: str) -> None:
        self.do(lambda: (self.root / node / class_name).mkdir(parents=True))

    @rule(node=NODES, class_name=CLASSES)
    def remove_class(self, node: str, class_name: str) -> None:
        self.do(lambda: shutil.rmtree(self.root / node / class_name))

    @rule(node=NODES, one=CLASSES, other=CLASSES)
    def rename_class(self, node: str, one: str, other: str) -> None:
        self.do(lambda: (self.root / node / one).rename(self.root / node / other))

    @rule(node=NODES, text=HOSTS)
    def set_host(self, node: str, text: str) -> None:
        self.do(lambda: write(self.root / node / "host", text))

    @rule(one=NODES, other=NODES)
    def rename_node(self, one: str, other: str) -> None:
        self.do(lambda: (self.root / one).rename(self.root / other))

    @rule(node=NODES)
    def remove_node(self, node: str) -> None:
        self.do(lambda: shutil.rmtree(self.root / node))

    @rule()
    def rebuild(self) -> None:
        def replace_root() -> None:
            new, old = self.root.with_name("new"), self.root.with_name("old")
            make_tree(new, "node1/dev1/1", "node2/dev3/1", "node2/dev3/2", hosts={"node2": HOST})
            self.root.rename(old)
            new.rename(self.root)
            shutil.rmtree(old)

        self.do(replace_root)

    # fakehw, on whatever is there: it does what it can, or says why not

    @rule(device=DEVICES, length=st.integers(1, 3), what=st.sampled_from(["plug", "unplug", "break"]))
    def use_fakehw(self, device: str, length: int, what: str) -> None:
        tree = FakeTree(self.root)
        path = "/".join(device.split("/")[:length])
        act = {
            "plug": lambda: tree.plug(path, create=True),
            "unplug": lambda: tree.unplug(path),
            "break": lambda: tree.set_health(path, "unhealthy", reason="hot"),
        }[what]
        self.do(act)

    @rule(count=st.integers(0, 3), reset=st.booleans())
    def build(self, count: int, reset: bool) -> None:
        classes = {"dev1": {"count": count}, "gpu": {"count": 1, "resource": "nvidia.com/gpu"}}
        topology = fakehw.make_topology({"nodes": {"node1": {"classes": classes}, "n-3": {"host": HOST}}})
        self.do(lambda: FakeTree(self.root).build(topology, reset=reset))

    # Kubelet and plugin

    @rule(resource=st.sampled_from(["nvidia.com/gpu", "myplugin.io/mydevice-1"]))
    def take_a_resource_away(self, resource: str) -> None:
        async def register_and_end() -> None:
            async with StubPlugin(self.world.config.plugin_dir, resource, stub_plugin.devices("other-1")) as other:
                with contextlib.suppress(grpc.RpcError):
                    await other.register()

        self.run(register_and_end())
        # Not before ours is registered again: a kubelet whose table names nobody takes no notice of a stream's end
        # (contract REG-13), so that devices of a class that is removed just then stay with it, with no plugin to tell it.
        self.run(self.world.settle())
        if resource in reading.read(self.root, host=HOST):
            ours_is_last = lambda: self.world.registered_last(resource) != "stub.sock"  # noqa: E731  # too long in its place
            self.run(self.world.kubelet.wait_for(ours_is_last, timeout=DEADLINE_S))
            self.run(self.world.settle())

    @rule()
    def restart_kubelet(self) -> None:
        self.run(self.world.kubelet.restart())

    @rule()
    def restart_plugin(self) -> None:
        self.run(self.world.stop_plugin())
        self.run(self.world.start_plugin())

    @rule(which=st.integers(0, 5))
    def remove_a_socket(self, which: int) -> None:
        sockets = sorted(self.world.config.plugin_dir.glob("fakehw-*.sock"))
        if sockets:
            self.do(sockets[which % len(sockets)].unlink)

    # Time

    @rule(turns=st.sampled_from([1, 3, 30]))
    def let_run(self, turns: int) -> None:
        async def turn() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(turn())

    @precondition(lambda self: hasattr(self, "world"))
    @rule()
    def settles(self) -> None:
        self.run(self.world.settle())

    def check_invariants(self, *arguments: Any, **more: Any) -> None:
        type(self).steps += 1
        super().check_invariants(*arguments, **more)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.run(self.world.settle())
            finally:
                self.world.end()


def play(*, examples: int, steps: int, seed: int | None = None, place: Path | None = None) -> int:
    """Play random histories and return the number of steps; raises with the shortest history that goes wrong.

    Trees are made in the directory `place`, if there is one.
    """
    from hypothesis import seed as seeded

    class Seeded(Model):
        pass

    soon = mock.patch.multiple(neighbours, FIRST_LOOK_S=0.01, SETTLING_S=(0.05, 0.2, 0.6))
    with soon, asyncio.Runner() as runner:
        Seeded.runner, Seeded.place = runner, place
        machine = Seeded if seed is None else seeded(seed)(Seeded)
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                derandomize=seed is None,
                database=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
        return Seeded.steps


def test_whatever_happens_the_kubelet_ends_with_what_the_tree_says() -> None:
    assert play(examples=12, steps=60) > 500
