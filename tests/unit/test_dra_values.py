"""How devices are called, placed and told by DRA; what a claim says; what a container gets."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin import allocation
from fakehw_plugin.attribute import Attribute, AttributeType, Details, Effect, Taint
from fakehw_plugin.device import DeviceID, Health
from fakehw_plugin.deviceplugin import answers
from fakehw_plugin.dra import cdi, claim, health_list, names, placement, servicer
from fakehw_plugin.dra.entry import entry
from fakehw_plugin.dra.pool import DevicePool, PoolListing
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.drahealth.v1 import api_pb2 as health_v1
from tests.factories import make_device

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


# Names.


def test_a_device_is_called_by_its_id() -> None:
    assert names.device_name("node2-dev3-2") == "node2-dev3-2"


@given(st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9._-]{0,40}[A-Za-z0-9])?-[a-z][a-z0-9_]{0,10}-[0-9]{1,9}\Z"))
def test_any_id_becomes_a_label(device_id: str) -> None:
    assert LABEL.fullmatch(names.device_name(device_id))


def test_ids_that_look_alike_keep_names_of_their_own() -> None:
    alike = ["node-a_b-1", "node-a-b-1", "Node-a_b-1", "node.a_b-1"]

    assert len({names.device_name(device_id) for device_id in alike}) == len(alike)


@given(st.integers(0, 0xFFFFF), st.from_regex(r"\A[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?\Z").filter(SUBDOMAIN.fullmatch))
def test_slices_have_valid_names_of_their_own(index: int, node: str) -> None:
    name = names.slice_name(index, driver="myplugin.io", node=node)

    assert len(name) <= 253
    assert SUBDOMAIN.fullmatch(name)
    assert name != names.slice_name(index + 1, driver="myplugin.io", node=node)


# Placement.


@given(st.sets(st.integers(0, 300)), st.sets(st.integers(0, 300)))
def test_devices_stay_in_their_slices(first: set[int], second: set[int]) -> None:
    was = placement.place([str(number) for number in sorted(first)], {})

    now = placement.place([str(number) for number in sorted(second)], was)

    assert set(now) == {str(number) for number in second}
    assert all(now[name] == was[name] for name in now.keys() & was.keys())
    counts = [list(now.values()).count(index) for index in set(now.values())]
    assert all(count <= placement.MAX_DEVICES for count in counts)


def pool_of(count: int) -> DevicePool:
    pool = DevicePool(driver="myplugin.io", node="kind-worker2")
    for number in range(1, count + 1):
        pool.put(make_device(number))
    pool.publish()
    return pool


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, [0]), (1, [1]), (63, [63]), (64, [64]), (65, [64, 1]), (128, [64, 64]), (129, [64, 64, 1])]
)
def test_a_slice_has_at_most_64_devices_and_there_is_always_one(count: int, sizes: list[int]) -> None:
    wanted = pool_of(count).wanted()

    assert [len(devices) for devices in wanted.values()] == sizes
    assert list(wanted) == sorted(wanted)
    numbers = [device["attributes"]["number"]["int"] for devices in wanted.values() for device in devices]
    assert numbers == list(range(1, count + 1))


def test_a_flip_makes_one_slice_anew() -> None:
    pool = pool_of(1000)
    before = pool.wanted()

    pool.put(make_device(500, health=Health.UNHEALTHY))
    after = pool.wanted()

    assert [name for name in before if after[name] is not before[name]] == ["00007-myplugin.io-kind-worker2"]


def test_the_last_slices_go_when_they_are_empty_and_one_in_between_stays() -> None:
    pool = pool_of(130)
    for number in range(65, 129):
        pool.remove(DeviceID(f"node2-dev3-{number}"))
    assert [len(devices) for devices in pool.wanted().values()] == [64, 0, 2]

    for number in (129, 130):
        pool.remove(DeviceID(f"node2-dev3-{number}"))

    assert [len(devices) for devices in pool.wanted().values()] == [64]


def test_devices_are_found_again_where_published_slices_have_them() -> None:
    pool = pool_of(70)
    slices = {
        name: {"spec": {"devices": devices}}
        for name, devices in zip(pool.wanted(), reversed(pool.wanted().values()), strict=True)
    }

    pool.adopt(pool.places(slices))

    assert [len(devices) for devices in pool.wanted().values()] == [6, 64]


def test_devices_are_seen_together_once_they_are_published() -> None:
    pool = DevicePool(driver="myplugin.io", node="kind-worker2")
    listing, other = PoolListing(pool), PoolListing(pool)
    other.put(DeviceID("node2-dev9-9"), make_device(9, class_name="dev9"))
    for number in (1, 2, 3):
        listing.put(make_device(number).id, make_device(number))
    listing.remove(make_device(3).id)

    other.publish()
    assert [len(devices) for devices in pool.wanted().values()] == [1], "the three of the other class are not whole yet"
    listing.publish()
    assert [len(devices) for devices in pool.wanted().values()] == [3]
    assert set(pool.devices) == {"node2-dev9-9", "node2-dev3-1", "node2-dev3-2"}


@given(st.lists(st.tuples(st.integers(1, 200), st.booleans()), max_size=300))
def test_a_pool_has_what_was_put_and_not_removed(steps: list[tuple[int, bool]]) -> None:
    pool, present = pool_of(0), set()
    for number, is_there in steps:
        if is_there:
            pool.put(make_device(number))
            present.add(number)
        elif number in present:
            pool.remove(make_device(number).id)
            present.discard(number)

    wanted = pool.wanted()

    found = [device["name"] for devices in wanted.values() for device in devices]
    assert sorted(found) == sorted(f"node2-dev3-{number}" for number in present)
    assert all(len(devices) <= placement.MAX_DEVICES for devices in wanted.values())


# What is told of a device.


def test_a_plain_device_says_where_it_stands() -> None:
    assert entry(make_device(2, numa_node=1), driver="myplugin.io") == {
        "name": "node2-dev3-2",
        "attributes": {
            "node": {"string": "node2"},
            "class": {"string": "dev3"},
            "number": {"int": 2},
            "resource.kubernetes.io/numaNode": {"int": 1},
        },
    }


def test_attributes_have_their_types_and_capacities_a_place_of_their_own() -> None:
    attributes = (
        Attribute("model", AttributeType.STRING, "H100"),
        Attribute("slots", AttributeType.INT, 4),
        Attribute("ecc", AttributeType.BOOL, False),
        Attribute("firmware", AttributeType.VERSION, "1.2.3"),
        Attribute("memory", AttributeType.CAPACITY, "80Gi"),
    )

    found = entry(make_device()._replace(details=Details(attributes)), driver="d.io")

    assert found["capacity"] == {"memory": {"value": "80Gi"}}
    del found["attributes"]["node"], found["attributes"]["class"], found["attributes"]["number"]
    assert found["attributes"] == {
        "model": {"string": "H100"},
        "slots": {"int": 4},
        "ecc": {"bool": False},
        "firmware": {"version": "1.2.3"},
    }


@pytest.mark.parametrize("effect", Effect)
def test_an_unhealthy_device_has_a_taint_with_the_effect_of_its_class(effect: Effect) -> None:
    device = make_device(health=Health.UNHEALTHY, reason="over temperature")

    found = entry(device._replace(details=device.details._replace(unhealthy_effect=effect)), driver="myplugin.io")

    assert found["taints"] == [{"key": "myplugin.io/unhealthy", "value": "over-temperature", "effect": effect.value}]


def test_further_taints_stand_beside_it_each_key_once() -> None:
    taints = (
        Taint("drain", "", Effect.NO_EXECUTE),
        Taint("x.io/y", "48", Effect.NONE),
        Taint("unhealthy", "", Effect.NONE),
    )
    device = make_device(health=Health.UNHEALTHY)._replace(details=Details(taints=taints))

    assert entry(device, driver="d.io")["taints"] == [
        {"key": "d.io/unhealthy", "effect": "NoSchedule"},
        {"key": "d.io/drain", "effect": "NoExecute"},
        {"key": "x.io/y", "value": "48", "effect": "None"},
    ]


def test_a_device_never_passes_the_limits_of_a_slice() -> None:
    attributes = tuple(Attribute(f"a{number}", AttributeType.CAPACITY, "1") for number in range(64))
    taints = tuple(Taint(f"t{number}", "", Effect.NONE) for number in range(64))

    found = entry(make_device(numa_node=0)._replace(details=Details(attributes, taints)), driver="d.io")

    assert len(found["attributes"]) + len(found["capacity"]) == 32
    assert len(found["taints"]) == 16


@given(st.text(), st.sampled_from(Health))
def test_a_health_fragment_is_what_protobuf_would_write(reason: str, health: Health) -> None:
    device = make_device(health=health, reason=reason)
    expected = health_v1.NodeWatchResourcesResponse()
    expected.devices.add(
        device=health_v1.DeviceIdentifier(pool_name="p", device_name="d"),
        health=health_v1.HEALTHY if device.is_healthy else health_v1.UNHEALTHY,
        last_updated_time=1_800_000_000,
        message=health_list.cut(reason, 1024).decode(),
    )

    found = health_list.health_fragment("p", "d", device, at=1_800_000_000)

    assert found == expected.SerializeToString(deterministic=True)


def test_a_long_reason_is_cut_between_characters() -> None:
    assert health_list.cut("é" * 1000, 1023) == ("é" * 511).encode()


# Claims.

REFERENCE = claim.Reference("default", "c", "uid")


def a_claim(*results: dict[str, object], uid: str = "uid", **annotations: str) -> dict[str, object]:
    return {
        "metadata": {"uid": uid, "annotations": annotations},
        "status": {"allocation": {"devices": {"results": list(results)}}},
    }


def result(device: str, **more: object) -> dict[str, object]:
    return {"request": "r", "driver": "d.io", "pool": "p", "device": device, **more}


def parse(found: dict[str, object]) -> claim.Claim:
    return claim.parse(found, REFERENCE, driver="d.io", pool="p")


def test_a_claim_is_read_without_what_other_drivers_have_and_without_subrequests() -> None:
    found = a_claim(
        result("a", request="r/sub", adminAccess=True, shareID="s"),
        result("b", driver="other.io", pool="elsewhere"),
        result("c"),
        **{claim.EXTENDED: "true"},
    )

    assert parse(found) == claim.Claim(
        (claim.Result("r", "a", "s", is_admin=True), claim.Result("r", "c")), is_extended=True
    )


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (a_claim(uid="other"), "claim default/c was replaced"),
        ({"metadata": {"uid": "uid"}}, "claim default/c is not allocated"),
        (a_claim(result("a", pool="q")), "device q/a is not one of this node's"),
    ],
)
def test_a_claim_that_is_not_for_us_is_refused_in_words(found: dict[str, object], complaint: str) -> None:
    with pytest.raises(claim.ClaimError, match=complaint):
        parse(found)


# What a container gets.


def test_a_cdi_file_gives_what_the_device_plugin_gives() -> None:
    device = make_device(2, has_device_node=True)
    ((_, variable),) = allocation.variables([device])
    granted = allocation.grant(device.path, variable, has_device_node=True, host_root="/fakehw/")
    by_plugin = pluginapi.AllocateResponse.FromString(answers.container([device], host_root="/fakehw/"))
    (answer,) = by_plugin.container_responses

    (found,) = cdi.spec("myplugin.io", "uid", [("node2-dev3-2", granted)])["devices"]

    assert granted == allocation.Allocation(
        dict(answer.envs),
        tuple(allocation.BindMount(mount.container_path, mount.host_path) for mount in answer.mounts),
        tuple(allocation.BindMount(node.container_path, node.host_path) for node in answer.devices),
    )
    assert found == {
        "name": "uid-node2-dev3-2",
        "containerEdits": {
            "env": ["DEV_3_ID_0=/node2/dev3/2"],
            "mounts": [
                {
                    "hostPath": "/fakehw/node2/dev3/2",
                    "containerPath": "/node2/dev3/2",
                    "options": ["rbind", "rprivate", "ro"],
                }
            ],
            "deviceNodes": [
                {"path": "/node2/dev3/2/node", "hostPath": "/fakehw/node2/dev3/2/node", "permissions": "rw"}
            ],
        },
    }


def test_a_cdi_file_says_a_version_that_containerd_1_7_knows_and_has_the_names_of_its_ids() -> None:
    spec = cdi.spec("0driver.io", "uid", [("a", allocation.Allocation({}))])

    assert tuple(map(int, spec["cdiVersion"].split("."))) <= (0, 7, 0)
    assert f"{spec['kind']}={spec['devices'][0]['name']}" == cdi.device_id("0driver.io", "uid", "a")
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]/[A-Za-z][A-Za-z0-9_.-]*", spec["kind"])
    json.dumps(spec)


@pytest.mark.parametrize("uid", ["", "../x", "a/b", ".x", "a" * 300, "x\n"])
def test_a_uid_that_is_no_part_of_a_file_name_is_not_usable(uid: str) -> None:
    assert not cdi.is_usable(uid)


def test_the_devices_of_a_claim_are_told_by_their_ids() -> None:
    devices = [SimpleNamespace(device_id=name) for name in ("node2-dev3-1", "node2-dev3-2")]

    assert servicer._ids(devices) == "node2-dev3-1, node2-dev3-2"
