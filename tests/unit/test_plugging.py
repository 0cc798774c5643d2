"""What is to be there after something was plugged in, as values."""

from __future__ import annotations

import pytest

import fakehw
from fakehw.errors import InputError
from fakehw.layout import TreePath
from fakehw.spec.topology import DeviceTemplate, FakeClass, FakeDevice, FakeNode, Topology
from fakehw.tree.plugging import Plugging, merged
from fakehw.tree.snapshot import FoundClass, FoundNode, Snapshot

SPEC = fakehw.make_topology(
    {
        "domain": "acme.io",
        "nodes": {
            "n": {
                "host": "h",
                "classes": {
                    "gpu": {"count": 2, "resource": "a.b/gpu", "numa_node": 1, "attributes": {"uuid": "U{number}"}},
                    "dev3": {"count": 1, "devices": {"1": {"health": "unhealthy"}}},
                },
            }
        },
    }
)
EMPTY = Snapshot()


def path(text: str) -> TreePath:
    return TreePath.parse(text)


def names(topology: fakehw.Topology) -> list[str]:
    return [
        f"{node.name}/{of.name}/{number}"
        for node in topology.nodes.values()
        for of in node.classes.values()
        for number in of.devices
    ]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("n", ["n/gpu/1", "n/gpu/2", "n/dev3/1"]),
        ("n/gpu", ["n/gpu/1", "n/gpu/2"]),
        ("n/gpu/2", ["n/gpu/2"]),
        ("n/gpu/7", ["n/gpu/7"]),
    ],
)
def test_a_part_of_the_spec_is_what_was_named(where: str, expected: list[str]) -> None:
    part = Plugging(SPEC, EMPTY).part(path(where))
    assert names(part) == expected
    assert part.nodes["n"].host == "h"
    assert next(of.resource for of in part.nodes["n"].classes.values()) == "a.b/gpu"


def test_a_device_is_as_the_spec_lists_it_or_as_its_class_is() -> None:
    known = Plugging(SPEC, EMPTY)
    assert known.part(path("n/dev3/1")).nodes["n"].classes["dev3"].devices[1].health == "unhealthy"
    assert known.part(path("n/dev3/2")).nodes["n"].classes["dev3"].devices[2].health == "healthy"
    seven = known.part(path("n/gpu/7")).nodes["n"].classes["gpu"].devices[7]
    assert seven.attributes == {"numa_node": "1", "uuid": "U7"}


@pytest.mark.parametrize(
    ("where", "rule"),
    [
        ("m", "is not a node of the applied spec"),
        ("n/dev9", "is not a class of the applied spec"),
        ("m/dev1/1", "there is no node m: say --create"),
        ("n/dev9/1", "there is no class dev9 in n: say --create"),
        ("n/npu/1", "there is no class npu in n: say --create"),
    ],
)
@pytest.mark.parametrize("spec", [SPEC, None])
def test_what_is_not_there_is_not_made_by_a_slip(where: str, rule: str, spec: fakehw.Topology | None) -> None:
    actual = Snapshot({"n": FoundNode()}) if spec is None else EMPTY
    with pytest.raises(InputError, match=rule):
        Plugging(spec, actual).part(path(where))


def test_what_is_to_be_made_gets_the_resource_of_its_domain() -> None:
    def resource(spec: fakehw.Topology | None) -> str:
        return Plugging(spec, EMPTY, may_create=True).part(path("m/dev9/1")).nodes["m"].classes["dev9"].resource

    assert resource(SPEC) == "acme.io/mydevice-9"
    assert resource(None) == "myplugin.io/mydevice-9"
    with pytest.raises(InputError, match="class npu must have a resource"):
        Plugging(SPEC, EMPTY, may_create=True).part(path("m/npu/1"))


def test_a_class_that_is_there_gets_one_more_device_whatever_its_resource() -> None:
    actual = Snapshot({"n": FoundNode(None, {"npu": FoundClass("x.y/npu")})})
    assert names(Plugging(None, actual).part(path("n/npu/4"))) == ["n/npu/4"]


def test_parts_are_merged_to_all_that_they_name() -> None:
    known = Plugging(SPEC, EMPTY)
    parts = [known.part(path(text)) for text in ("n/gpu/7", "n/gpu", "n/dev3/1", "n/gpu/1")]
    assert sorted(names(merged(parts))) == ["n/dev3/1", "n/gpu/1", "n/gpu/2", "n/gpu/7"]
    assert merged([]).nodes == {}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("n", True),
        ("m", False),
        ("n/gpu", True),
        ("n/npu", False),
        ("m/gpu", False),
        ("n/gpu/2", True),
        ("n/gpu/3", False),
    ],
)
def test_what_is_listed(where: str, expected: bool) -> None:
    assert Plugging(SPEC, EMPTY).is_listed(path(where)) is expected
    assert Plugging(None, EMPTY).is_listed(path(where)) is False


# Whole parts, and whole words.


