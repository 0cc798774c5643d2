"""From a document to nodes, classes and devices: what a spec says of each, and the same written out line by line."""

from __future__ import annotations

import io

import pytest

import fakehw
from fakehw.spec import check, entries, expanded
from fakehw.spec.topology import DeviceTemplate, FakeClass, FakeDevice, FakeNode, Topology

SPEC = b"""\
domain: a.b
nodes:
  n[08-10]:
    host: 'h-{index}'
    labels: {zone: 'z-{node}-{index}'}
    taints: ['a=b:NoExecute']
    classes:
      dev3:
        count: 2
        api: dra
        driver: d.io
        unhealthy_effect: None
        types: {slots: int, memory: capacity}
        numa_node: 0
        attributes: {u: 'U-{index}-{number}', b: '{{x}}', on: true}
        taints: {t: 'k=v:None'}
        devices:
          5-6: {health: 'Unhealthy  hot', attributes: {u: x}, device_node: null}
          6: {numa_node: 1, health: healthy ok}
          0: {taints: {s: None, t: NoExecute}}
          1:
      gpu: {count: 0, resource: x.y/gpu}
  'true': {}
  m:
  '7': {host: '42', classes: {dev1: {devices: {}, driver: '9'}}, labels: {}, taints: []}
"""


def topology(raw: bytes, host: str | None = None) -> Topology:
    return check.read_topology(io.BytesIO(raw), source="t", host=host)


SETTINGS = {"api": "dra", "driver": "d.io", "unhealthy_effect": "None", "types": "slots int\nmemory capacity"}
COMMON = {"b": "{x}", "on": "true", "taints/t": "k=v:None", "numa_node": "0"}


def test_a_node_is_what_its_entry_says() -> None:
    made = topology(SPEC)

    assert list(made.nodes) == ["n08", "n09", "n10", "true", "m", "7"]
    assert len(made.nodes) == 6
    node = made.nodes["n09"]
    assert (node.name, node.host, node.labels, node.taints) == ("n09", "h-09", {"zone": "z-n09-09"}, ("a=b:NoExecute",))
    assert list(node.classes) == ["dev3", "gpu"]
    assert made.nodes["m"] == FakeNode("m", None, {}, {}, ())
    seven = made.nodes["7"]
    assert (seven.host, seven.labels, seven.taints, dict(seven.classes["dev1"].devices)) == ("42", {}, (), {})
    assert (made.only_host, made.document["domain"], made.device_count) == (None, "a.b", 15)


def test_a_class_is_its_own_over_what_it_is_by_its_name() -> None:
    classes = topology(SPEC).nodes["n09"].classes

    assert (classes["dev3"].name, classes["dev3"].resource, classes["dev3"].settings) == (
        "dev3", "a.b/mydevice-3", SETTINGS,
    )  # fmt: skip  # one comparison
    assert classes["dev3"].template == DeviceTemplate(
        "healthy",
        {"u": "U-{index}-{number}", "b": "{{x}}", "on": "true", "taints/t": "k=v:None", "numa_node": "0"},
        None,
    )
    assert (classes["gpu"].resource, classes["gpu"].settings, len(classes["gpu"].devices)) == ("x.y/gpu", {}, 0)
    assert topology(b"nodes: {n: {classes: {dev2: {count: 1}}}}").nodes["n"].classes["dev2"].resource == (
        "myplugin.io/mydevice-2"
    )


def test_a_device_is_laid_over_its_range_and_that_over_its_class() -> None:
    devices = topology(SPEC).nodes["n09"].classes["dev3"].devices

    assert dict(devices) == {
        0: FakeDevice(0, "healthy", {"u": "U-09-0", **COMMON, "taints/t": "NoExecute", "taints/s": "None"}, None),
        1: FakeDevice(1, "healthy", {"u": "U-09-1", **COMMON}, None),
        2: FakeDevice(2, "healthy", {"u": "U-09-2", **COMMON}, None),
        5: FakeDevice(5, "unhealthy hot", {"u": "x", **COMMON}, "null"),
        6: FakeDevice(6, "healthy ok", {"u": "x", **COMMON, "numa_node": "1"}, "null"),
    }
    assert len(devices) == 5
    for absent in (3, 4, 7, -1, "1"):
        assert absent not in devices
    for absent in (3, 7):
        with pytest.raises(KeyError) as caught:
            devices[absent]
        assert caught.value.args == (absent,)


