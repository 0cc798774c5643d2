"""What a schema cannot say of a topology: all that is wrong with plain data, by its path and in whole words."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fakehw.spec import document, rules

ONE_NODE = "{index} is filled in below a range of nodes, such as node[1-3], and this is one node"


def problems(data: object) -> list[tuple[str, str]]:
    return [(document.dotted(path), text) for path, text in rules.problems(data)]


def of(text: str) -> list[tuple[str, str]]:
    return problems(yaml.safe_load(text))


def of_class(fields: str, node: str = "n", name: str = "dev1") -> list[tuple[str, str]]:
    return of(f"nodes: {{'{node}': {{classes: {{{name}: {fields}}}}}}}")


@pytest.mark.parametrize(
    "data",
    [
        None, 3, "x", [], {}, {"nodes": 3}, {"nodes": None}, {"nodes": {"n": 3}}, {"nodes": {"n": None}},
        {"nodes": {"n": {"classes": 3}}}, {"nodes": {"n": {"classes": {"gpu": 3, "B": {}, "host": {}}}}},
        {"nodes": {"n": {"labels": 3, "host": 3, "classes": {"gpu": {"resource": 3, "count": [], "devices": 3,
         "attributes": 3, "taints": 3}}}}},
        {"nodes": {"n": {"labels": {"x": 3}, "classes": {"dev1": {"attributes": {"a": 3}, "devices": {"x": 3}}}}}},
        {"domain": 3, "nodes": {"n": {"classes": {"dev1": {"count": "3"}}}}},
    ],
)  # fmt: skip  # a document a row
def test_what_is_malformed_is_left_to_the_schema(data: object) -> None:
    assert problems(data) == []


def test_a_key_that_is_no_range_of_nodes_is_told_and_nothing_more_is_said_of_it() -> None:
    assert of("nodes: {'a[3-2]': {host: '{x}', classes: {gpu: {count: 1}}}, b: {classes: {gpu: {count: 1}}}}") == [
        ("nodes.a[3-2]", "[3-2]: must begin with its lower number"),
        ("nodes.b.classes.gpu", "must have a resource, because it is not named devK"),
    ]


# Names.


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("'a[1-60000]': , 'b[1-40000]': ", []),
        ("'a[1-60000]': , 'b[1-40001]': ", [("nodes", "100001 nodes: must be at most 100000 in all")]),
        ("'a[1-3]': , a2: , 'a[3-4]': ", [("nodes.a2", "a2 is in a[1-3] already"), ("nodes.a[3-4]", "a3 is in a[1-3] already")]),
        ("a2: , 'a[1-3]': , b: ", [("nodes.a[1-3]", "a2 is in a2 already")]),
        ("'a[1-20]': , 'a1[0-5]': ", [("nodes.a1[0-5]", "a10 is in a[1-20] already")]),
        ("'a[1-3]': , a4: , 'b[1-3]': , a01: ", []),
    ],
)  # fmt: skip  # a case a row
def test_no_node_is_named_twice_and_there_are_not_too_many(nodes: str, expected: list[tuple[str, str]]) -> None:
    assert of(f"nodes: {{{nodes}}}") == expected


def test_of_as_many_nodes_as_there_may_be_resources_are_looked_for() -> None:
    assert of("nodes: {'a[1-100000]': {classes: {gpu: {}}}}") == [
        ("nodes.a[1-100000].classes.gpu", "must have a resource, because it is not named devK")
    ]


def test_of_too_many_nodes_no_resource_is_looked_for() -> None:
    assert of("nodes: {'a[1-100001]': {classes: {gpu: {}}}}") == [
        ("nodes", "100001 nodes: must be at most 100000 in all")
    ]


# Hosts, labels and placeholders.


@pytest.mark.parametrize(
    ("node", "fields", "expected"),
    [
        ("n", "host: h", []),
        ("n", "host: 'h-{node}'", []),
        ("n", "host: 'h-{index}'", [("nodes.n.host", f'"h-{{index}}": {ONE_NODE}')]),
        ("n[1-2]", "host: 'h-{index}'", []),
        ("n[1-2]", "host: 'h-{number}'", []),  # the schema tells
        ("N", "host: '{node}'", [("nodes.N.host", '"{node}": N: must be the name of a Kubernetes node, in lower case')]),
        ("N[1-2]", "host: '{node}'", [("nodes.N[1-2].host", '"{node}": N1: must be the name of a Kubernetes node, in lower case')]),
        ("n[1-2]_", "host: '{node}'", [("nodes.n[1-2]_.host", '"{node}": n1_: must be the name of a Kubernetes node, in lower case')]),
        ("n", "labels: {x: '{index}', y: '{node}', z: 3}", [("nodes.n.labels.x", f'"{{index}}": {ONE_NODE}')]),
        ("n[1-2]", "labels: {x: '{index}'}", []),
        (
            "n", "labels: {x: 'a-{index}'}, host: '{index}'",
            [("nodes.n.labels.x", f'"a-{{index}}": {ONE_NODE}'), ("nodes.n.host", f'"{{index}}": {ONE_NODE}')],
        ),
    ],
)  # fmt: skip  # a case a row
def test_a_host_and_a_label_are_looked_at_as_they_are_filled_in(
    node: str, fields: str, expected: list[tuple[str, str]]
) -> None:
    assert of(f"nodes: {{'{node}': {{{fields}}}}}") == expected


def test_the_longest_host_of_a_range_is_the_one_that_is_tried() -> None:
    """Of a range both ends are looked at: 10 is longer than 9."""
    for length, is_right in ((251, True), (252, False)):
        found = problems({"nodes": {"n[9-10]": {"host": "h" * length + "{index}"}, "n[7-8]": {"host": "h{index}"}}})
        assert [path for path, _ in found] == ([] if is_right else ["nodes.n[9-10].host"])
        if found:
            filled = "h" * 252 + "10"
            assert found[0][1] == f'"{"h" * 58}…: {filled}: must be the name of a Kubernetes node, in lower case'


def test_a_host_is_checked_with_its_braces_filled_in() -> None:
    for text in ("h", "{node}", "h-{index}", "a{node}.b{index}"):
        rules.check_host(text)
    with pytest.raises(ValueError, match=r"^\{id\} is no placeholder here; known are \{node\}, \{index\}, and"):
        rules.check_host("{id}")
    with pytest.raises(ValueError, match=r"^must be the name of a Kubernetes node: "):
        rules.check_host("{node}-")


def test_the_index_of_one_node_is_missing_wherever_it_is_asked_for() -> None:
    fields = (
        "{count: 1, attributes: {a: '{index}', b: '{{index}}', c: '{number}', d: 3, e: '{foo}{index}'}, "
        "devices: {'1': {attributes: {f: 'x{index}'}}, '2': , '3': {attributes: 3}}}"
    )
    assert of_class(fields) == [
        ("nodes.n.classes.dev1.attributes.a", f'"{{index}}": {ONE_NODE}'),
        ("nodes.n.classes.dev1.attributes.e", f'"{{foo}}{{index}}": {ONE_NODE}'),
        ("nodes.n.classes.dev1.devices.1.attributes.f", f'"x{{index}}": {ONE_NODE}'),
    ]
    assert of_class(fields, node="n[1-2]") == []


def test_a_node_after_a_range_is_looked_at_too() -> None:
    text = "{classes: {dev1: {attributes: {a: '{index}'}}}}"
    assert [path for path, _ in of(f"nodes: {{'n[1-2]': {text}, m: {text}}}")] == ["nodes.m.classes.dev1.attributes.a"]
    assert [path for path, _ in of("nodes: {a: {host: h}, b: {host: '{index}'}, c: {host: '{index}'}}")] == [
        "nodes.b.host",
        "nodes.c.host",
    ]


# Resources.

NO_RESOURCE = "must have a resource, because it is not named devK"


def user(host: str | None, name: str, resource: str | None = None) -> str:
    fields = "count: 1" + (f", resource: {resource}" if resource else "")
    return f"{{{f'host: {host}, ' if host else ''}classes: {{{name}: {{{fields}}}}}}}"


def users(*of_nodes: str) -> list[tuple[str, str]]:
    return of(f"nodes: {{{', '.join(f'n{number}: {fields}' for number, fields in enumerate(of_nodes))}}}")


@pytest.mark.parametrize(
    ("of_nodes", "expected"),
    [
        ([user(None, "gpu")], [("nodes.n0.classes.gpu", NO_RESOURCE)]),
        (
            [user(None, "gpu"), user(None, "dev1"), user(None, "npu")],
            [("nodes.n0.classes.gpu", NO_RESOURCE), ("nodes.n2.classes.npu", NO_RESOURCE)],
        ),
        ([user(None, "dev1"), user(None, "dev1")], []),
        ([user("a", "dev1"), user("b", "dev01")], []),
        (
            [user("a", "dev1"), user("a", "dev01")],
            [("nodes.n1.classes.dev01", "its variables DEV_1_ID_0, ... would be those of nodes.n0.classes.dev1, on one host")],
        ),
        (
            [user("a", "dev1"), user("b", "dev01"), user(None, "dev1")],
            [("nodes.n2.classes.dev1", "its variables DEV_1_ID_0, ... would be those of nodes.n1.classes.dev01, on one host")],
        ),
        (
            [user(None, "dev1"), user("b", "dev01")],
            [("nodes.n1.classes.dev01", "its variables DEV_1_ID_0, ... would be those of nodes.n0.classes.dev1, on one host")],
        ),
        ([user("a", "gpu", "x.y/a"), user("b", "gpu", "x.y/b"), user("a", "gpu", "x.y/a"), user("b", "gpu", "x.y/b")], []),
        (
            [user("a", "gpu", "x.y/a"), user("b", "gpu", "x.y/b"), user("b", "gpu", "x.y/a")],
            [("nodes.n2.classes.gpu.resource", '"x.y/a": must be "x.y/b", as in nodes.n1.classes.gpu: one class is one resource on a host')],
        ),
        (
            [user("a", "dev1", "x.y/a"), user("a", "dev1")],
            [("nodes.n1.classes.dev1", '"myplugin.io/mydevice-1": must be "x.y/a", as in nodes.n0.classes.dev1: one class is one resource on a host')],
        ),
        (
            [user("a", "gpu", "x.y/a"), user("b", "gpu", "x.y/b"), user(None, "gpu", "x.y/a"), user(None, "gpu", "x.y/b")],
            [
                ("nodes.n2.classes.gpu.resource", '"x.y/a": must be "x.y/b", as in nodes.n1.classes.gpu: one class is one resource on a host'),
                ("nodes.n3.classes.gpu.resource", '"x.y/b": must be "x.y/a", as in nodes.n0.classes.gpu: one class is one resource on a host'),
            ],
        ),
        ([user("a", "gpu", "x.y/a"), user("a", "npu", "x.y/a")], []),
    ],
)  # fmt: skip  # a case a row
def test_a_pod_can_tell_which_device_is_of_which_resource(of_nodes: list[str], expected: list[tuple[str, str]]) -> None:
    assert users(*of_nodes) == expected


def test_every_class_is_looked_at_after_one_that_is_right() -> None:
    classes = "{classes: {dev1: {}, gpu: {resource: %s}, npu: {resource: %s}, dev2: {}}}"
    text = f"nodes: {{a: {classes % ('x.y/a', 'x.y/a')}, b: {classes % ('x.y/b', 'x.y/b')}}}"
    assert [path for path, _ in of(text)] == ["nodes.b.classes.gpu.resource", "nodes.b.classes.npu.resource"]


def test_a_domain_makes_the_resource_of_a_class_that_names_none() -> None:
    text = "nodes: {n: {classes: {dev1: {}}}, m: {classes: {dev1: {resource: a.b/mydevice-1}}}}"
    assert of(f"domain: a.b\n{text}") == []
    assert of(text) == [
        (
            "nodes.m.classes.dev1.resource",
            '"a.b/mydevice-1": must be "myplugin.io/mydevice-1", as in nodes.n.classes.dev1: '
            "one class is one resource on a host",
        )
    ]


def test_each_host_of_a_range_is_compared() -> None:
    text = "nodes: {'a[1-3]': {host: 'w-{index}', classes: {gpu: {resource: a.b/c}}}, b: {host: %s, classes: {gpu: {resource: a.b/d}}}}"
    for host, clashes in (("w-1", True), ("w-3", True), ("w-4", False), ("w", False)):
        assert bool(of(text % host)) is clashes, host


def test_a_host_that_cannot_be_filled_in_is_the_schemas_to_tell() -> None:
    text = "nodes: {'a[1-3]': {host: '%s', classes: {gpu: {resource: a.b/c}}}, b: {host: w, classes: {gpu: {resource: a.b/d}}}}"
    assert of(text % "w-{number}") == []
    assert of(text % "{") == []


HOSTS = st.sampled_from(["a", "b", None])
KINDS = st.sampled_from([("gpu", "x.y/a"), ("gpu", "x.y/b"), ("dev1", "x.y/a"), ("dev01", "x.y/a")])


@given(st.lists(st.tuples(HOSTS, KINDS), max_size=5))
def test_a_clash_is_told_where_two_that_may_share_a_host_differ(made: list[tuple[str | None, tuple[str, str]]]) -> None:
    """By comparing all with all, which the rule itself does not do."""
    prefix = {"gpu": "GPU", "dev1": "1", "dev01": "1"}
    clashes = any(
        prefix[first[0]] == prefix[second[0]] and first != second and (host is None or other is None or host == other)
        for (host, first), (other, second) in itertools.combinations(made, 2)
    )
    assert bool(users(*(user(host, *kind) for host, kind in made))) is clashes


# Numbers of devices and files.


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ("1-4: , 3: , 4-6: , 5-7: ", [("4-6", "overlaps 1-4: a device may be in one range"), ("5-7", "overlaps 4-6: a device may be in one range")]),
        ("4-6: , 1-4: ", [("4-6", "overlaps 1-4: a device may be in one range")]),
        ("1-3: , 4-6: , 2: , 8: ", []),
        ("4-1: , x: , 9-8: , 01: ", [("4-1", "4-1: must begin with its lower number"), ("9-8", "9-8: must begin with its lower number")]),
    ],
)  # fmt: skip  # a case a row
def test_a_device_is_in_one_range(devices: str, expected: list[tuple[str, str]]) -> None:
    data = yaml.load(
        f"nodes: {{n: {{classes: {{dev1: {{devices: {{{devices}}}}}}}}}}}", Loader=yaml.BaseLoader
    )  # texts
    assert problems(data) == [(f"nodes.n.classes.dev1.devices.{key}", text) for key, text in expected]


def plain(nodes: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Problems of nodes with one class dev1 each."""
    return problems({"nodes": {name: {"classes": {"dev1": fields}} for name, fields in nodes.items()}})


