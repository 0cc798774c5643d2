"""Which registrations the kubelet is taken to have dropped, by what it answers."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from fakehw_plugin.device import Device, DeviceID, Health
from fakehw_plugin.deviceplugin.neighbours import Neighbours
from fakehw_plugin.deviceplugin.newcomers import Departure
from fakehw_plugin.devices.inventory import Inventory
from tests.factories import make_device

R = "myplugin.io/mydevice-3"
OURS, THEIRS = (R, DeviceID("node2-dev3-1")), (R, DeviceID("other-1"))
NOW = 1000.0
AFTER_US = Departure(arrived_at=NOW - 10, left_at=NOW - 1)


def dropped(
    answer: set[tuple[str, DeviceID]] | None,
    departure: Departure | None,
    *,
    live_for_s: float | None = 60.0,
    device: Device | None = None,
    monkeypatch: pytest.MonkeyPatch,
) -> bool:
    monkeypatch.setattr(time, "monotonic", lambda: NOW)
    inventory = Inventory(R)
    device = device or make_device(1)
    inventory.apply({device.id: device})
    session: Any = SimpleNamespace(
        inventory=inventory,
        live_since=None if live_for_s is None else NOW - live_for_s,
        asked_at=NOW - (live_for_s or 0.0),
    )
    directory: Any = SimpleNamespace(newcomers=None)
    return Neighbours(directory, {R: session}, None)._dropped(answer, departure) == {R}  # type: ignore[arg-type]


def test_what_the_kubelet_lists_is_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    for departure in (None, AFTER_US):
        assert not dropped({OURS}, departure, monkeypatch=monkeypatch)
        assert not dropped({OURS, THEIRS}, departure, monkeypatch=monkeypatch)


def test_what_the_kubelet_lists_nothing_of_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    for departure in (None, AFTER_US):
        assert dropped(set(), departure, monkeypatch=monkeypatch)
        assert dropped({("example.org/other", OURS[1])}, departure, monkeypatch=monkeypatch), "the same ID of another"


def test_what_another_plugin_serves_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for departure in (None, AFTER_US):
        assert not dropped({THEIRS}, departure, monkeypatch=monkeypatch)


def test_where_the_kubelet_does_not_answer_a_departure_is_enough_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert dropped(None, AFTER_US, monkeypatch=monkeypatch)
    assert not dropped(None, None, monkeypatch=monkeypatch)


def test_a_young_registration_is_suspected_only_for_a_departure_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not dropped(set(), None, live_for_s=4.9, monkeypatch=monkeypatch)
    assert dropped(set(), None, live_for_s=5.0, monkeypatch=monkeypatch)
    assert dropped(set(), AFTER_US, live_for_s=2.0, monkeypatch=monkeypatch)
    assert not dropped(set(), AFTER_US, live_for_s=0.5, monkeypatch=monkeypatch), "it registered after the other went"


def test_without_a_healthy_device_nothing_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ill = make_device(1, health=Health.UNHEALTHY)

    assert not dropped(set(), AFTER_US, device=ill, monkeypatch=monkeypatch)


def test_what_is_not_registered_is_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not dropped(set(), AFTER_US, live_for_s=None, monkeypatch=monkeypatch)
