"""Who came into the kubelet's directory after us, and went."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from fakehw_plugin.deviceplugin import neighbours
from fakehw_plugin.deviceplugin.newcomers import Departure, Newcomers
from tests.timeless import elapsed, running, timeless

if TYPE_CHECKING:
    from pathlib import Path


def bind(directory: Path, name: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / name))


def test_one_that_comes_and_goes_is_a_departure_once(short_dir: Path) -> None:
    newcomers = Newcomers(short_dir)
    bind(short_dir, "other.sock")
    newcomers.came("other.sock")
    assert set(newcomers.present) == {"other.sock"}

    newcomers.went("other.sock")

    departure = newcomers.take_departure()
    assert departure is not None
    assert departure.arrived_at <= departure.left_at
    assert newcomers.take_departure() is None
    assert not newcomers.present


def test_neither_we_nor_the_kubelet_nor_a_file_are_newcomers(short_dir: Path) -> None:
    newcomers = Newcomers(short_dir)
    newcomers.claim("own.sock")
    for name in ("own.sock", "kubelet.sock"):
        bind(short_dir, name)
    (short_dir / "kubelet_internal_checkpoint").write_text("{}")
    for name in ("own.sock", "kubelet.sock", "kubelet_internal_checkpoint", ".kubelet_internal_checkpoint42"):
        newcomers.came(name)
        newcomers.went(name)

    assert newcomers.take_departure() is None


def test_a_visit_that_ends_before_anybody_looks_is_one_all_the_same(short_dir: Path) -> None:
    newcomers = Newcomers(short_dir)
    newcomers.came("gone.sock")
    departure = newcomers.take_departure()
    assert departure is not None
    assert departure.arrived_at <= departure.left_at
    assert not newcomers.present
    newcomers.went("gone.sock")
    assert newcomers.take_departure() is None


def test_who_was_there_before_us_is_no_newcomer_and_comes_as_one_again(short_dir: Path) -> None:
    bind(short_dir, "resident.sock")
    newcomers = Newcomers(short_dir)
    newcomers.take_stock()
    assert not newcomers.present
    newcomers.went("resident.sock")
    assert newcomers.take_departure() is None

    newcomers.came("resident.sock")

    assert set(newcomers.present) == {"resident.sock"}


def test_who_was_there_before_us_and_went_is_a_newcomer_when_found_again(short_dir: Path) -> None:
    bind(short_dir, "resident.sock")
    newcomers = Newcomers(short_dir)
    newcomers.take_stock()
    (short_dir / "resident.sock").unlink()
    newcomers.went("resident.sock")
    bind(short_dir, "resident.sock")
    newcomers.take_stock()
    assert set(newcomers.present) == {"resident.sock"}


@timeless
async def test_a_departure_ends_the_wait_for_one_and_time_does_too(short_dir: Path) -> None:
    newcomers = Newcomers(short_dir)
    await newcomers.wait_departure(7.0)
    assert elapsed() == 7
    bind(short_dir, "other.sock")
    newcomers.came("other.sock")
    async with running(newcomers.wait_departure(100.0)) as waiting:
        await asyncio.sleep(2)
        assert not waiting.done()
        newcomers.went("other.sock")
        await waiting
    assert elapsed() == 9
    departure = newcomers.take_departure()
    assert departure == Departure(1007.0, 1009.0)
    await newcomers.wait_departure(1.0)
    assert elapsed() == 10, "one that was taken is over"


def test_what_happened_unseen_is_found_out(short_dir: Path) -> None:
    newcomers = Newcomers(short_dir)
    newcomers.take_stock()
    bind(short_dir, "other.sock")
    newcomers.take_stock()
    assert set(newcomers.present) == {"other.sock"}
    (short_dir / "other.sock").unlink()
    newcomers.take_stock()

    assert newcomers.take_departure() is not None


def test_several_departures_are_one_that_covers_them(short_dir: Path) -> None:
    newcomers = Newcomers(short_dir)
    for name in ("a.sock", "b.sock"):
        bind(short_dir, name)
        newcomers.came(name)
    arrived = dict(newcomers._arrived_at)
    newcomers.went("b.sock")
    newcomers.went("a.sock")

    departure = newcomers.take_departure()
    assert departure is not None
    assert departure.arrived_at == max(arrived.values())


@pytest.mark.parametrize(
    ("arrived_at", "left_at", "concerns"),
    [
        pytest.param(101, 200, True, id="it came and went after us"),
        pytest.param(95, 200, True, id="it made its socket with us, and may have registered after us"),
        pytest.param(80, 200, False, id="it was there long before us"),
        pytest.param(80, 90, False, id="it was gone before us"),
        pytest.param(90, 200, False, id="it was there just too long before us"),
        pytest.param(101, 100, False, id="it went in the moment in which we asked"),
        pytest.param(95, 99, False, id="it went before we asked to be registered"),
    ],
)
def test_only_a_plugin_that_may_have_registered_after_us_may_have_taken_our_place(
    arrived_at: float, left_at: float, concerns: bool
) -> None:
    assert neighbours._concerns(Departure(arrived_at, left_at), asked_at=100) is concerns
