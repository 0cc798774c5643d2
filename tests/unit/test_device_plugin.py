"""A session for each resource: in which order they begin and end, and what waits where descriptors run out; in no time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import endpoint
from fakehw_plugin.deviceplugin import plugin as plugin_module
from fakehw_plugin.deviceplugin.device_list import DeviceList
from fakehw_plugin.deviceplugin.plugin import DevicePlugin
from fakehw_plugin.devices.inventory import Inventory
from fakehw_plugin.devices.telemetry import Telemetry
from tests.factories import make_device
from tests.timeless import settled, timeless

R1, R2, R3 = (f"myplugin.io/mydevice-{number}" for number in (1, 2, 3))


class Session:
    """What stands in for a session: it notes what is done with it, and takes a second to end."""

    def __init__(self, scene: Scene, inventory: Inventory, directory: Any, **how: Any) -> None:
        self.scene, self.resource, self.how = scene, inventory.resource_name, how
        assert directory is scene
        self.is_ready = True
        self.left = False
        scene.sessions.append(self)

    def leave(self) -> None:
        self.left = True

    async def run(self) -> None:
        self.scene.noted.append(("run", self.resource))
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            self.scene.noted.append(("end", self.resource))


class Scene:
    """A plugin whose sessions are played."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, files: int = 1 << 20, **more: Any) -> None:
        self.noted: list[Any] = []
        self.sessions: list[Session] = []
        self.is_orphaned = False
        self.newcomers = None
        self.stale: list[str] = []
        self.files = files
        monkeypatch.setattr(plugin_module.session, "Session", lambda *values, **how: Session(self, *values, **how))
        monkeypatch.setattr(plugin_module, "getrlimit", self.getrlimit)
        monkeypatch.setattr(endpoint, "remove_stale", self.remove_stale)
        monkeypatch.setattr(plugin_module.neighbours, "Neighbours", self.make_neighbours)
        self.telemetry = Telemetry()
        self.plugin = DevicePlugin(
            Path("/plugins"),
            root=Path("/tree"),
            host_root=Path("/host"),
            pre_start_check=True,
            pod_resources="pod resources",  # type: ignore[arg-type]  # only handed on
            telemetry=self.telemetry,
            on_allocated=print,
            on_live=repr,  # type: ignore[arg-type]  # only handed on
            directory=self,  # type: ignore[arg-type]  # as much of one as is needed
            **more,
        )

    def getrlimit(self, what: int) -> tuple[int, int]:
        assert what == plugin_module.RLIMIT_NOFILE
        return self.files, 1 << 30

    def remove_stale(self, directory: Path) -> list[str]:
        assert directory == Path("/plugins")
        return self.stale

    def make_neighbours(self, directory: Any, sessions: Any, pod_resources: Any) -> Any:
        assert (directory, pod_resources) == (self, "pod resources")
        return SimpleNamespace(run=self.run)

    async def run(self) -> None:
        """As the directory, and as the neighbours."""
        self.noted.append("watching")
        await asyncio.Event().wait()

    def taken(self) -> list[Any]:
        noted, self.noted = self.noted, []
        return noted


def inventory(resource: str) -> Inventory:
    return Inventory(resource)


@timeless
async def test_every_resource_has_a_session_that_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    plugin = scene.plugin
    one, two = inventory(R1), inventory(R2)
    async with plugin as entered:
        assert entered is plugin
        for opened in (one, two):
            plugin.open(opened)
        await settled()
        assert scene.taken() == ["watching", "watching", ("run", R1), ("run", R2)]
        assert (set(plugin.sessions), set(plugin.lists), set(plugin.waiting)) == ({R1, R2}, {R1, R2}, set())
        device = make_device(1)
        one.apply({device.id: device})
        assert len(plugin.lists[R1].message()) > 0
        assert len(plugin.lists[R2].message()) == 0

        plugin.close(two)
        assert (set(plugin.sessions), set(plugin.lists)) == ({R1}, {R1})
        assert scene.sessions[1].left
        assert not scene.sessions[0].left
        await asyncio.sleep(1.1)
        assert scene.taken() == [("end", R2)]
    assert scene.taken() == [("end", R1)]


@timeless
async def test_a_session_is_made_of_what_the_plugin_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    async with scene.plugin as plugin:
        one = inventory(R1)
        plugin.open(one)
        how = scene.sessions[0].how
        assert how["before_register"] is None
        assert (how["telemetry"], how["on_live"]) == (scene.telemetry, repr)
        servicer = how["make_servicer"](on_streams=id)
        assert servicer.options == b"\x08\x01\x10\x01"
        given = {name: getattr(servicer, f"_{name}") for name in (
            "inventory", "list", "root", "host_root", "telemetry", "on_streams", "on_allocated", "faults",
        )}  # fmt: skip  # in two lines
        assert given == {
            "inventory": one,
            "list": plugin.lists[R1],
            "root": "/tree",
            "host_root": "/host",
            "telemetry": scene.telemetry,
            "on_streams": id,
            "on_allocated": print,
            "faults": None,
        }
        assert isinstance(plugin.lists[R1], DeviceList)
        with capture_logs() as lines:
            how["log"].info("x")
        assert lines == [{"event": "x", "log_level": "info", "resource": R1}]


