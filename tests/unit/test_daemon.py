"""What is made of what, and who hears of whom."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import daemon as daemon_module
from fakehw_plugin.config import Config
from fakehw_plugin.daemon import Daemon
from fakehw_plugin.dra import plugin as dra_plugin
from fakehw_plugin.offer import Api, Offer
from fakehw_plugin.resource_name import ResourceName
from tests.factories import make_config
from tests.timeless import running, settled, timeless

RESOURCE = Offer(ResourceName.parse("a.b/c"))
DRIVEN, OTHER = Offer(RESOURCE.resource, "d.io"), Offer(RESOURCE.resource, "e.io")


def config(**changes: object) -> Config:
    values: dict[str, object] = {
        "host_root": Path("/host"), "host": "a-node", "pod_resources": Path("/pr.sock"), "domain": "d.io",
        "reconcile_s": 61.0, "quiet_s": 0.062, "vanished_grace_s": 63.0, "pre_start_check": True, "api": Api.DRA,
        "kubeconfig": "/kubeconfig", "registry_dir": Path("/registry"), "state_dir": Path("/state"),
        "cdi_dir": Path("/cdi"), "rpc_faults": True,
    }  # fmt: skip  # some lines
    return make_config(Path("/tree"), Path("/plugins"), **{**values, **changes})


class Parts:
    """Notes what every part is made of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        for name in ("PodResources", "DevicePlugin", "Inventories", "Pump"):
            monkeypatch.setattr(daemon_module, name, self.maker(name))
        monkeypatch.setattr(dra_plugin, "DraPlugin", self.maker("DraPlugin"))

    def maker(self, name: str) -> Any:
        def make(*values: Any, **more: Any) -> Any:
            self.made[name] = values, more
            return getattr(self, name, SimpleNamespace(name=name, held=f"held of {name}"))

        return make


@pytest.mark.parametrize("faults", [True, False])
def test_every_part_is_made_of_the_settings_that_are_its_own(monkeypatch: pytest.MonkeyPatch, faults: bool) -> None:
    parts = Parts(monkeypatch)
    daemon = Daemon(config(rpc_faults=faults))

    assert parts.made["PodResources"] == ((Path("/pr.sock"),), {})
    values, more = parts.made["DevicePlugin"]
    assert values == (Path("/plugins"),)
    assert more["pod_resources"].name == "PodResources"
    assert {key: value for key, value in more.items() if key != "pod_resources"} == {
        "root": Path("/tree"),
        "host_root": Path("/host"),
        "pre_start_check": True,
        "telemetry": daemon.telemetry,
        "on_allocated": daemon._note_allocated,
        "on_live": daemon.first_live.set,
        "class_paths": daemon._class_paths if faults else None,
    }
    ((sides,), more) = parts.made["Inventories"]
    assert more == {"vanished_grace_s": 63.0, "telemetry": daemon.telemetry}
    assert {api: tuple(side) for api, side in sides.items()} == {
        Api.DEVICE_PLUGIN: (daemon.device_plugin, "held of PodResources"),
        Api.DRA: (daemon.dra, daemon.dra.holders),
    }
    assert parts.made["Pump"] == (
        (Path("/tree"), daemon.inventories),
        {
            "host": "a-node",
            "domain": "d.io",
            "api": Api.DRA,
            "reconcile_s": 61.0,
            "quiet_s": 0.062,
            "telemetry": daemon.telemetry,
            "on_taken": daemon._note_taken,
        },
    )
    group: Any = "group"
    daemon._make_dra(group)
    assert parts.made["DraPlugin"] == (
        ("group",),
        {
            "node": "a-node",
            "kubeconfig": "/kubeconfig",
            "registry_dir": Path("/registry"),
            "state_dir": Path("/state"),
            "cdi_dir": Path("/cdi"),
            "root": Path("/tree"),
            "host_root": Path("/host"),
            "telemetry": daemon.telemetry,
            "on_held": daemon._note_held,
            "class_paths": daemon._class_paths_of_driver if faults else None,
        },
    )