@pytest.mark.parametrize(
    ("fields", "health", "attributes", "device_node"),
    [
        ({}, "unhealthy old", {"a": "1", "numa_node": "3"}, "zero"),
        ({"health": "healthy"}, "healthy", {"a": "1", "numa_node": "3"}, "zero"),
        ({"numa_node": -1}, "unhealthy old", {"a": "1", "numa_node": "-1"}, "zero"),
        ({"device_node": None}, "unhealthy old", {"a": "1", "numa_node": "3"}, "null"),
        ({"device_node": "full"}, "unhealthy old", {"a": "1", "numa_node": "3"}, "full"),
        ({"attributes": {"a": 2, "b": 1.5, "c": True}}, "unhealthy old", {"a": "2", "b": "1.5", "c": "true", "numa_node": "3"}, "zero"),
        ({"attributes": None, "taints": None}, "unhealthy old", {"a": "1", "numa_node": "3"}, "zero"),
        ({"taints": {"t": "None"}}, "unhealthy old", {"a": "1", "numa_node": "3", "taints/t": "None"}, "zero"),
    ],
)  # fmt: skip  # a case a row
def test_what_is_said_is_laid_over_a_template_and_the_rest_stays(
    fields: dict[str, object], health: str, attributes: dict[str, str], device_node: str
) -> None:
    before = DeviceTemplate("unhealthy old", {"a": "1", "numa_node": "3"}, "zero")

    assert before.overridden(fields) == DeviceTemplate(health, attributes, device_node)
    assert before.attributes == {"a": "1", "numa_node": "3"}, "which stays as it was"


def test_a_template_fills_in_where_the_device_is() -> None:
    template = DeviceTemplate("healthy", {"a": "{node}/{class}/{number}/{id}", "b": "{{}}", "c": "x"})

    assert template.make("n", "gpu", 4).attributes == {"a": "n/gpu/4/n-gpu-4", "b": "{}", "c": "x"}
    assert DeviceTemplate(attributes={"a": "{index}"}).make("n", "gpu", 4, index="07").attributes == {"a": "07"}
    with pytest.raises(ValueError, match=r"^\{index\} is no placeholder here"):
        DeviceTemplate(attributes={"a": "{index}"}).make("n", "gpu", 4)
    assert DeviceTemplate(attributes={"a": "x"}, device_node="zero").make("n", "g", 1) == FakeDevice(
        1, "healthy", {"a": "x"}, "zero"
    )
    assert (DeviceTemplate(), FakeDevice(3)) == (
        DeviceTemplate("healthy", {}, None),
        FakeDevice(3, "healthy", {}, None),
    )


def test_ranges_of_devices_may_come_in_any_order() -> None:
    fields = "{devices: {7-9: {attributes: {a: c}}, 8: {attributes: {b: x}}, 1-3: {attributes: {a: a}}, 4-5: }}"
    devices = topology(f"nodes: {{n: {{classes: {{dev1: {fields}}}}}}}".encode()).nodes["n"].classes["dev1"].devices

    assert {number: device.attributes for number, device in devices.items()} == {
        1: {"a": "a"}, 2: {"a": "a"}, 3: {"a": "a"}, 4: {}, 5: {}, 7: {"a": "c"}, 8: {"a": "c", "b": "x"}, 9: {"a": "c"},
    }  # fmt: skip  # one mapping


@pytest.mark.parametrize(
    ("host", "names"),
    [
        (None, ["a", "b", "c", "r1", "r2", "s3", "s4"]),
        ("", ["a", "b", "c", "r1", "r2", "s3", "s4"]),
        ("h1", ["a", "c", "r1"]),
        ("h2", ["b", "c", "r2"]),
        ("fix", ["c", "s3", "s4"]),
        ("h3", ["c"]),
    ],
)
def test_a_host_keeps_its_nodes_and_those_of_any(host: str | None, names: list[str]) -> None:
    raw = b"nodes: {a: {host: h1}, b: {host: h2}, c: , 'r[1-2]': {host: 'h{index}'}, 's[3-4]': {host: fix}}"
    made = topology(raw, host=host)

    assert list(made.nodes) == names
    assert len(made.nodes) == len(names)
    assert [made.nodes[name].name for name in names] == names
    assert made.only_host == host


def test_a_node_that_a_spec_does_not_have_is_a_key_error() -> None:
    nodes = topology(b"nodes: {a: , 'r[1-2]': , 'r[5-6]x': , 'ra[1-2]': }").nodes

    assert [nodes[name].name for name in ("a", "r1", "r6x", "ra2")] == ["a", "r1", "r6x", "ra2"]
    for name in ("b", "r", "r3", "r5", "rx", "", "ra", "r1x"):
        with pytest.raises(KeyError) as caught:
            nodes[name]
        assert caught.value.args == (name,)
        assert name not in nodes


def test_device_numbers_are_counted_from_one_and_joined_by_the_explicit_ones() -> None:
    assert list(entries.device_numbers(3, [range(0, 1), range(3, 6)])) == [0, 1, 2, 3, 4, 5]
    assert list(entries.device_numbers(0, [])) == []


def test_what_may_stand_in_the_braces_of_a_node() -> None:
    assert entries.host_names("n1", "1") == {"node": "n1", "index": "1"}
    assert entries.host_names("n", None) == {"node": "n"}


