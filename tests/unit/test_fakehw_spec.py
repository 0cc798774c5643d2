"""Topology specs: what is refused, in which words, and what a good one becomes."""

import json
import tracemalloc
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

import fakehw
from fakehw import resource_name
from fakehw.spec import check, entries
from fakehw.spec.topology import Topology
from fakehw.tree import plan
from fakehw.tree.snapshot import FoundClass, FoundNode, Snapshot

SEED = Path(__file__).parents[2] / "deploy/base/topology.yaml"


def refused(text: str | bytes) -> list[str]:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(fakehw.SpecError) as caught:
        check.parse(raw, source="t.yaml")
    assert all("\n" not in line for line in caught.value.lines)
    return list(caught.value.lines)


def topology(text: str) -> Topology:
    return entries.make(check.parse(text.encode(), source="t.yaml"))


def one_class(fields: str, name: str = "dev1") -> str:
    return f"nodes:\n  n:\n    classes:\n      {name}: {fields}\n"


def test_seed_topology_is_the_seeds_story():
    seed = fakehw.load_topology(SEED)

    counts = {
        (node.host, fake_class.resource): len(fake_class.devices)
        for node in seed.nodes.values()
        for fake_class in node.classes.values()
    }
    assert counts == {
        ("kind-worker", "myplugin.io/mydevice-1"): 1,
        ("kind-worker", "myplugin.io/mydevice-2"): 0,
        ("kind-worker", "myplugin.io/mydevice-3"): 0,
        ("kind-worker2", "myplugin.io/mydevice-1"): 0,
        ("kind-worker2", "myplugin.io/mydevice-2"): 1,
        ("kind-worker2", "myplugin.io/mydevice-3"): 3,
    }


