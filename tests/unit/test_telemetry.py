from __future__ import annotations

from fakehw_plugin.devices import telemetry


def test_a_node_that_was_renamed_leaves_no_series() -> None:
    counts = telemetry.Telemetry()
    counts.count_change("r", "node2", None, "Healthy")
    counts.count_change("r", "node7", None, "Healthy")
    counts.count_change("r", "node2", "Healthy", "Unhealthy")
    assert counts.devices == {
        ("r", "node2"): {"Healthy": 0, "Unhealthy": 1},
        ("r", "node7"): {"Healthy": 1, "Unhealthy": 0},
    }

    counts.count_change("r", "node2", "Unhealthy", None)

    assert list(counts.devices) == [("r", "node7")]


def test_names_that_come_and_go_make_no_series_without_end() -> None:
    counts = telemetry.Telemetry()
    for number in range(1000):
        resource = f"example.org/r{number}"
        counts.remember(resource)
        for pairs in (counts.registrations, counts.registrations_ended, counts.allocations, counts.rpc_faults):
            pairs[resource, "ok"] += 1
        counts.streams_opened[resource] += 1
        counts.lists_sent[resource] += 1
        counts.count_change(resource, "node", None, "Healthy")
        counts.forget(resource)

    by_pair = (
        counts.registrations,
        counts.registrations_ended,
        counts.allocations,
        counts.rpc_faults,
        counts.transitions,
    )
    assert {len(pairs) for pairs in by_pair} == {100}
    assert len(counts.streams_opened) == len(counts.lists_sent) == 100
    assert "example.org/r999" in counts.streams_opened
    assert counts.devices == {}


def test_what_is_served_again_keeps_its_counts_however_many_come_and_go() -> None:
    counts = telemetry.Telemetry()
    counts.lists_sent["kept"] += 7
    counts.forget("kept")
    counts.remember("kept")
    for number in range(500):
        counts.forget(f"example.org/r{number}")

    assert counts.lists_sent["kept"] == 7


def test_an_observation_falls_into_the_bucket_that_bounds_it() -> None:
    histogram = telemetry.Histogram()
    for seconds in (0.0005, 0.0006, 2.0):
        histogram.observe(seconds)

    assert histogram.counts == [1, 1, *[0] * 9, 1]
    assert histogram.total_s == 2.0011
