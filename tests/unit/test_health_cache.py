"""What a kubelet remembers of what DRA drivers say of their devices (contract HL)."""

from __future__ import annotations

import pytest

from fakekubelet.clock import ManualClock
from fakekubelet.dra import health_cache
from kubeletapi.drahealth.v1 import api_pb2 as healthapi

A, B = ("pool", "a"), ("pool", "b")


def word(
    name: str, health: int = healthapi.HEALTHY, *, timeout_s: int = 0, message: str = ""
) -> healthapi.DeviceHealth:
    device = healthapi.DeviceIdentifier(pool_name="pool", device_name=name)
    return healthapi.DeviceHealth(device=device, health=health, health_check_timeout_seconds=timeout_s, message=message)


@pytest.fixture
def time_source() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(time_source: ManualClock) -> health_cache.HealthCache:
    return health_cache.HealthCache(time_source)


async def test_what_is_new_is_told_and_what_is_not_is_not(
    cache: health_cache.HealthCache, time_source: ManualClock
) -> None:
    assert cache.update("d", [word("a"), word("b")]) == {A, B}
    await time_source.advance(1)
    assert cache.update("d", [word("a"), word("b")]) == set()
    assert cache.update("d", [word("a", healthapi.UNHEALTHY)]) == {A}
    assert cache.update("d", [word("a", healthapi.UNHEALTHY, message="hot")]) == {A}
    assert cache.update("other", [word("a")]) == {A}
    assert cache.of("d", *A).health == "Unhealthy"
    assert cache.of("other", *A).health == "Healthy"


@pytest.mark.parametrize(("said_s", "counts_s"), [(0, 30), (5, 5), (100, 100)])
async def test_a_device_that_nobody_speaks_of_for_too_long_is_unknown_and_that_is_told_once(
    cache: health_cache.HealthCache, time_source: ManualClock, said_s: int, counts_s: int
) -> None:
    cache.update("d", [word("a", timeout_s=said_s)])
    await time_source.advance(counts_s)
    assert cache.of("d", *A).health == "Healthy", "just as long is not too long"
    assert cache.update("d", []) == set()
    await time_source.advance(0.001)
    assert cache.of("d", *A).health == "Unknown"
    assert cache.update("d", [word("b")]) == {A, B}
    assert cache.update("d", [word("b")]) == set()


def test_a_driver_that_ends_is_forgotten(cache: health_cache.HealthCache) -> None:
    cache.update("d", [word("a")])
    cache.forget("d")
    cache.forget("never seen")
    assert cache.of("d", *A).health == "Unknown"
    assert cache.update("d", [word("a")]) == {A}


@pytest.mark.parametrize(("length", "kept"), [(1024, 1024), (1025, 1024)])
def test_a_message_is_cut_where_it_is_longer_than_a_kubelet_keeps(
    cache: health_cache.HealthCache, length: int, kept: int
) -> None:
    cache.update("d", [word("a", message="x" * length)])
    message = cache.of("d", *A).message
    assert len(message) == kept
    assert message.endswith("...") == (length > 1024)


async def test_what_was_said_is_kept_whole_with_the_kubelets_time(
    cache: health_cache.HealthCache, time_source: ManualClock
) -> None:
    await time_source.advance(7)
    cache.update(
        "d", [word("a", healthapi.UNHEALTHY, timeout_s=5, message="hot"), word("b", healthapi.UNKNOWN, timeout_s=-1)]
    )
    assert cache.of("d", *A) == health_cache.DeviceHealth("Unhealthy", "hot", 5.0, time_source.time())
    assert cache.of("d", *B) == health_cache.DeviceHealth("Unknown", "", 30.0, time_source.time())
    assert cache.of("d", "other", "a") == cache.of("e", *A) == health_cache.DeviceHealth("Unknown", "", 30.0, 0.0)


async def test_a_device_that_is_left_out_keeps_its_time_and_one_that_aged_has_no_message(
    cache: health_cache.HealthCache, time_source: ManualClock
) -> None:
    cache.update("d", [word("a", timeout_s=5, message="fine"), word("b", timeout_s=50)])
    await time_source.advance(3)
    assert cache.update("d", [word("b", timeout_s=50)]) == set()
    await time_source.advance(3)
    assert cache.update("d", [word("b", timeout_s=50)]) == {A}
    assert cache.of("d", *A) == health_cache.DeviceHealth("Unknown", "", 5.0, time_source.time())
    assert cache.update("d", [word("a", timeout_s=5)]) == {A}
    assert cache.of("d", *A).health == "Healthy"


def test_another_timeout_is_news(cache: health_cache.HealthCache) -> None:
    cache.update("d", [word("a", timeout_s=5)])
    assert cache.update("d", [word("a", timeout_s=6)]) == {A}
    assert cache.update("d", [word("a", timeout_s=6)]) == set()


def test_a_letter_that_is_cut_through_is_replaced(cache: health_cache.HealthCache) -> None:
    cache.update("d", [word("a", message="\u00fc" * 600)])
    assert cache.of("d", *A).message == "\u00fc" * 510 + "\ufffd" + "..."