def test_a_topology_without_character_devices_is_otherwise_the_same() -> None:
    made = topology(SPEC)
    bare = made.without_device_nodes()

    assert (made.device_node, bare.device_node) == ("null", None)
    assert list(bare.nodes) == list(made.nodes)
    assert len(bare.nodes) == 6
    assert "n09" in bare.nodes
    assert "x" not in bare.nodes
    assert (bare.document, bare.only_host, bare.device_count) == (made.document, None, 15)
    devices = bare.nodes["n09"].classes["dev3"].devices
    assert (list(devices), len(devices), 5 in devices, 3 in devices) == ([0, 1, 2, 5, 6], 5, True, False)
    assert devices[5] == FakeDevice(5, "unhealthy hot", {"u": "x", **COMMON}, None)
    of_zero = topology(b"nodes: {n: {classes: {dev1: {count: 1, device_node: zero}}}}")
    assert of_zero.device_node == "zero"
    assert of_zero.without_device_nodes().nodes["n"].classes["dev1"].template == DeviceTemplate()


def test_topologies_are_compared_by_what_they_describe() -> None:
    """A node's classes are mappings of their own kind, so that of the documents and hosts nothing is compared."""
    nodes = {"n": FakeNode("n", "h", {"dev1": FakeClass("dev1", "a.b/c", {}, DeviceTemplate())})}
    assert Topology(nodes, {"a": 1}) == Topology(nodes, {}, "h")
    assert Topology(nodes, {}) != Topology({}, {})


EXPANDED = """\
nodes:
  n08:
    host: h-08
    labels: {"zone": "z-n08-08"}
    taints: ["a=b:NoExecute"]
    classes:
      dev3:
        resource: a.b/mydevice-3
        api: dra
        driver: d.io
        unhealthy_effect: None
        types: {slots: int, memory: capacity}
        devices:
          0: {numa_node: 0, taints: {t: NoExecute, s: None}, attributes: {u: U-08-0, b: "{{x}}", on: "true"}}
          1: {numa_node: 0, taints: {t: "k=v:None"}, attributes: {u: U-08-1, b: "{{x}}", on: "true"}}
          2: {numa_node: 0, taints: {t: "k=v:None"}, attributes: {u: U-08-2, b: "{{x}}", on: "true"}}
          5: {health: "unhealthy hot", numa_node: 0, device_node: "null", taints: {t: "k=v:None"}, attributes: {u: x, b: "{{x}}", on: "true"}}
          6: {health: "healthy ok", numa_node: 1, device_node: "null", taints: {t: "k=v:None"}, attributes: {u: x, b: "{{x}}", on: "true"}}
      gpu:
        resource: x.y/gpu
        count: 0
  "true": {}
  m: {}
  "7":
    host: "42"
    classes:
      dev1:
        resource: a.b/mydevice-1
        driver: "9"
        count: 0
"""


def test_a_spec_is_written_out_node_by_node_and_device_by_device() -> None:
    made = topology(SPEC.replace(b"n[08-10]", b"n[08-08]"))

    assert "".join(f"{line}\n" for line in expanded.lines(made)) == EXPANDED
    again = topology(EXPANDED.encode())
    assert "".join(f"{line}\n" for line in expanded.lines(again)) == EXPANDED
    assert list(expanded.lines(topology(b"nodes: {}"))) == ["nodes: {}"]


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("h", "h"), ("a-b.c", "a-b.c"), ("null", '"null"'), ("true", '"true"'), ("false", '"false"'), ("1", '"1"'),
        ("1a", '"1a"'), ("nullx", "nullx"),
    ],
)  # fmt: skip  # one list
def test_a_word_that_yaml_takes_for_something_else_is_quoted(host: str, written: str) -> None:
    made = fakehw.make_topology({"nodes": {"n": {"host": host}}})
    text = list(expanded.lines(made))
    assert text == ["nodes:", "  n:", f"    host: {written}"]
    assert topology("\n".join(text).encode()).nodes["n"].host == host


@pytest.mark.parametrize("name", ["labels: {x: z}", "taints: ['a:NoExecute']", "host: h"])
def test_a_node_that_has_one_field_is_written_with_it(name: str) -> None:
    made = topology(f"nodes: {{n: {{{name}}}}}".encode())
    again = topology("\n".join(expanded.lines(made)).encode())

    assert (again.nodes["n"], len(list(expanded.lines(made)))) == (made.nodes["n"], 3)


def test_plain_data_is_checked_and_made_as_a_file_is() -> None:
    data = {"nodes": {"n": {"classes": {"dev1": {"count": 1.0, "devices": {3: {"attributes": {"a": 2.0}}}}}}}}
    made = fakehw.make_topology(data)

    assert {n: d.attributes for n, d in made.nodes["n"].classes["dev1"].devices.items()} == {1: {}, 3: {"a": "2.0"}}
    data["nodes"]["n"]["classes"]["dev1"]["count"] = 9
    assert made.document["nodes"]["n"]["classes"]["dev1"]["count"] == 1, "a copy"
    assert list(fakehw.make_topology({"nodes": {"a": {"host": "h"}, "b": {"host": "i"}}}, host="i").nodes) == ["b"]
