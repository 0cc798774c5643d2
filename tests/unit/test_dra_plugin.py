"""The drivers of a node: when each begins, when it leaves, what is taken away with it; and when any of it is loaded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import endpoint
from fakehw_plugin.devices.inventory import Inventory
from fakehw_plugin.devices.telemetry import Telemetry
from fakehw_plugin.dra import LazyDra
from fakehw_plugin.dra import plugin as plugin_module
from fakehw_plugin.dra.plugin import DraPlugin
from fakehw_plugin.dra.pool import DevicePool
from kubeapi import errors
from tests.factories import make_device
from tests.timeless import elapsed, settled, timeless, until

if TYPE_CHECKING:
    from collections.abc import Callable

A, B = "a.example", "b.example"


class Driver:
    """What stands in for a driver: it notes what is done with it."""

    def __init__(self, scene: Scene, name: str, **how: Any) -> None:
        self.scene, self.name, self.how = scene, name, how
        self.pool = DevicePool(driver=name, node="node")
        self.left = asyncio.Event()
        self.is_ready = True
        self.fails: Exception | None = None
        self.failing_withdrawals = scene.failing_withdrawals
        self.publisher = self
        checkpoint = SimpleNamespace(prepared=dict.fromkeys(scene.claims.get(name, ())), held=self.held)
        self.preparation = SimpleNamespace(open=lambda: scene.note("open", name), checkpoint=checkpoint)

    def held(self) -> set[str]:
        return {f"{self.name}-device-{claim}" for claim in self.preparation.checkpoint.prepared}

    async def run(self, client: Any) -> None:
        self.scene.note("run", self.name, client)
        try:
            if self.fails is not None:
                raise self.fails
            await asyncio.Event().wait()
        finally:
            self.scene.note("end", self.name)

    async def withdraw(self) -> None:
        self.scene.note("withdraw", self.name)
        if self.failing_withdrawals:
            self.failing_withdrawals -= 1
            raise errors.UnavailableError("no answer")


class Scene:
    """A plugin whose drivers are played."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.noted: list[tuple[Any, ...]] = []
        self.claims: dict[str, list[str]] = {}
        self.failing_withdrawals = self.held = 0
        self.drivers: list[Driver] = []
        monkeypatch.setattr(plugin_module, "Driver", self.make_driver)
        self.telemetry = Telemetry()
        self.client: asyncio.Future[Any] | None = None

    def make_driver(self, name: str, **how: Any) -> Driver:
        self.drivers.append(Driver(self, name, **how))
        return self.drivers[-1]

    def note(self, *what: Any) -> None:
        self.noted.append(what)

    async def find_client(self) -> Any:
        return "client"

    def note_held(self) -> None:
        self.held += 1

    def plugin(self, group: asyncio.TaskGroup, *, node: str = "node", **more: Any) -> DraPlugin:
        return DraPlugin(
            group,
            node=node,
            find_client=more.pop("find_client", self.find_client),
            registry_dir=self.path,
            state_dir=Path("/state"),
            cdi_dir=Path("/cdi"),
            root=Path("/tree"),
            host_root=Path("/host"),
            telemetry=self.telemetry,
            on_held=self.note_held,
            **more,
        )

    def taken(self) -> list[tuple[Any, ...]]:
        noted, self.noted = self.noted, []
        return noted