@pytest.mark.parametrize("missing", ["", "tree", "device plugin", "dra"])
def test_it_is_ready_when_all_parts_are(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    Parts(monkeypatch)
    daemon: Any = Daemon(config())
    daemon.pump.tree_is_present = missing != "tree"
    daemon.device_plugin.is_ready = missing != "device plugin"
    daemon.dra = SimpleNamespace(is_ready=missing != "dra")
    assert daemon.is_ready is (missing == "")


@pytest.mark.parametrize(("tree", "plugins"), [(False, False), (True, False), (False, True)])
def test_one_orphaned_directory_is_enough_for_a_restart(
    monkeypatch: pytest.MonkeyPatch, tree: bool, plugins: bool
) -> None:
    Parts(monkeypatch)
    daemon: Any = Daemon(config())
    daemon.pump.scanner = SimpleNamespace(is_orphaned=tree)
    daemon.device_plugin.is_orphaned = plugins
    assert daemon.is_orphaned is (tree or plugins)


@pytest.mark.parametrize(
    ("offers", "is_over"), [(set(), True), ({DRIVEN}, True), ({RESOURCE}, False), ({RESOURCE, DRIVEN}, False)]
)
def test_without_a_resource_to_register_nothing_waits_for_one(
    monkeypatch: pytest.MonkeyPatch, offers: set[Offer], is_over: bool
) -> None:
    Parts(monkeypatch)
    daemon: Any = Daemon(config())
    taken: list[str] = []
    daemon.dra = SimpleNamespace(note_taken=lambda: taken.append("dra"))
    daemon.inventories.by_offer = dict.fromkeys(offers)
    daemon._note_taken()
    assert daemon.first_live.is_set() is is_over
    assert taken == ["dra"]


def test_what_is_held_and_given_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    Parts(monkeypatch)
    daemon: Any = Daemon(config())
    noted: list[Any] = []
    daemon.inventories.look_again = noted.append
    daemon.inventories.retentions = {
        api: SimpleNamespace(allocated=lambda ids, api=api: noted.append((api, ids))) for api in Api
    }
    daemon._note_held()
    daemon._note_allocated(["a"])
    assert noted == [Api.DRA, (Api.DEVICE_PLUGIN, ["a"])]


def test_the_classes_of_a_driver_are_those_of_all_its_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    Parts(monkeypatch)
    daemon: Any = Daemon(config())
    second = Offer(ResourceName.parse("z.io/z"), "d.io")
    daemon.pump.scanner = SimpleNamespace(
        offers={second, DRIVEN, OTHER, RESOURCE}, class_paths=lambda offer: [f"{offer}/1", f"{offer}/2"]
    )
    assert daemon._class_paths("x") == ["x/1", "x/2"]
    assert daemon._class_paths_of_driver("d.io") == [
        f"{offer}/{number}" for offer in (DRIVEN, second) for number in (1, 2)
    ]
    assert daemon._class_paths_of_driver("") == [f"{RESOURCE}/1", f"{RESOURCE}/2"]


class Part:
    def __init__(self, noted: list[str], name: str) -> None:
        self.noted, self.name = noted, name

    async def __aenter__(self) -> None:
        self.noted.append(f"{self.name} entered")

    async def __aexit__(self, *_: object) -> None:
        self.noted.append(f"{self.name} left")

    async def run(self) -> None:
        self.noted.append(f"{self.name} runs")
        try:
            await asyncio.Event().wait()
        finally:
            self.noted.append(f"{self.name} ended")


@pytest.mark.parametrize(("host", "shown"), [("", "any"), ("a-node", "a-node")])
@timeless
async def test_what_reads_ends_before_what_serves(monkeypatch: pytest.MonkeyPatch, host: str, shown: str) -> None:
    Parts(monkeypatch)
    daemon: Any = Daemon(config(host=host))
    noted: list[str] = []
    for name in ("device_plugin", "dra", "inventories", "pump"):
        setattr(daemon, name, Part(noted, name))
    with capture_logs() as lines:
        async with running(daemon.run()):
            await settled()
            assert noted == ["device_plugin entered", "dra entered", "inventories runs", "pump runs"]
            noted.clear()
    assert sorted(noted[:2]) == ["inventories ended", "pump ended"]
    assert noted[2:] == ["dra left", "device_plugin left"]
    assert lines == [
        {"event": "started", "log_level": "info", "root": "/tree", "host": shown},
        {"event": "stopped", "log_level": "info"},
    ]
