"""From outages of servers to rows, and where outages come from: which device is chosen, and what a trace has to be."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw import make_topology
from fakehw.errors import InputError, SpecError
from fakehw.scenario import infinitehbd, outages
from fakehw.scenario.fault_log import Row
from fakehw.scenario.outages import Outage
from fakehw.spec.topology import FakeNode

DAY = 86_400.0


def node(name: str = "n", **classes: int) -> FakeNode:
    fields = {
        key.partition("__")[0]: {"count": number, "resource": key.partition("__")[2].replace("_", "/") or f"a.b/{key}"}
        for key, number in classes.items()
    }
    return make_topology({"nodes": {name: {"classes": fields}}}).nodes[name]


@pytest.mark.parametrize(
    ("classes", "part", "expected"),
    [
        ({"gpu": 2, "nic": 1}, "gpu", ["gpu/1", "gpu/2"]),
        ({"gpu": 2, "nic": 1}, "nic", ["nic/1"]),
        ({"gpu": 1, "nic": 1}, "node", ["gpu/1", "nic/1"]),
        ({"gpu": 2}, "nic", ["gpu/1", "gpu/2"]),
        ({"mygpus": 1, "x": 1}, "gpu", ["mygpus/1"]),
        ({"x__a.b_tpu-v5": 1, "y": 1}, "gpu", ["x/1"]),
        ({"x__gpu.com_dev": 1, "y__nic.com_hca": 1}, "nic", ["y/1"]),
        ({"x__gpu.com_dev": 1, "y": 1}, "gpu", ["x/1", "y/1"]),
        ({"fpga": 1, "npu": 1, "accel": 1, "x": 1}, "gpu", ["fpga/1", "npu/1", "accel/1"]),
        ({"rdma": 1, "hca": 1, "net": 1, "ib0": 1, "x": 1}, "nic", ["rdma/1", "hca/1", "net/1", "ib0/1"]),
    ],
)  # fmt: skip  # one row a node
def test_devices_stand_for_a_part_by_the_name_of_their_class_or_of_its_resource(
    classes: dict[str, int], part: str, expected: list[str]
) -> None:
    """The domain of a resource says nothing: gpu.com may make anything."""
    assert outages.devices_of(node(**classes), part) == expected


def rows(*found: Outage, whole: bool = False, seed: int = 0, **nodes: FakeNode) -> list[Row]:
    return list(outages.place(found, nodes, seed=seed, whole_nodes=whole))


def test_a_device_is_mended_when_its_last_outage_ends_and_ends_come_before_what_begins_then() -> None:
    found = [
        Outage(30, 40, "s", "gpu", "late"),
        Outage(0, 20, "s", "gpu", "first"),
        Outage(10, 30, "s", "gpu", "second"),
    ]
    assert rows(*found, s=node("n7", gpu=1)) == [
        Row(0, "n7", "gpu/1", "break", "first"),
        Row(10, "n7", "gpu/1", "break", "second"),
        Row(30, "n7", "gpu/1", "mend"),
        Row(30, "n7", "gpu/1", "break", "late"),
        Row(40, "n7", "gpu/1", "mend"),
    ]


def test_whole_nodes_are_rows_without_a_device_and_one_node_does_not_mend_another() -> None:
    found = [Outage(0, 5, "a", "gpu", "x"), Outage(1, 3, "b", "nic", "y"), Outage(2, 5, "b", "nic", "z")]
    assert rows(*found, whole=True, a=node("n1", gpu=2), b=node("n2", gpu=2)) == [
        Row(0, "n1", "", "break", "x"),
        Row(1, "n2", "", "break", "y"),
        Row(2, "n2", "", "break", "z"),
        Row(5, "n1", "", "mend"),
        Row(5, "n2", "", "mend"),
    ]


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 6))
def test_what_is_out_already_is_not_chosen_while_another_is_there(seed: int, first: int, second: int) -> None:
    found = [Outage(0, 100, "s", "gpu", "a", first), Outage(1, 50, "s", "gpu", "b", second)]
    broken = [row for row in rows(*found, seed=seed, s=node(gpu=4, nic=9)) if row.event == "break"]
    chosen = [Counter(row.device for row in broken if row.reason == reason) for reason in "ab"]
    free = 4 - min(first, 4)

    assert [one.total() for one in chosen] == [min(first, 4), min(second, free or 4)]
    assert all(times == 1 for one in chosen for times in one.values())
    assert all(device.startswith("gpu/") for one in chosen for device in one)
    assert not free or not chosen[0] & chosen[1]


def test_chance_chooses_and_a_seed_repeats_it() -> None:
    found = [Outage(n, n + 0.5, "s", "gpu", "r") for n in range(20)]

    def chosen(seed: int) -> list[str]:
        return [row.device for row in rows(*found, seed=seed, s=node(gpu=8)) if row.event == "break"]

    assert chosen(1) == chosen(1) != chosen(2)
    assert chosen(1)[:6] == ["gpu/2", "gpu/4", "gpu/3", "gpu/1", "gpu/4", "gpu/1"], "as whoever wrote it down had it"


def test_each_server_has_a_node_of_its_own() -> None:
    servers, nodes = ["a", "b", "c"], [f"n{number}" for number in range(9)]
    assigned = outages.assign(servers, nodes, seed=4)
    assert list(assigned) == servers
    assert len(set(assigned.values()) & set(nodes)) == 3
    assert assigned == outages.assign(servers, nodes, seed=4)
    assert len({tuple(outages.assign(servers, nodes, seed=seed).values()) for seed in range(9)}) > 5


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["GPU", "lost"], "GPU: lost"),
        (["GPU", "GPU"], "GPU"),
        (["", "lost"], "lost"),
        (["", ""], ""),
        (["a\nb", "c  d"], "a b: c d"),
        (["x" * 150, "y" * 150], "x" * 150 + ": " + "y" * 48),
    ],
)
def test_a_reason_has_each_word_once_on_one_line_of_at_most_200_characters(words: list[str], expected: str) -> None:
    assert outages.reason_of(*words) == expected


# A trace.

KIND = {"Level": "x", "Class": "GPU", "Desc": "lost"}


def event(**changes: Any) -> dict[str, Any]:
    given = {"node_id": "a", "event_time": 1, "event_type": "fault_start", "fault_type": KIND}
    return {key: value for key, value in {**given, **changes}.items() if value is not ...}


@pytest.fixture
def loaded(tmp_path: Path):
    def loaded(text: object) -> list[Outage]:
        (tmp_path / "t.json").write_text(text if isinstance(text, str) else json.dumps(text))
        return infinitehbd.load(str(tmp_path / "t.json"))

    return loaded


@pytest.mark.parametrize(
    ("trace", "line"),
    [
        ("[\n\n3", ":3: must be JSON: Expecting ',' delimiter: line 3 column 2 (char 4)"),
        ("[" * 100_000, ":1: must be JSON: "),
        ("{}", ":1: must be a list of events"),
        ("[]", ":1: must be a list of events"),
        ([event(), 3], ": event 1: must be an object with node_id, event_time, event_type and fault_type"),
        ([event(fault_type="GPU")], ": event 0: must be an object with node_id, event_time, event_type and fault_type"),
        ([event(event_time=True)], ": event 0: event_time: True: must be days from 0 to 36600"),
        ([event(event_time="1")], ": event 0: event_time: '1': must be days from 0 to 36600"),
        ([event(event_time=...)], ": event 0: event_time: None: must be days from 0 to 36600"),
        ([event(event_time=-0.1)], ": event 0: event_time: -0.1: must be days from 0 to 36600"),
        ([event(event_time=36_600.1)], ": event 0: event_time: 36600.1: must be days from 0 to 36600"),
        ([event(event_type="start")], ": event 0: event_type: 'start': must be fault_start or fault_end"),
        ([event(node_id=7)], ": event 0: node_id: 7: must be a text"),
        ([event(node_id="")], ": event 0: node_id: '': must be a text"),
        ([event(), event(event_time=2.5, event_type="fault_end", node_id="b")], ": b: a fault ends on day 2.5 that did not start"),
        ([event(), event(event_type="fault_end"), event(event_time=3, event_type="fault_end")], ": a: a fault ends on day 3 that did not start"),
        ([event(), event(event_type="fault_end", fault_type={**KIND, "Desc": "other"})], ": a: a fault ends on day 1 that did not start"),
    ],
)  # fmt: skip  # one row a mistake
def test_the_first_thing_that_is_wrong_with_a_trace_is_said(loaded: Any, tmp_path: Path, trace: Any, line: str) -> None:
    with pytest.raises(SpecError) as caught:
        loaded(trace)
    (said,) = caught.value.lines
    assert said.startswith(f"{tmp_path}/t.json{line}")
    assert said == f"{tmp_path}/t.json{line}" or line.endswith(": ")


def test_a_trace_may_begin_on_day_0_and_end_after_a_hundred_years_in_any_order(loaded: Any) -> None:
    events = [
        event(event_time=36_600, event_type="fault_end"),
        event(event_time=0, node_id="b", fault_type={"Class": "Parameter Plane Cable"}),
        event(event_time=0.5),
        event(event_time=2, node_id="b", fault_type={"Desc": "?"}),
    ]
    assert loaded(events) == [
        Outage(0.5 * DAY, 36_600 * DAY, "a", "gpu", "GPU: lost"),
        Outage(0, 36_600 * DAY, "b", "nic", "Parameter Plane Cable"),
        Outage(2 * DAY, 36_600 * DAY, "b", "node", "?"),
    ]


def test_of_two_equal_faults_the_first_that_began_ends_first_and_what_is_left_ends_with_the_trace(loaded: Any) -> None:
    times = [(1, "start"), (2, "start"), (3, "start"), (4, "end"), (9, "start")]
    events = [event(event_time=day, event_type=f"fault_{kind}") for day, kind in times]
    assert [(one.begins_s / DAY, one.ends_s / DAY) for one in loaded(events)] == [(1, 4), (2, 9), (3, 9), (9, 9)]


def test_a_fault_is_the_same_in_whatever_order_it_is_described(loaded: Any) -> None:
    backwards = dict(reversed(KIND.items()))
    events = [event(), event(event_time=2, event_type="fault_end", fault_type=backwards), event(event_time=3)]
    assert [one.ends_s / DAY for one in loaded(events)] == [2, 3]


def test_a_trace_may_come_on_standard_input_and_is_called_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(text: str) -> list[Outage]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return infinitehbd.load("-")

    assert len(load(json.dumps([event()]))) == 1
    with pytest.raises(SpecError, match=r"^stdin:1: must be a list of events$"):
        load("3")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match=r"^-: standard input is closed \(FILE -\)$"):
        infinitehbd.load("-")


def test_a_trace_that_cannot_be_read_or_is_too_long_is_said(
    loaded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError) as caught:
        infinitehbd.load(f"{tmp_path}/none")
    assert caught.value.lines == (
        f"'{tmp_path}/none': No such file or directory: must be a trace that can be read (FILE)",
    )
    text = json.dumps([event()])
    monkeypatch.setattr(infinitehbd, "_MAX_BYTES", len(text))
    assert len(loaded(text)) == 1
    with pytest.raises(SpecError, match=r"t.json:1: must be at most 0 MiB long$"):
        loaded(text + "\n")