def test_shipped_schema_is_valid_and_every_rule_says_itself_in_words():
    schema = json.loads(files("fakehw.spec").joinpath("topology.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)

    def rules(part: object):
        if isinstance(part, dict):
            if {"type", "enum", "pattern", "format"} & part.keys() and "not" not in part.get("enum", ()):
                yield part
            for key, child in part.items():
                if key not in ("not", "anyOf"):
                    yield from rules(child)

    assert all("description" in rule for rule in rules(schema))


def test_all_errors_are_told_at_once_with_file_line_path_value_and_rule():
    lines = refused("domian: x\nnodes:\n  node2:\n    classes:\n      dev3: {count: -1}\n      gpu: {count: 1}\n")

    assert lines == [
        "t.yaml:1: domian: unknown key (did you mean domain?); known are domain, nodes",
        "t.yaml:5: nodes.node2.classes.dev3.count: -1: must be a whole number from 0 to 1000000: "
        "devices 1 to count are made",
        "t.yaml:6: nodes.node2.classes.gpu: must have a resource, because it is not named devK",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "t.yaml:1: is empty", id="empty"),
        pytest.param("a: [", "YAML: ", id="syntax"),
        pytest.param(b"\xff", "UTF-8", id="not UTF-8"),
        pytest.param('a: "\x00"', "control characters", id="NUL"),
        pytest.param("nodes: {}\nnodes: {}", "t.yaml:2: nodes: key given twice, first in line 1", id="duplicate key"),
        pytest.param("nodes: {}\n---\nnodes: {}", "one YAML document", id="two documents"),
        pytest.param("x: &a [*a]", "must not contain itself", id="recursive alias"),
        pytest.param("x: *a", "no anchor", id="unknown alias"),
        pytest.param("[" * 100_000, "nested deeper", id="deep nesting"),
        pytest.param("{" * 100_000, "nested deeper", id="deep mappings"),
        pytest.param("!!python/object:os.system x", "tag is not allowed", id="python tag"),
        pytest.param("<<: {}\nnodes: {}", "merge keys", id="merge key"),
        pytest.param("? [a]\n: b", "a key must be", id="key that is a list"),
        pytest.param("x" * (2 << 20), "at most 1048576 bytes", id="too large"),
        pytest.param("- a", "a list: must be a mapping", id="list"),
        pytest.param("nodes: 3", "3: must be a mapping", id="nodes is a number"),
        pytest.param("domain: a.b", "must be a mapping with the key nodes", id="no nodes"),
        pytest.param("domain: kubernetes.io\nnodes: {}", "must not contain kubernetes.io/", id="reserved domain"),
        pytest.param("nodes: {-a: {}}", "a node's name must be", id="node name"),
        pytest.param('nodes: {"a\\n": {}}', "control characters", id="newline in a name"),
        pytest.param("nodes: {..: {}}", "a node's name must be", id="dot dot"),
        pytest.param("nodes: {n: {host: A_b}}", "must be the name of a Kubernetes node", id="host"),
        pytest.param(one_class("{count: 1}", "dev_1"), "a class's name must be", id="class dev_1"),
        pytest.param(one_class("{count: 1, resource: a.b/c}", "host"), "a file of the node", id="class host"),
        pytest.param(one_class("{}"), "at least one of the keys count and devices", id="class with nothing"),
        pytest.param(one_class("{count: 1.5}"), "1.5: must be a whole number", id="fraction"),
        pytest.param(one_class("{count: true}"), "true: must be a whole number", id="boolean count"),
        pytest.param(one_class("{count: '3'}"), '"3": must be a whole number', id="quoted count"),
        pytest.param(one_class("{count: 99999999999999999999}"), "must be a whole number", id="huge count"),
        pytest.param(one_class("{devices: {01: {}}}"), "leading zeros", id="leading zero"),
        pytest.param(one_class("{devices: {1000000000: {}}}"), "from 0 to 999999999", id="number too high"),
        pytest.param(one_class("{count: 1, health: sick}"), '"sick": must be healthy or unhealthy', id="health"),
        pytest.param(one_class("{count: 1, numa_node: -2}"), "-2: must be a whole number from 0", id="NUMA node"),
        pytest.param(one_class("{count: 1, device_node: tty}"), '"tty": must be null, zero', id="device node"),
        pytest.param(one_class("{count: 1, attributes: {health: x}}"), "fields of their own", id="reserved attribute"),
        pytest.param(one_class("{count: 1, attributes: {../x: x}}"), "an attribute's name", id="attribute path"),
        pytest.param(one_class("{count: 1, attributes: {x: '{foo}'}}"), "{foo} is no placeholder", id="placeholder"),
        pytest.param(one_class("{count: 1, attributes: {x: }}"), "null: must be one value", id="no value"),
        pytest.param(one_class('{count: 1, attributes: {x: "a\\nb"}}'), "must be one line", id="two lines"),
        pytest.param(one_class("{count: 1, resource: x}"), "must be DOMAIN/NAME", id="resource"),
        pytest.param(one_class("{count: 1, heatlh: healthy}"), "did you mean health?", id="misspelt key"),
        pytest.param(f"nodes: {{{'n' * 59}: {{classes: {{dev1: {{count: 1}}}}}}}}", "longer than 63", id="long ID"),
        pytest.param(
            "nodes: {a: {classes: {dev1: {count: 1000000}}}, b: {classes: {dev1: {count: 1}}}}",
            "1000001 devices: must be at most",
            id="too many devices",
        ),
    ],
)
def test_bad_spec_is_refused_in_one_line(text: str | bytes, expected: str):
    lines = refused(text)

    assert len(lines) == 1
    assert expected in lines[0]
    assert lines[0].startswith("t.yaml:")


def test_aliases_that_multiply_are_counted_as_often_as_they_are_used():
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 9))

    assert "past 500000 values" in refused(f"l0: &l0 [x]\n{levels}")[0]


