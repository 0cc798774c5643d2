"""All that is told under the plugin's names, and what the two probes say, of a plugin that has everything."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakehw_plugin import device_metrics, logs, metrics, web
from fakehw_plugin.device import Health
from fakehw_plugin.devices.inventory import Inventory
from fakehw_plugin.devices.telemetry import Telemetry
from fakehw_plugin.offer import Offer
from fakehw_plugin.resource_name import ResourceName
from tests.factories import make_device, make_tree

R1, R2, R3 = (f"a.io/{number}" for number in (1, 2, 3))


def make_daemon(root: Path = Path("/tree"), **more: Any) -> Any:
    """Return as much of a daemon as is asked: R1 is served and ready, R2 is not, R3 waits, d.io is a DRA driver."""
    by_offer = {}
    for number, name in enumerate((R1, R2), 1):
        inventory = Inventory(name)
        for count in range(number):
            device = make_device(count + 1, class_name=f"dev{number}")
            inventory.apply({device.id: device})
        by_offer[Offer(ResourceName.parse(name))] = inventory
    device = make_device(9)
    inventory.left_out[device.id] = device
    counts = Telemetry()
    counts.count_change(R1, "node2", None, "Healthy")
    counts.count_change(R1, "node2", None, "Unhealthy")
    counts.registrations[R1, "ok"] = 3
    counts.registrations_ended[R1, "stream_lost"] = 4
    counts.streams_opened[R1] = 5
    counts.lists_sent[R1] = 6
    counts.allocations[R1, "invalid"] = 7
    counts.rpc_faults[R1, "allocate"] = 8
    counts.rescans["start"] = 9
    counts.slice_writes["d.io", "create"] = 10
    counts.claims["prepare", "ok"] = 11
    counts.api_errors["404"] = 12
    for seconds in (0.0004, 0.0005, 0.002, 5.0):
        counts.send_latency.observe(seconds)
    counts.publish_latency.observe(0.3)
    pool = SimpleNamespace(wanted=lambda: {"a": [], "b": []}, tainted=13)
    checkpoint = SimpleNamespace(prepared=dict.fromkeys("xyz"))
    driver = SimpleNamespace(
        pool=pool, preparation=SimpleNamespace(checkpoint=checkpoint), is_ready=True, state="registered, published"
    )
    values: dict[str, Any] = {
        "telemetry": counts,
        "inventories": SimpleNamespace(by_offer=by_offer),
        "device_plugin": SimpleNamespace(
            waiting={R3: None},
            sessions={
                R2: SimpleNamespace(is_ready=False, state="wait"),
                R1: SimpleNamespace(is_ready=True, state="live"),
            },
            lists={R1: SimpleNamespace(message=lambda: b"x" * 40), R2: SimpleNamespace(message=lambda: b"")},
        ),
        "dra": SimpleNamespace(drivers={"d.io": driver}),
        "pump": SimpleNamespace(tree_is_present=True, unwatched=None),
        "config": SimpleNamespace(device_metrics=False, root=root),
        "is_ready": False,
        "is_orphaned": False,
        **more,
    }
    return SimpleNamespace(**values)


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return every series of ours: its name and the values of its labels, in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("fakehw_")
    }


def page(daemon: Any, path: str = "/metrics") -> web.Answer:
    return metrics.pages(daemon, version="1.2.3")[path]()


def test_every_number_has_its_name_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "lines_lost", lambda: 14)
    monkeypatch.setattr(metrics.platform, "python_version", lambda: "3.11.7")
    answer = page(make_daemon())
    found = samples(answer.body.decode())
    buckets = {
        (*name, bound): 0.0
        for name in (("fakehw_send_latency_seconds_bucket",), ("fakehw_dra_publish_latency_seconds_bucket",))
        for bound in (
            "0.0005",
            "0.001",
            "0.0025",
            "0.005",
            "0.01",
            "0.025",
            "0.05",
            "0.1",
            "0.25",
            "0.5",
            "1.0",
            "+Inf",
        )
    }
    for name, bound in buckets:
        if name.startswith("fakehw_send"):
            buckets[name, bound] = {"0.0005": 2, "0.001": 2, "+Inf": 4}.get(bound, 3)
        else:
            buckets[name, bound] = 1 if bound in ("0.5", "1.0", "+Inf") else 0

    assert found == {
        ("fakehw_devices", "node2", "Healthy", R1): 1,
        ("fakehw_devices", "node2", "Unhealthy", R1): 1,
        ("fakehw_list_generation", R1): 1,
        ("fakehw_list_generation", R2): 2,
        ("fakehw_list_bytes", R1): 40,
        ("fakehw_list_bytes", R2): 0,
        ("fakehw_devices_left_out", R1): 0,
        ("fakehw_devices_left_out", R2): 1,
        ("fakehw_registered", R1): 1,
        ("fakehw_registered", R2): 0,
        ("fakehw_registered", R3): 0,
        ("fakehw_registrations_total", "ok", R1): 3,
        ("fakehw_registrations_ended_total", "stream_lost", R1): 4,
        ("fakehw_streams_opened_total", R1): 5,
        ("fakehw_lists_sent_total", R1): 6,
        ("fakehw_allocations_total", "invalid", R1): 7,
        ("fakehw_device_transitions_total", R1, "Healthy"): 1,
        ("fakehw_device_transitions_total", R1, "Unhealthy"): 1,
        ("fakehw_rpc_faults_total", "allocate", R1): 8,
        ("fakehw_rescans_total", "start"): 9,
        ("fakehw_dra_slices", "d.io"): 2,
        ("fakehw_dra_tainted_devices", "d.io"): 13,
        ("fakehw_dra_prepared_claims", "d.io"): 3,
        ("fakehw_dra_ready", "d.io"): 1,
        ("fakehw_dra_slice_writes_total", "d.io", "create"): 10,
        ("fakehw_dra_claims_total", "prepare", "ok"): 11,
        ("fakehw_dra_api_errors_total", "404"): 12,
        **buckets,
        ("fakehw_send_latency_seconds_count",): 4,
        ("fakehw_send_latency_seconds_sum",): pytest.approx(5.0029),
        ("fakehw_dra_publish_latency_seconds_count",): 1,
        ("fakehw_dra_publish_latency_seconds_sum",): 0.3,
        ("fakehw_tree_present",): 1,
        ("fakehw_watches_exhausted",): 0,
        ("fakehw_log_lines_lost_total",): 14,
        ("fakehw_build_info", "3.11.7", "1.2.3"): 1,
    }
    assert b"process_resident_memory_bytes" in answer.body
    assert b"python_gc_objects_collected_total" in answer.body


@pytest.mark.parametrize(("present", "unwatched"), [(True, None), (False, "no watches")])
def test_whether_the_tree_is_there_and_watched_is_told(present: bool, unwatched: str | None) -> None:
    pump = SimpleNamespace(tree_is_present=present, unwatched=unwatched)
    found = samples(page(make_daemon(pump=pump)).body.decode())
    assert found["fakehw_tree_present",] == int(present)
    assert found["fakehw_watches_exhausted",] == int(unwatched is not None)


@pytest.mark.parametrize("is_ready", [True, False])
def test_the_readiness_probe_says_of_every_part_how_it_is(is_ready: bool) -> None:
    assert page(make_daemon(is_ready=is_ready), "/readyz") == web.Answer(
        200 if is_ready else 503,
        b"[+] tree /tree\n[+] a.io/1 live\n[-] a.io/2 wait\n[+] d.io registered, published\n"
        b"[-] a.io/3 not served, no file descriptors\n",
    )


def test_a_tree_or_a_driver_that_is_not_ready_has_its_sign() -> None:
    daemon = make_daemon(pump=SimpleNamespace(tree_is_present=False, unwatched=None))
    daemon.dra.drivers["d.io"].is_ready = False
    lines = page(daemon, "/readyz").body.decode().splitlines()
    assert (lines[0], lines[3]) == ("[-] tree /tree", "[-] d.io registered, published")


def test_the_liveness_probe_fails_only_where_a_restart_helps() -> None:
    assert page(make_daemon(), "/healthz") == web.Answer(200, b"ok\n")
    assert page(make_daemon(is_orphaned=True), "/healthz") == web.Answer(
        503, b"the tree or the kubelet's directory was deleted under its mount\n"
    )


def test_there_are_three_pages() -> None:
    assert set(metrics.pages(make_daemon(), version="1")) == {"/metrics", "/healthz", "/readyz"}


@pytest.mark.parametrize("is_on", [True, False])
def test_series_for_each_device_are_there_where_they_are_asked_for(tmp_path: Path, is_on: bool) -> None:
    daemon = make_daemon(config=SimpleNamespace(device_metrics=is_on, root=tmp_path))
    found = samples(page(daemon).body.decode())
    assert (("fakehw_device_healthy", "node2-dev1-1", "node2", R1) in found) is is_on


def test_a_page_is_compressed_for_those_who_take_that_and_kept_for_each_kind_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "SPARING", 1e9)  # a busy machine is no matter then
    asked = metrics.pages(make_daemon(), version="1.2.3")["/metrics"]
    assert isinstance(asked, web.Negotiated)
    plain, packed = asked.make("", False), asked.make("", True)
    assert (plain.status, plain.encoding, packed.status, packed.encoding) == (200, "", 200, "gzip")
    assert samples(gzip.decompress(packed.body).decode()).keys() == samples(plain.body.decode()).keys()
    assert plain.content_type == packed.content_type == "text/plain; version=0.0.4; charset=utf-8"
    opened = asked.make("application/openmetrics-text; version=1.0.0", False)
    assert opened.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert opened.body.endswith(b"# EOF\n")
    assert asked.make("", False) is plain, "kept for as long as it is fresh"


# Series for each device.


def device_samples(root: Path, *inventories: Inventory) -> dict[tuple[str, ...], float]:
    collector = device_metrics.DeviceCollector(lambda: inventories, root)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def inventory_of(name: str, *devices: Any) -> Inventory:
    inventory = Inventory(name)
    inventory.apply({device.id: device for device in devices})
    return inventory


def test_a_device_has_its_health_its_reason_and_its_numbers(tmp_path: Path) -> None:
    make_tree(tmp_path, "node2/dev3/1", "node2/dev3/2")
    files = {"temperature": "61.5\n", "slots": "8", "model": "H100", "numa_node": "1", "node": "3", "nan": "nan",
             "inf": "inf", "uuid": "GPU-1"}  # fmt: skip  # in two lines
    for name, text in files.items():
        (tmp_path / "node2/dev3/1" / name).write_text(text)
    ill = make_device(2, health=Health.UNHEALTHY, reason="over temperature")
    found = device_samples(tmp_path, inventory_of(R1, make_device(1), ill))

    one, two = ("node2-dev3-1", "node2", R1), ("node2-dev3-2", "node2", R1)
    assert found == {
        ("fakehw_device_healthy", *one): 1,
        ("fakehw_device_healthy", *two): 0,
        ("fakehw_device_unhealthy_reason", two[0], two[1], "over temperature", R1): 1,
        ("fakehw_device_attribute", "slots", *one): 8,
        ("fakehw_device_attribute", "temperature", *one): 61.5,
        ("fakehw_device_series_left_out",): 0,
    }


def test_of_too_many_devices_the_first_have_series_in_the_order_of_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_metrics, "MAX_DEVICES", 3)
    devices = [make_device(number, node=node) for node in ("node10", "node2") for number in (10, 2)]
    found = device_samples(tmp_path, inventory_of(R2, make_device(1)), inventory_of(R1, *devices))

    assert [key[1] for key in found if key[0] == "fakehw_device_healthy"] == [
        "node2-dev3-2", "node2-dev3-10", "node10-dev3-2",
    ]  # fmt: skip  # in one line
    assert found["fakehw_device_series_left_out",] == 2


def test_of_too_many_numbers_the_first_have_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path, "node2/dev3/1", "node2/dev3/2", "node2/dev3/3")
    for number in (1, 2, 3):
        for name in "cab":
            (tmp_path / f"node2/dev3/{number}/{name}").write_text("7")
    monkeypatch.setattr(device_metrics, "MAX_ATTRIBUTES", 5)
    found = device_samples(tmp_path, inventory_of(R1, make_device(1), make_device(2), make_device(3)))

    assert [key[1:3] for key in found if key[0] == "fakehw_device_attribute"] == [
        ("a", "node2-dev3-1"), ("b", "node2-dev3-1"), ("c", "node2-dev3-1"), ("a", "node2-dev3-2"),
        ("b", "node2-dev3-2"),
    ]  # fmt: skip  # in two lines


def test_what_cannot_be_read_has_no_numbers_and_nothing_stays_open(tmp_path: Path) -> None:
    make_tree(tmp_path, "node2/dev3/1")
    (tmp_path / "node2/dev3/1/slots").write_text("8")
    (tmp_path / "node2/dev3/2").symlink_to("1")
    before = sorted(Path("/proc/self/fd").iterdir())
    found = device_samples(tmp_path, inventory_of(R1, make_device(1), make_device(2), make_device(3)))

    assert [key[1:3] for key in found if key[0] == "fakehw_device_attribute"] == [("slots", "node2-dev3-1")]
    assert sorted(Path("/proc/self/fd").iterdir()) == before


# How often a page is made.


def test_a_page_is_fresh_for_twenty_times_the_time_that_it_took() -> None:
    now, made = 100.0, 0

    def make() -> web.Answer:
        nonlocal now, made
        now, made = now + 0.5, made + 1
        return web.Answer(200, b"%d" % made)

    one = metrics.Sparing(make, clock=lambda: now)
    assert one().body == b"1"
    for at, body in ((110.49, b"1"), (110.5, b"2"), (120.99, b"2"), (121.0, b"3")):
        now = at
        assert one().body == body


def test_clients_that_ask_for_ever_other_formats_have_few_pages_kept() -> None:
    exposition = metrics.Exposition(metrics.CollectorRegistry())
    for number in range(100):
        exposition._pages[f"type {number}", False] = metrics.Sparing(lambda: web.Answer(200, b""))
        if number == 16:
            exposition("", False)
            assert len(exposition._pages) == 1
            break
    assert exposition("", False).status == 200