@timeless
async def test_a_resource_that_comes_back_waits_for_the_end_of_the_sessions_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two at once would cut each other off."""
    scene = Scene(monkeypatch)
    async with scene.plugin as plugin:
        one = inventory(R1)
        plugin.open(one)
        await settled()
        scene.taken()
        plugin.close(one)
        again = inventory(R1)
        plugin.open(again)
        await asyncio.sleep(0.5)
        plugin.close(again)  # before it began
        plugin.open(inventory(R1))
        await asyncio.sleep(0.4)
        assert scene.taken() == []
        await asyncio.sleep(0.2)
        assert scene.taken() == [("end", R1), ("run", R1)]
        plugin.open(inventory(R2))
        await settled()
        assert scene.taken() == [("run", R2)], "another one waits for nobody"


@timeless
async def test_it_is_ready_when_all_resources_are_and_none_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, files=160 + 2 * 6)
    async with scene.plugin as plugin:
        assert plugin.is_ready
        opened = [inventory(resource) for resource in (R1, R2, R3)]
        for one in opened[:2]:
            plugin.open(one)
        assert plugin.is_ready
        scene.sessions[1].is_ready = False
        assert not plugin.is_ready
        scene.sessions[1].is_ready = True
        plugin.open(opened[2])
        assert not plugin.is_ready
        plugin.close(opened[2])
        assert plugin.is_ready


@timeless
async def test_a_directory_that_is_an_orphan_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    assert not scene.plugin.is_orphaned
    scene.is_orphaned = True
    assert scene.plugin.is_orphaned


@timeless
async def test_where_descriptors_run_out_the_others_wait_in_turn_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch, files=160 + 2 * 6 + 5)
    names = [f"a.io/{number}" for number in range(6)]
    opened = {name: inventory(name) for name in names}
    with capture_logs() as lines:
        async with scene.plugin as plugin:
            for one in opened.values():
                plugin.open(one)
            assert list(plugin.sessions) == names[:2]
            assert list(plugin.waiting) == names[2:]
            assert set(plugin.lists) == set(names)
            plugin.close(opened[names[3]])
            assert list(plugin.waiting) == [names[2], names[4], names[5]]
            assert names[3] not in plugin.lists

            plugin.close(opened[names[0]])
            await asyncio.sleep(1.1)
            assert list(plugin.sessions) == [names[1], names[2]]
            assert list(plugin.waiting) == names[4:]
            for name in (names[1], names[2]):
                plugin.close(opened[name])
            await asyncio.sleep(1.1)
            assert list(plugin.sessions) == names[4:]
            assert not plugin.waiting
            for name in ("b.io/1", "b.io/2"):
                plugin.open(inventory(name))

    remedy = "raise the limit of open files (RLIMIT_NOFILE), or have fewer classes"
    base = {"event": "resources_not_served", "log_level": "error", "served": 2, "remedy": remedy}
    assert [line for line in lines if line["log_level"] == "error"] == [
        {**base, "first": names[2]},
        {**base, "first": "b.io/1"},
    ]


@pytest.mark.parametrize(("files", "served"), [(0, 1), (171, 1), (172, 2), (-1, 10)])
@timeless
async def test_how_many_fit_is_by_the_limit_of_descriptors_and_one_always_does(
    monkeypatch: pytest.MonkeyPatch, files: int, served: int
) -> None:
    monkeypatch.setattr(plugin_module, "MAX_RESOURCES", 10)
    scene = Scene(monkeypatch, files=plugin_module.RLIM_INFINITY if files == -1 else files)
    async with scene.plugin as plugin:
        for number in range(12):
            plugin.open(inventory(f"a.io/{number}"))
        assert len(plugin.sessions) == served


@timeless
async def test_dead_sockets_are_removed_at_the_start_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.stale = ["fakehw-a.sock", "fakehw-b.sock"]
    with capture_logs() as lines:
        async with scene.plugin:
            pass
    base = {"event": "stale_socket_removed", "log_level": "info"}
    assert lines == [{**base, "endpoint": "fakehw-a.sock"}, {**base, "endpoint": "fakehw-b.sock"}]


@timeless
async def test_that_faults_are_played_is_said_and_every_resource_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def class_paths(resource: str) -> list[str]:
        asked.append(resource)
        return []

    scene = Scene(monkeypatch, class_paths=class_paths)
    with capture_logs() as lines:
        async with scene.plugin as plugin:
            plugin.open(inventory(R1))
            plugin.open(inventory(R2))
            how = scene.sessions[1].how
            await how["before_register"]()
            assert asked == [R2]
            assert how["make_servicer"](on_streams=id)._faults is how["before_register"].__self__
    remark = "calls are delayed, failed, hung or dropped as the tree says: no plugin for real work"
    assert lines == [{"event": "rpc_faults_enabled", "log_level": "warning", "remark": remark}]