def test_aliases_that_nest_are_as_deep_as_they_are_written_out():
    levels = "".join(f"l{i}: &l{i} [*l{i - 1}]\n" for i in range(1, 40))

    assert refused(f"l0: &l0 [x]\n{levels}") == [
        "t.yaml:17: must not grow, by its aliases, past 500000 values or 16 levels"
    ]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        pytest.param("host: a", "host: a", True, id="same host"),
        pytest.param("host: a", "host: b", False, id="two hosts"),
        pytest.param("host: a", "", True, id="any host after one"),
        pytest.param("", "host: a", True, id="one host after any"),
    ],
)
def test_one_class_is_one_resource_on_a_host(first: str, second: str, clash: bool):
    text = "\n".join(
        f"  n{number}: {{{host}{', ' if host else ''}classes: {{gpu: {{count: 1, resource: a.b/r{number}}}}}}}"
        for number, host in ((1, first), (2, second))
    )
    if clash:
        assert '"a.b/r2": must be "a.b/r1", as in nodes.n1.classes.gpu' in refused(f"nodes:\n{text}")[0]
    else:
        assert topology(f"nodes:\n{text}").device_count == 2


def test_classes_whose_variables_would_collide_are_refused():
    assert "DEV_1_ID_0" in refused("nodes: {n: {classes: {dev1: {count: 1}, dev01: {count: 1}}}}")[0]


def test_count_and_explicit_devices_add_up_and_the_explicit_ones_override():
    made = topology(
        one_class(
            "{count: 2, numa_node: 0, attributes: {a: x}, devices: {2: {numa_node: 1}, 9: {health: unhealthy hot}}}"
        )
    )
    devices = made.nodes["n"].classes["dev1"].devices

    assert list(devices) == [1, 2, 9]
    assert devices[1].attributes == {"a": "x", "numa_node": "0"}
    assert devices[2].attributes == {"a": "x", "numa_node": "1"}
    assert devices[9].health == "unhealthy hot"


def test_placeholders_give_each_device_values_of_its_own():
    made = topology(
        one_class('{count: 2, attributes: {uuid: "GPU-{node}-{class}-{number}", id: "{id}", raw: "{{x}}"}}')
    )

    assert made.nodes["n"].classes["dev1"].devices[2].attributes == {
        "uuid": "GPU-n-dev1-2",
        "id": "n-dev1-2",
        "raw": "{x}",
    }


def test_attribute_values_stay_as_typed():
    made = topology(one_class("{count: 1, attributes: {a: 0042, b: 1.10, c: yes, d: true, e: 12:30, f: 2026-01-01}}"))

    values = made.nodes["n"].classes["dev1"].devices[1].attributes
    assert values == {"a": "0042", "b": "1.10", "c": "yes", "d": "true", "e": "12:30", "f": "2026-01-01"}


def test_host_keeps_its_nodes_and_those_that_any_may_own():
    document = {"nodes": {"a": {"host": "h1"}, "b": {"host": "h2"}, "c": None}}

    assert list(fakehw.make_topology(document, host="h1").nodes) == ["a", "c"]


@pytest.mark.parametrize(
    "name", ["nvidia.com/gpu", "a/b", "my-kubernetes.io.example/x", f"{'a' * 244}/x", f"a/{'x' * 63}"]
)
def test_resource_names_of_the_kubelet_are_allowed(name: str):
    resource_name.check(name)


@pytest.mark.parametrize(
    "name",
    [
        "gpu", "/gpu", "a/", "a/b/c", "A.com/gpu", "kubernetes.io/gpu", "foo.kubernetes.io/x", "my-kubernetes.io/x",
        "requests.a.b/gpu", f"{'a' * 245}/x", f"a/{'x' * 64}", "a/-x", "a/x-", "a..b/x", "a.b/x\n", "-a.b/x",
    ],
)  # fmt: skip
def test_resource_names_that_register_would_refuse_are_refused(name: str):
    """The kubelet's own rule (contract REG-10)."""
    with pytest.raises(ValueError, match=r"must|domain"):
        resource_name.check(name)


@pytest.mark.parametrize("written", ["2", "2.0", "2.", "2e0", "0.2e+01", "20e-1", "+2", "+2.0"])
def test_a_whole_number_is_one_however_a_template_writes_it(written: str):
    """To Helm every number is one with a fraction: 1e+06 is what it makes of a million."""
    made = topology(one_class(f"{{count: {written}, numa_node: {written}}}"))
    devices = made.nodes["n"].classes["dev1"].devices

    assert [device.attributes["numa_node"] for device in devices.values()] == ["2", "2"]
    plain = fakehw.make_topology({"nodes": {"n": {"classes": {"dev1": {"count": float(written), "numa_node": 1.0}}}}})
    assert [device.attributes["numa_node"] for device in plain.nodes["n"].classes["dev1"].devices.values()] == [
        "1",
        "1",
    ]


