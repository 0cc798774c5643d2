"""What is to be there after something was plugged in, as values."""

from __future__ import annotations

import pytest

import fakehw
from fakehw.errors import InputError
from fakehw.layout import TreePath
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