def plain(topology: Topology) -> dict[str, object]:
    """Nodes as values that can be compared: what stands for many devices is made."""
    return {
        name: FakeNode(
            node.name,
            node.host,
            {key: FakeClass(of.name, of.resource, dict(of.devices), of.template, dict(of.settings)) for key, of in node.classes.items()},
            node.labels,
            node.taints,
        )
        for name, node in topology.nodes.items()
    }  # fmt: skip  # one mapping


OF_DRA = fakehw.make_topology(
    {
        "nodes": {
            "n": {
                "host": "h",
                "classes": {"gpu": {"count": 2, "resource": "a.b/gpu", "api": "dra", "types": {"a": "int"}}},
            },
            "m": {"classes": {"dev1": {"count": 1}}},
        }
    }
)
SETTINGS = {"api": "dra", "types": "a int"}


def test_a_device_comes_with_the_class_and_the_node_that_the_spec_lists() -> None:
    """Where they are gone, they are made: with host, resource and API as the spec says."""
    for number in (2, 7):
        part = Plugging(OF_DRA, EMPTY).part(path(f"n/gpu/{number}"))
        of_class = FakeClass("gpu", "a.b/gpu", {number: FakeDevice(number)}, DeviceTemplate(), SETTINGS)
        assert plain(part) == {"n": FakeNode("n", "h", {"gpu": of_class})}
    assert plain(Plugging(OF_DRA, EMPTY).part(path("m/dev1/1"))) == {
        "m": FakeNode(
            "m", None, {"dev1": FakeClass("dev1", "myplugin.io/mydevice-1", {1: FakeDevice(1)}, DeviceTemplate())}
        )
    }
    made = Plugging(None, EMPTY, may_create=True).part(path("k/dev2/3"))
    assert plain(made) == {
        "k": FakeNode(
            "k", None, {"dev2": FakeClass("dev2", "myplugin.io/mydevice-2", {3: FakeDevice(3)}, DeviceTemplate())}
        )
    }


def test_a_class_or_a_node_comes_as_the_spec_lists_it() -> None:
    known = Plugging(OF_DRA, EMPTY)
    gpu = FakeClass("gpu", "a.b/gpu", {1: FakeDevice(1), 2: FakeDevice(2)}, DeviceTemplate(), SETTINGS)
    assert plain(known.part(path("n/gpu"))) == {"n": FakeNode("n", "h", {"gpu": gpu})}
    assert plain(known.part(path("n"))) == {"n": FakeNode("n", "h", {"gpu": gpu})}


def test_parts_of_one_node_are_one_node_and_later_ones_add_to_it() -> None:
    known = Plugging(OF_DRA, EMPTY, may_create=True)
    parts = [known.part(path(text)) for text in ("n/gpu/7", "n/gpu/2", "m/dev1/1", "n/dev5/1")]
    devices = {7: FakeDevice(7), 2: FakeDevice(2)}
    result = merged(parts)
    assert list(result.nodes) == ["n", "m"]
    assert plain(result) == {
        "n": FakeNode(
            "n",
            "h",
            {
                "gpu": FakeClass("gpu", "a.b/gpu", devices, DeviceTemplate(), SETTINGS),
                "dev5": FakeClass("dev5", "myplugin.io/mydevice-5", {1: FakeDevice(1)}, DeviceTemplate()),
            },
        ),
        "m": FakeNode(
            "m", None, {"dev1": FakeClass("dev1", "myplugin.io/mydevice-1", {1: FakeDevice(1)}, DeviceTemplate())}
        ),
    }
    assert (result.document, result.only_host) == ({}, None)


@pytest.mark.parametrize(
    ("where", "actual", "may_create", "said"),
    [
        ("m", EMPTY, True, "/m: is not a node of the applied spec: name a device, such as /m/dev1/1 (PATH)"),
        ("n/dev9", EMPTY, True, "/n/dev9: is not a class of the applied spec: name a device, such as /n/dev9/1 (PATH)"),
        ("m/dev1/1", EMPTY, False, "/m/dev1/1: there is no node m: say --create to make it (PATH)"),
        ("n/dev9/1", EMPTY, False, "/n/dev9/1: there is no class dev9 in n: say --create to make it (PATH)"),
        ("m/dev1/1", Snapshot({"m": FoundNode()}), False, "/m/dev1/1: there is no class dev1 in m: say --create to make it (PATH)"),
        ("m/npu/1", EMPTY, True, "/m/npu/1: class npu must have a resource: add it to the spec and build (PATH)"),
    ],
)  # fmt: skip  # a case a row
def test_what_cannot_be_plugged_in_is_said_in_whole_words(
    where: str, actual: Snapshot, may_create: bool, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        Plugging(SPEC, actual, may_create=may_create).part(path(where))
    assert caught.value.lines == (said,)


def test_a_class_that_is_there_keeps_its_own_resource() -> None:
    actual = Snapshot({"n": FoundNode(None, {"npu": FoundClass("x.y/npu"), "dev8": FoundClass("x.y/npu")})})
    for name, resource in (("npu", ""), ("dev8", "acme.io/mydevice-8")):
        part = Plugging(SPEC, actual).part(path(f"n/{name}/4"))
        assert part.nodes["n"].classes[name].resource == resource, "only the device is made"