@pytest.mark.parametrize("written", ["1_0", "0x2", "2.5", "1e400", "-1e400", "1e-3", ".inf", ".nan", "'2'", "2 0"])
def test_what_is_no_whole_number_is_refused(written: str):
    lines = refused(one_class(f"{{count: {written}}}"))
    assert all("count: " in line and "must be a whole number from 0 to 1000000" in line for line in lines)


@pytest.mark.parametrize("written", ["1.0", "1e+01", "007", "1_0", "+1", "true", "0x1F"])
def test_an_attribute_is_the_text_as_typed(written: str):
    made = topology(one_class(f"{{count: 1, attributes: {{a: {written}}}}}"))
    assert made.nodes["n"].classes["dev1"].devices[1].attributes == {"a": written}


@pytest.mark.parametrize(
    "text",
    [
        "nodes: {attributes: {host: h, classes: {attributes: {count: 2.0, numa_node: 1, resource: a.b/c, attributes: {attributes: 1.0}, devices: {2: {numa_node: 0, attributes: {x: 2.0}}}}}}}",
        "nodes: {classes: {host: h, classes: {classes: {count: 2.0, numa_node: 1, resource: a.b/c, attributes: {attributes: 1.0}, devices: {2: {numa_node: 0, attributes: {x: 2.0}}}}}}}",
        "nodes: {devices: {host: h, classes: {devices: {count: 2.0, numa_node: 1, resource: a.b/c, attributes: {attributes: 1.0}, devices: {2: {numa_node: 0, attributes: {x: 2.0}}}}}}}",
    ],
)  # fmt: skip  # one row a name
def test_a_node_or_a_class_may_be_called_as_a_key_of_the_schema(text: str):
    made = topology(text)
    ((name, node),) = made.nodes.items()
    devices = node.classes[name].devices
    assert {number: device.attributes for number, device in devices.items()} == {
        1: {"attributes": "1.0", "numa_node": "1"},
        2: {"attributes": "1.0", "numa_node": "0", "x": "2.0"},
    }


def test_more_files_than_a_disk_should_hold_are_refused_by_count():
    attributes = ", ".join(f"a{number}: '{{id}}'" for number in range(20))
    (line,) = refused(one_class(f"{{count: 1000000, attributes: {{{attributes}}}}}"))
    assert line.endswith("nodes: 22000000 attributes of devices: must be at most 10000000 in all")
    (line,) = refused(one_class(f"{{devices: {{1-999999: {{attributes: {{{attributes}}}}}}}}}"))
    assert "attributes of devices: must be at most 10000000 in all" in line


def test_many_devices_cost_what_their_spec_does():
    """They are made when they are looked at: 600 bytes of spec took 960 MB."""
    made = topology(one_class("{count: 50000, attributes: {a: '{id}', b: 'x{id}'}}"))
    tracemalloc.start()
    try:
        first = plan.make_plan(made, applied=(), actual=Snapshot())
        assert first.counts()["added"] == 50_000
        assert next(first.lines()).path.number == 1
        assert tracemalloc.get_traced_memory()[1] < 50_000 * 60, "their numbers, and nothing else of them"
    finally:
        tracemalloc.stop()


def test_devices_that_join_a_class_are_made_one_by_one():
    text = one_class("{count: 20000, attributes: {a: '{id}', b: '" + "x" * 200 + "{id}'}}")
    found = Snapshot({"n": FoundNode(classes={"dev1": FoundClass("myplugin.io/mydevice-1")})})
    made = topology(text)
    tracemalloc.start()
    try:
        what = plan.make_plan(made, applied=(), actual=found)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert what.counts()["added"] == 20000
    assert peak < 20000 * 400, "no attribute of any device is kept"
