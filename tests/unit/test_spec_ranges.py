"""Specs that stand for many: what a range means, that it costs nothing, and in which words a wrong one is refused."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import fakehw
from fakehw import cli
from fakehw.spec import check, entries, expanded, profiles, ranges
from fakehw.spec.topology import Topology


def topology(text: str) -> Topology:
    return entries.make(check.parse(text.encode(), source="t.yaml"))


def refused(text: str) -> list[str]:
    with pytest.raises(fakehw.SpecError) as caught:
        check.parse(text.encode(), source="t.yaml")
    return list(caught.value.lines)


SERVERS = """\
x-gpu: &gpu
  count: 8
  resource: nvidia.com/gpu
  attributes: {uuid: "GPU-{index}-{number}"}
  devices: {1-4: {numa_node: 0}, 5-8: {numa_node: 1, attributes: {slot: back}}, 6: {health: unhealthy hot}}
nodes:
  gpu-[098-101]-a: {host: "worker-{index}", classes: {gpu: *gpu}}
"""


def test_a_range_of_nodes_is_one_node_for_each_number_with_its_index_filled_in():
    made = topology(SERVERS)

    assert [(node.name, node.host) for node in made.nodes.values()] == [
        ("gpu-098-a", "worker-098"),
        ("gpu-099-a", "worker-099"),
        ("gpu-100-a", "worker-100"),
        ("gpu-101-a", "worker-101"),
    ]
    assert made.nodes["gpu-099-a"].classes["gpu"].devices[3].attributes == {"uuid": "GPU-099-3", "numa_node": "0"}
    assert made.device_count == 32
    for absent in ("gpu-97-a", "gpu-102-a", "gpu-0098-a", "gpu-098", "gpu-x-a", "gpu-²-a"):
        assert absent not in made.nodes


def test_a_device_is_laid_over_its_range_and_that_over_the_class():
    devices = topology(SERVERS).nodes["gpu-100-a"].classes["gpu"].devices

    assert devices[5].attributes == {"uuid": "GPU-100-5", "numa_node": "1", "slot": "back"}
    assert devices[6].health == "unhealthy hot"
    assert devices[6].attributes == {"uuid": "GPU-100-6", "numa_node": "1", "slot": "back"}
    assert list(devices) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_range_beyond_the_count_adds_its_devices():
    made = topology("nodes: {n: {classes: {dev1: {count: 2, devices: {0: {}, 2-4: {numa_node: 1}, 9: {}}}}}}")
    devices = made.nodes["n"].classes["dev1"].devices

    assert list(devices) == [0, 1, 2, 3, 4, 9]
    assert len(devices) == 6
    assert 5 not in devices


def test_keys_with_x_are_ignored_wherever_keys_are_fixed():
    made = topology("x-a: [1]\nnodes: {n: {x-b: 1, classes: {dev1: {x-c: 1, count: 1, devices: {1: {x-d: 1}}}}}}")

    assert made.device_count == 1


def test_host_keeps_of_a_range_the_nodes_that_it_owns():
    document = check.parse(SERVERS.encode(), source="t.yaml")

    (node,) = entries.make(document, host="worker-100").nodes.values()
    assert (node.name, node.classes["gpu"].devices[1].attributes["uuid"]) == ("gpu-100-a", "GPU-100-1")
    assert not entries.make(document, host="worker-1").nodes


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param("a[3-2]: {}", "nodes.a[3-2]: [3-2]: must begin with its lower number", id="backwards"),
        pytest.param("a[08-9]: {}", "[08-9]: both numbers must have as many digits", id="digits"),
        pytest.param("a[1-2][3-4]: {}", "a node's name must be at most 59 letters", id="two ranges"),
        pytest.param("a[1-x]: {}", "a node's name must be at most 59 letters", id="no number"),
        pytest.param("a[1-200000]: {}", "nodes: 200000 nodes: must be at most 100000 in all", id="too many nodes"),
        pytest.param("a[1-9]: {}\n  a5: {}", "nodes.a5: a5 is in a[1-9] already", id="named twice"),
        pytest.param("a[1-20]: {}\n  a1[0-5]: {}", "nodes.a1[0-5]: a10 is in a[1-20] already", id="ranges that meet"),
        pytest.param("A[1-2]: {host: 'w-{node}'}", "w-A1: must be the name of a Kubernetes node", id="host from a name"),
        pytest.param("a: {host: 'w-{index}'}", "and this is one node", id="index without a range"),
        pytest.param("a[1-2]: {host: 'w-{number}'}", "{number} is no placeholder here; known are {node}", id="placeholder"),
        pytest.param(
            "a: {classes: {dev1: {devices: {1: {attributes: {u: '{index}'}}}}}}",
            "nodes.a.classes.dev1.devices.1.attributes.u: \"{index}\": {index} is filled in below a range of nodes",
            id="index in an attribute of one node",
        ),
        pytest.param("a: {classes: {dev1: {devices: {4-1: {}}}}}", "4-1: must begin with its lower number", id="4-1"),
        pytest.param("a: {classes: {dev1: {devices: {1-4: {}, 4-6: {}}}}}", "4-6: overlaps 1-4", id="overlap"),
        pytest.param("a: {classes: {dev1: {devices: {1-02: {}}}}}", "or a range of them, such as 1-4", id="zeros"),
        pytest.param(
            "a[1-1000]: {classes: {dev1: {count: 1001}}}", "1001000 devices: must be at most 1000000", id="devices"
        ),
        pytest.param(
            f"{'n' * 50}[1-99999]: {{classes: {{dev12345: {{count: 1}}}}}}", "longer than 63 characters", id="long ID"
        ),
        pytest.param(
            "a[1-3]: {host: 'w-{index}', classes: {gpu: {count: 1, resource: a.b/c}}}\n"
            "  b: {host: w-2, classes: {gpu: {count: 1, resource: a.b/d}}}",
            '"a.b/d": must be "a.b/c", as in nodes.a[1-3].classes.gpu: one class is one resource on a host',
            id="clash with one of a range",
        ),
        pytest.param("a: {classes: {dev1: {count: 1, y-a: 1}}}", "unknown key", id="y- is no x-"),
        pytest.param("a: {labels: {-x: y}}", "must be at most 63 letters", id="label's name"),
        pytest.param("a: {labels: {a/b/c: y}}", "name of a Kubernetes node", id="label's domain"),
        pytest.param("a: {labels: {x: 'a b'}}", '"a b": must be at most 63 letters', id="label's value"),
        pytest.param("a[1-2]: {labels: {x: '{number}'}}", "{number} is no placeholder here", id="label's placeholder"),
        pytest.param("a: {labels: {x: '{index}'}}", "and this is one node", id="label's index"),
        pytest.param("a: {taints: [x]}", '"x": must be KEY=VALUE:EFFECT or KEY:EFFECT', id="taint"),
        pytest.param("a: {taints: ['x=y:Never']}", "with one of NoSchedule, PreferNoSchedule", id="effect"),
    ],
)  # fmt: skip  # a case a line
def test_a_wrong_range_is_refused_in_one_line(nodes: str, expected: str):
    lines = refused(f"nodes:\n  {nodes}\n")

    assert len(lines) == 1, lines
    assert expected in lines[0]


def test_two_resources_of_one_class_name_may_be_on_two_hosts_of_ranges():
    made = topology(
        "nodes:\n  a[1-3]: {host: 'a-{index}', classes: {gpu: {count: 1, resource: a.b/c}}}\n"
        "  b[1-3]: {host: 'b-{index}', classes: {gpu: {count: 1, resource: a.b/d}}}\n"
    )
    assert made.device_count == 6


def test_what_a_range_stands_for_is_not_held_in_memory():
    text = "nodes:\n  n[1-1000]: {host: 'n{index}', classes: {dev1: {count: 1000, attributes: {u: '{id}'}}}}\n"
    topology(text)  # what is imported late is not measured
    tracemalloc.start()
    try:
        made = topology(text)
        assert (len(made.nodes), made.device_count) == (1000, 1_000_000)
        assert made.nodes["n500"].classes["dev1"].devices[999].attributes == {"u": "n500-dev1-999"}
        assert sum(1 for _ in itertools.islice(expanded.lines(made), 5000)) == 5000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


# What expand prints means the same.

_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "health": st.sampled_from(["healthy", "unhealthy", "unhealthy a: {b}, c"]),
        "numa_node": st.integers(-1, 3),
        "device_node": st.sampled_from([None, "null", "zero"]),
        "taints": st.dictionaries(st.sampled_from(["t", "null", "7"]), st.sampled_from(["None", "k=v:NoExecute"])),
        "attributes": st.dictionaries(
            st.sampled_from(["a", "attributes", "c_1"]),
            st.sampled_from(["{id}", "{{x}}", "null", "true", "0042", "1.10", "a: b", "x,y", "'", '"', "{node}#", "é"]),
            max_size=2,
        ),
    },
)
_SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "api": st.sampled_from(["dra", "device-plugin"]),
        "driver": st.sampled_from(["42", "true", "d.io"]),
        "unhealthy_effect": st.sampled_from(["None", "NoExecute"]),
        "types": st.just({"null": "int", "memory": "capacity"}),
    },
)
_PARTS = st.sampled_from([{}, {"0": 1}, {"2-4": 1}, {"1": 1, "2-3": 1, "3": 1}, {"7-9": 1, "8": 1, "12": 1}])
_CLASS = st.builds(
    lambda fields, count, parts, own, settings: {
        **fields, "count": count, "resource": "a.b/c", "devices": dict.fromkeys(parts, own), **settings
    },
    _FIELDS, st.integers(0, 5), _PARTS, _FIELDS, _SETTINGS,
)  # fmt: skip
_NODE = st.fixed_dictionaries(
    {"classes": st.dictionaries(st.sampled_from(["dev1", "gpu", "null"]), _CLASS, max_size=2)},
    optional={
        "host": st.sampled_from(["h", "true", "42", "h-{node}"]),
        "labels": st.sampled_from([{}, {"a.b/zone": "z-{node}", "true": "null"}]),
        "taints": st.sampled_from([[], ["a=b:NoExecute", "c:NoSchedule"]]),
    },
)
_DOCUMENTS = st.fixed_dictionaries(
    {"nodes": st.dictionaries(st.sampled_from(["n", "a[1-3]", "a[08-11].b", "1", "null"]), _NODE, max_size=3)}
)


@given(document=_DOCUMENTS)
def test_a_spec_that_is_written_out_means_the_same(document: dict[str, object]):
    wanted = entries.make(check.parse(yaml.safe_dump(document).encode(), source="t.yaml"))
    text = "".join(f"{line}\n" for line in expanded.lines(wanted))
    again = topology(text)

    def plain(one: Topology) -> object:
        return [
            (
                node.name,
                node.host,
                dict(node.labels),
                node.taints,
                {name: (c.resource, c.settings, dict(c.devices)) for name, c in node.classes.items()},
            )
            for node in one.nodes.values()
        ]

    assert plain(again) == plain(wanted)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)).map(lambda p: range(p[0], p[0] + p[1])), max_size=6))
def test_intervals_are_the_set_of_their_numbers(parts: list[range]):
    numbers = sorted({number for part in parts for number in part})
    made = ranges.Intervals(parts)

    assert list(made) == numbers
    assert len(made) == len(numbers)
    assert [number for number in range(-1, 30) if number in made] == numbers
    assert made.highest == max(numbers, default=0)


# Profiles.


@pytest.mark.parametrize("name", profiles.names())
def test_a_profile_is_a_spec_whose_first_line_says_what_it_is(name: str):
    assert fakehw.load_topology(name).device_count
    assert profiles.meaning(name).endswith(".")


def test_the_seed_is_the_topology_that_is_deployed():
    deployed = fakehw.load_topology(Path(__file__).parents[2] / "deploy/base/topology.yaml")

    assert fakehw.load_topology("seed") == deployed


def test_a_file_wins_over_a_profile_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "seed").write_text("nodes: {mine: {}}")
    monkeypatch.chdir(tmp_path)

    assert list(fakehw.load_topology("seed").nodes) == ["mine"]


def test_a_spec_that_is_neither_file_nor_profile_says_which_there_are():
    with pytest.raises(
        fakehw.InputError, match=r"'gpu-servr': No such file .* one of amd-mi300x, .*gpu-server, .*--spec"
    ):
        fakehw.load_topology("gpu-servr")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        pytest.param(["show"], 0, "gpu-server\n    Servers with 8 GPUs", id="show all"),
        pytest.param(["show", "fpga"], 0, "  fpga-[1-4]:\n", id="show one"),
        pytest.param(["show", "x"], 2, "'x': must be one of amd-mi300x, ", id="show none"),
        pytest.param(["expand", "tpu-host", "--host", "tpu-3"], 0, "          4: {numa_node: 1, ", id="expand"),
        pytest.param(["expand", "/nowhere"], 2, "'/nowhere': No such file or directory", id="expand nothing"),
        pytest.param([], 2, "show, labels, reasons, expand: one of them must follow (topology)", id="no command"),
    ],
)
def test_topology_commands(arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["topology", *arguments]) == code
    out, err = capsys.readouterr()
    assert text in (err if code else out)