@pytest.fixture
def scene(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(short_dir, monkeypatch)


def inventory(driver: str, resource: str = "myplugin.io/mydevice-3") -> Inventory:
    return Inventory(resource, driver=driver)


async def ended(plugin: DraPlugin) -> None:
    await plugin.stop()
    await settled()


@timeless
async def test_a_driver_runs_once_the_whole_tree_is_known(scene: Scene) -> None:
    async with asyncio.TaskGroup() as group:
        plugin = scene.plugin(group, class_paths=None, follow=print)  # type: ignore[arg-type]
        plugin.start()
        plugin.open(inventory(A))
        await settled()
        assert scene.taken() == [("open", A)]

        plugin.note_taken()
        await settled()
        assert scene.taken() == [("run", A, "client")]
        await plugin.stop()
        assert scene.taken() == [("end", A)], "it is over when that returns"

    assert scene.drivers[0].how == {
        "node": "node",
        "registry_dir": scene.path,
        "state_dir": Path("/state"),
        "cdi_dir": Path("/cdi"),
        "root": Path("/tree"),
        "host_root": Path("/host"),
        "telemetry": scene.telemetry,
        "on_held": plugin._note_held,
        "class_paths": None,
        "follow": print,
    }


@timeless
async def test_classes_of_one_driver_share_it_and_their_devices_are_in_its_pool(scene: Scene) -> None:
    async with asyncio.TaskGroup() as group:
        plugin = scene.plugin(group)
        plugin.start()
        first, second = inventory(A), inventory(A, "other.io/x")
        for one, number in ((first, 1), (second, 2)):
            plugin.open(one)
            device = make_device(number)
            one.apply({device.id: device})
        plugin.note_taken()
        await settled()

        assert list(plugin.drivers) == [A]
        assert set(scene.drivers[0].pool.devices) == {"node2-dev3-1", "node2-dev3-2"}
        plugin.close(first)
        await settled()
        assert list(plugin.drivers) == [A]
        await ended(plugin)


@timeless
async def test_a_driver_without_a_class_leaves_and_its_slices_are_taken_away_once_it_has_ended(scene: Scene) -> None:
    scene.failing_withdrawals = 2
    async with asyncio.TaskGroup() as group:
        plugin = scene.plugin(group)
        plugin.start()
        one = inventory(A)
        plugin.open(one)
        plugin.note_taken()
        await settled()
        with capture_logs() as lines:
            plugin.close(one)
            assert dict(plugin.drivers) == {}
            await until(lambda: len(lines) == 3)
        assert elapsed() == 4, "2 s after each that failed"
        await ended(plugin)

    assert scene.taken() == [("open", A), ("run", A, "client"), ("end", A), *[("withdraw", A)] * 3]
    failed = {"event": "slices_not_withdrawn", "log_level": "warning", "driver": A, "error": "no answer"}
    assert lines == [failed, failed, {"event": "driver_left", "log_level": "info", "driver": A}]


@timeless
async def test_a_driver_that_comes_back_waits_for_the_end_of_the_one_before(scene: Scene) -> None:
    scene.failing_withdrawals = 5
    async with asyncio.TaskGroup() as group:
        plugin = scene.plugin(group)
        plugin.start()
        one, again = inventory(A), inventory(A)
        plugin.open(one)
        plugin.note_taken()
        await settled()
        plugin.close(one)
        await asyncio.sleep(1)
        scene.failing_withdrawals = 0
        scene.taken()
        plugin.open(again)
        await until(lambda: ("run", A, "client") in scene.noted)
        assert elapsed() == 10
        assert scene.taken() == [("open", A), *[("withdraw", A)] * 5, ("run", A, "client")]
        await ended(plugin)


@timeless
async def test_a_driver_stays_for_as_long_as_claims_are_prepared(scene: Scene) -> None:
    scene.claims = {A: ["uid"]}
    async with asyncio.TaskGroup() as group:
        plugin = scene.plugin(group)
        plugin.start()
        plugin.look_after([A, B])
        assert list(plugin.drivers) == [A, B]
        plugin.note_taken()
        await settled()
        assert list(plugin.drivers) == [A]
        assert plugin.held() == {f"{A}-device-uid"}

        scene.drivers[0].preparation.checkpoint.prepared.clear()
        plugin._note_held()
        assert scene.held == 1
        assert not plugin.drivers
        await settled()
        assert ("withdraw", A) in scene.noted
        await ended(plugin)


@timeless
async def test_nothing_leaves_while_the_tree_is_not_known(scene: Scene) -> None:
    async with asyncio.TaskGroup() as group:
        plugin = scene.plugin(group)
        plugin.start()
        plugin.look_after([A])
        plugin._note_held()
        assert list(plugin.drivers) == [A]
        await ended(plugin)


@timeless
async def test_it_is_ready_when_all_drivers_are(scene: Scene) -> None:
    async with asyncio.TaskGroup() as group:
        plugin = scene.plugin(group)
        assert plugin.is_ready
        plugin.start()
        plugin.look_after([A, B])
        assert plugin.is_ready
        scene.drivers[1].is_ready = False
        assert not plugin.is_ready
        await ended(plugin)


@timeless
async def test_without_the_name_of_the_node_a_driver_never_runs_and_it_is_said(scene: Scene) -> None:
    async with asyncio.TaskGroup() as group:
        plugin = scene.plugin(group, node="")
        with capture_logs() as lines:
            plugin.start()
            one = inventory(A)
            plugin.open(one)
            plugin.note_taken()
            await settled()
            plugin.close(one)
            await settled()
        await ended(plugin)

    remark = "set --host (NODE_NAME): slices and claims are those of a Kubernetes node"
    assert lines == [{"event": "dra_needs_the_node_name", "log_level": "error", "driver": A, "remark": remark}]
    assert scene.noted == [("open", A)]


@timeless
async def test_a_driver_that_crashes_takes_the_plugin_with_it(scene: Scene) -> None:
    async def crash() -> None:
        async with asyncio.TaskGroup() as group:
            plugin = scene.plugin(group)
            plugin.start()
            plugin.open(inventory(A))
            scene.drivers[0].fails = RuntimeError("a bug")
            plugin.note_taken()
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup, match="unhandled errors") as caught:
        await crash()
    assert [str(error) for error in caught.value.exceptions] == ["a bug"]
    assert scene.noted[-1] == ("end", A)