@pytest.mark.parametrize(
    ("node", "fields", "longest"),
    [
        ("n" * 56, {"count": 1}, None),
        ("n" * 56, {"count": 9}, None),
        ("n" * 56, {"count": 10}, f"{'n' * 56}-dev1-10"),
        ("n" * 54, {"count": 1, "devices": {"100": {}}}, None),
        ("n" * 55, {"count": 1, "devices": {"100": {}}}, f"{'n' * 55}-dev1-100"),
        ("n" * 59, {"count": 0}, None),
        ("n" * 57, {"count": 1_000_001}, None),  # the schema tells, and counts as none
        ("n" * 57, {"count": 0, "devices": {"1": {}}}, f"{'n' * 57}-dev1-1"),
        ("n" * 54 + "[9-10]", {"count": 1}, None),
        ("n" * 55 + "[9-10]", {"count": 1}, f"{'n' * 55}10-dev1-1"),
        ("n" * 55 + "[8-9]", {"count": 1}, None),
    ],
)
def test_an_id_has_at_most_63_characters(node: str, fields: dict[str, Any], longest: str | None) -> None:
    said = f"the device ID {longest} would be longer than 63 characters"
    assert plain({node: fields}) == ([] if longest is None else [(f"nodes.{node}.classes.dev1", said)])


