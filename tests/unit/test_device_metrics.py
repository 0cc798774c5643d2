"""Series for each device: what they say, and that they are bounded whatever the tree holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakehw_plugin import device_metrics
from fakehw_plugin.device import Device, Health
from fakehw_plugin.device_metrics import DeviceCollector
from fakehw_plugin.devices.inventory import Inventory
from tests.factories import make_device


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (1, 2):
        (tmp_path / f"node2/dev3/{number}").mkdir(parents=True)
    return tmp_path


def inventory(*devices: Device) -> Inventory:
    made = Inventory("myplugin.io/mydevice-3")
    made.apply({device.id: device for device in devices})
    return made


def samples(made: Inventory, root: Path) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in DeviceCollector(lambda: [made], root).collect()
        for sample in family.samples
    }


def test_each_device_tells_its_health_its_reason_and_its_numbers(root: Path) -> None:
    (root / "node2/dev3/2/temperature").write_text("91\n")
    (root / "node2/dev3/2/model").write_text("X100\n")
    (root / "node2/dev3/2/numa_node").write_text("1\n")
    good, bad = make_device(1), make_device(2, health=Health.UNHEALTHY, reason="over temperature")
    device = ("myplugin.io/mydevice-3", "node2", "node2-dev3-2")
    assert samples(inventory(good, bad), root) == {
        ("fakehw_device_healthy", "myplugin.io/mydevice-3", "node2", "node2-dev3-1"): 1,
        ("fakehw_device_healthy", *device): 0,
        ("fakehw_device_unhealthy_reason", *device, "over temperature"): 1,
        ("fakehw_device_attribute", *device, "temperature"): 91,
        ("fakehw_device_series_left_out",): 0,
    }


def test_what_is_no_finite_number_or_no_file_is_none_and_nothing_blocks(root: Path) -> None:
    for name, text in {"a": "nan", "b": "inf", "c": "1e400", "d": "", "e": "0x1", "f": "1" * 5000}.items():
        (root / f"node2/dev3/1/{name}").write_text(text)
    os.mkfifo(root / "node2/dev3/1/g")
    (root / "node2/dev3/1/h").symlink_to("/proc/uptime")
    (root / "node2/dev3/1/i").mkdir()
    assert [key for key in samples(inventory(make_device(1)), root) if key[0] == "fakehw_device_attribute"] == []


def test_a_device_that_left_the_tree_meanwhile_keeps_its_health(root: Path) -> None:
    found = samples(inventory(make_device(7)), root)
    assert found["fakehw_device_healthy", "myplugin.io/mydevice-3", "node2", "node2-dev3-7"] == 1


def test_the_number_of_series_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_metrics, "MAX_DEVICES", 3)
    monkeypatch.setattr(device_metrics, "MAX_ATTRIBUTES", 5)
    for number in (1, 2):
        for name in "abcdef":
            (root / f"node2/dev3/{number}/{name}").write_text("1")
    found = samples(inventory(*(make_device(number) for number in range(1, 9))), root)
    by_name = [key[0] for key in found]
    assert by_name.count("fakehw_device_healthy") == 3
    assert by_name.count("fakehw_device_attribute") == 5
    assert found[("fakehw_device_series_left_out",)] == 5