@timeless
async def test_dead_sockets_are_removed_at_the_start_and_named(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(endpoint, "remove_stale", lambda directory: asked.append(directory) or ["fakehw-a.sock"])
    async with asyncio.TaskGroup() as group:
        plugin = scene.plugin(group)
        with capture_logs() as lines:
            plugin.start()
        await settled()
        await ended(plugin)

    assert asked == [scene.path]
    assert lines == [{"event": "stale_socket_removed", "log_level": "info", "endpoint": "fakehw-a.sock"}]


class Client:
    """Opened and closed by the plugin."""

    made: list[Any]

    def __init__(self, access: Any, **more: Any) -> None:
        self.made.append((access, more))

    async def __aenter__(self) -> Client:
        self.made.append("opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.made.append("closed")


@timeless
async def test_the_way_to_the_api_server_is_looked_for_ever_less_often_and_complained_of_once_for_each_reason(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[tuple[float, str]] = []
    monkeypatch.setattr(Client, "made", [], raising=False)
    monkeypatch.setattr(plugin_module, "Client", Client)

    def find(path: str) -> str:
        tries.append((elapsed(), path))
        if len(tries) < 10:
            raise errors.AccessError("no file" if len(tries) < 4 else "no such cluster")
        return "access"

    monkeypatch.setattr(plugin_module.kubeconfig, "find", find)
    async with asyncio.TaskGroup() as group:
        plugin = scene.plugin(group, find_client=None, kubeconfig="/etc/kubeconfig")
        with capture_logs() as lines:
            plugin.start()
            plugin.open(inventory(A))
            plugin.note_taken()
            await until(lambda: [noted for noted in scene.noted if noted[0] == "run"])
        assert isinstance(scene.noted[-1][2], Client)
        assert Client.made == [("access", {"user_agent": "fakehw-plugin"}), "opened"]
        await ended(plugin)

    assert Client.made[-1] == "closed"
    assert [at for at, _ in tries] == pytest.approx([0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 11.3, 16.3, 21.3])
    assert {path for _, path in tries} == {"/etc/kubeconfig"}
    base = {"event": "no_way_to_the_api_server", "log_level": "error", "retry_every_s": 5.0}
    assert lines == [{**base, "error": "no file"}, {**base, "error": "no such cluster"}]


# What is loaded when.


class Plugin:
    """What stands in for a DraPlugin."""

    def __init__(self, noted: list[Any]) -> None:
        self.noted = noted
        self.is_ready = False
        self.drivers = {A: "driver"}

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *values: self.noted.append((name, *values))

    async def stop(self) -> None:
        self.noted.append(("stop",))

    def held(self) -> set[str]:
        return {"node2-dev3-1"}


class Lazy:
    def __init__(self, state_dir: Path) -> None:
        self.noted: list[Any] = []
        self.groups: list[asyncio.TaskGroup] = []
        self.dra = LazyDra(self.make, state_dir=state_dir)

    def make(self, group: asyncio.TaskGroup) -> Any:
        self.groups.append(group)
        group.create_task(self.work(), name="work of the plugin")
        return Plugin(self.noted)

    async def work(self) -> None:
        await asyncio.sleep(60)
        self.noted.append(("done",))


@timeless
async def test_nothing_is_made_before_a_class_is_served_by_dra(tmp_path: Path) -> None:
    lazy = Lazy(tmp_path / "nowhere")
    async with lazy.dra as entered:
        assert entered is lazy.dra
        lazy.dra.note_taken()
        assert lazy.dra.plugin is None
        assert lazy.dra.is_ready
        assert lazy.dra.drivers == {}
        assert await lazy.dra.holders() == set()
        assert lazy.noted == []

        one = inventory(A)
        lazy.dra.open(one)
        assert lazy.noted == [("start",), ("note_taken",), ("open", one)]
        assert not lazy.dra.is_ready
        assert lazy.dra.drivers == {A: "driver"}
        assert await lazy.dra.holders() == {("", "node2-dev3-1")}
        lazy.dra.close(one)
        lazy.dra.note_taken()

    assert lazy.noted[3:] == [("close", one), ("note_taken",), ("stop",), ("done",)]
    assert len(lazy.groups) == 1


@timeless
async def test_a_class_that_comes_before_the_tree_is_known_does_not_make_it_known(tmp_path: Path) -> None:
    lazy = Lazy(tmp_path)
    async with lazy.dra:
        one = inventory(A)
        lazy.dra.open(one)
        assert lazy.noted == [("start",), ("open", one)]


@timeless
async def test_drivers_whose_claims_are_prepared_still_are_looked_after_from_the_start(tmp_path: Path) -> None:
    for driver, claim in ((B, "uid-1.json"), (A, "uid-1.json"), (A, "uid-2.json"), ("c.example", "uid.tmp")):
        (tmp_path / driver / "claims").mkdir(parents=True, exist_ok=True)
        (tmp_path / driver / "claims" / claim).touch()
    lazy = Lazy(tmp_path)
    async with lazy.dra:
        assert lazy.noted == [("start",), ("look_after", [A, B])]


@timeless
async def test_a_state_that_cannot_be_looked_into_has_no_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "glob", denied)
    lazy = Lazy(tmp_path)
    async with lazy.dra:
        assert lazy.noted == []