@pytest.mark.parametrize(
    ("nodes", "total"),
    [
        ({"a": {"count": 1_000_000}}, None),
        ({"a": {"count": 1_000_001}}, None),  # the schema tells, and counts as none
        ({"a": {"count": 1_000_000, "devices": {"0": {}}}}, 1_000_001),
        ({"a": {"count": 1_000_000, "devices": {"1": {}, "5-9": {}}}}, None),
        ({"a": {"count": 999_999}, "b": {"count": 1}}, None),
        ({"a": {"count": 1_000_000}, "b": {"count": 1}}, 1_000_001),
        ({"a[1-2]": {"count": 500_000}}, None),
        ({"a[1-2]": {"count": 500_000, "devices": {"3": {}, "500001": {}}}}, 1_000_002),
        ({"a": {"devices": {"0-999999": {}}}}, None),
        ({"a": {"devices": {"0-1000000": {}}}}, 1_000_001),
    ],
)
def test_there_are_at_most_a_million_devices_in_all(nodes: dict[str, dict[str, Any]], total: int | None) -> None:
    said = [("nodes", f"{total} devices: must be at most 1000000 in all")]
    assert plain(nodes) == ([] if total is None else said)


EIGHT = {f"a{number}": "x" for number in range(8)}


@pytest.mark.parametrize(
    ("nodes", "total"),
    [
        ({"a": {"count": 1_000_000, "attributes": EIGHT}}, None),
        ({"a": {"count": 1_000_000, "attributes": EIGHT, "taints": {"t": "None"}}}, 11_000_000),
        ({"a": {"count": 1_000_000, "attributes": EIGHT, "devices": {"1": {"attributes": {"b": "x"}}}}}, 10_000_001),
        ({"a": {"count": 1_000_000, "attributes": EIGHT, "devices": {"1": {"taints": {"b": "None"}}}}}, 10_000_001),
        ({"a": {"count": 1_000_000, "attributes": EIGHT, "devices": {"1": {}, "2": {}}}}, None),
        ({"a[1-2]": {"count": 500_000, "attributes": EIGHT}}, None),
        ({"a[1-2]": {"count": 500_000, "attributes": EIGHT, "devices": {"1-3": {"attributes": {"b": ""}}}}}, 10_000_006),
        ({"a": {"count": 500_000, "attributes": EIGHT}, "b": {"count": 500_000, "attributes": {**EIGHT, "b": ""}}}, 10_500_000),
    ],
)  # fmt: skip  # a case a row
def test_there_are_at_most_ten_million_files_of_devices(nodes: dict[str, dict[str, Any]], total: int | None) -> None:
    """Health and perhaps numa_node, attributes and taints of each, and those of its own."""
    said = [("nodes", f"{total} attributes of devices: must be at most 10000000 in all")]
    assert plain(nodes) == ([] if total is None else said)
