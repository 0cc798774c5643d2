"""Receipts: which observation settles which change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw.layout import TreePath
from fakehw.scenario.receipts import Ledger, Receipt, State
from fakehw.scenario.timeline import Act, Change
from fakehw.view import pod_resources
from kubeletapi.podresources.v1 import api_pb2 as podresourcesapi

PATH = TreePath("node2", "dev3", 1)
GOOD, BAD = State("Healthy"), State("Unhealthy", "hot")


class Desk:
    def __init__(self, *, kubelet: bool = False) -> None:
        self.told: list[Receipt] = []
        self.ledger = Ledger({PATH.id: GOOD}, has_plugin=True, has_kubelet=kubelet, tell=self.told.append)

    def change(self, at: float, state: State) -> Receipt:
        return self.ledger.enter(Change(at, "x", Act.SET, (PATH,)), at, {PATH: state})

    def hops(self) -> list[str]:
        words = []
        for one in self.ledger.receipts:
            hop = one.seen
            words.append(
                "arrived" if hop.arrived else "passed over" if hop.passed_over else "missing" if hop.missing else "open"
            )
        return words


def test_what_the_plugin_says_settles_the_change_that_it_is_about() -> None:
    desk = Desk()
    receipt = desk.change(10.0, BAD)
    assert desk.told == []

    desk.ledger.observe_plugin(10.002, PATH.id, State("Unhealthy", "something else"))
    assert not receipt.is_complete
    desk.ledger.observe_plugin(10.003, PATH.id, BAD)

    assert desk.told == [receipt]
    assert receipt.seen.last_at == 10.003


def test_an_observation_is_not_the_effect_of_what_came_after_it() -> None:
    desk = Desk()
    for at, state in ((10.0, BAD), (10.1, GOOD), (10.2, BAD)):
        desk.change(at, state)
    desk.ledger.observe_plugin(10.05, PATH.id, BAD)
    assert desk.hops() == ["arrived", "open", "open"]
    desk.ledger.observe_plugin(10.25, PATH.id, BAD)
    assert desk.hops() == ["arrived", "passed over", "arrived"]


def test_changes_that_cancel_each_other_are_passed_over_and_a_lost_one_is_missing() -> None:
    desk = Desk()
    first, second = desk.change(10.0, BAD), desk.change(10.001, GOOD)
    for receipt in (first, second):
        desk.ledger.give_up(receipt)
    assert desk.hops() == ["passed over", "passed over"]

    third = desk.change(11.0, BAD)
    desk.ledger.give_up(third)
    assert desk.hops()[2] == "missing"


def test_a_change_to_what_is_already_so_expects_nothing() -> None:
    desk = Desk(kubelet=True)
    assert desk.change(10.0, GOOD).is_complete


def test_a_reason_alone_is_seen_but_does_not_land() -> None:
    desk = Desk(kubelet=True)
    receipt = desk.change(10.0, State("Healthy", "warm"))
    assert (receipt.seen.expected, receipt.landed.expected) == (1, 0)


def test_an_unplugged_device_that_a_pod_holds_is_seen_as_unplugged() -> None:
    desk = Desk()
    desk.change(10.0, State("removed"))
    desk.ledger.observe_plugin(10.1, PATH.id, State("Unhealthy", "unplugged"))
    assert desk.hops() == ["arrived"]


def test_landing_takes_the_time_of_the_answer_and_not_of_the_question() -> None:
    desk = Desk(kubelet=True)
    receipt = desk.change(10.0, BAD)
    desk.ledger.observe_kubelet(9.9, 10.01, frozenset())
    assert receipt.landed.is_open, "asked before it was written"
    desk.ledger.observe_kubelet(10.02, 10.03, frozenset())
    assert receipt.landed.last_at == 10.03


def test_changes_that_the_plugin_only_counts_are_counted() -> None:
    desk = Desk()
    desk.change(10.0, BAD)
    desk.ledger.observe_unnamed(10.1, 5, lambda _: False)
    assert desk.hops() == ["open"]
    desk.ledger.observe_unnamed(10.1, 5, lambda _: True)
    assert desk.hops() == ["arrived"]


NAMES = st.text(min_size=1, max_size=200)


@given(NAMES, NAMES, NAMES, st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_the_kubelets_answers_are_read_off_the_wire_as_the_generated_code_writes_them(
    namespace: str, pod: str, container: str, ids: list[str]
) -> None:
    devices = [podresourcesapi.ContainerDevices(resource_name="a/b", device_ids=[one]) for one in ids]
    for one in devices:
        one.topology.nodes.add(ID=3)
    holding = podresourcesapi.PodResources(name=pod, namespace=namespace)
    holding.containers.add(name=container, devices=devices, cpu_ids=[1, 300])
    answer = podresourcesapi.ListPodResourcesResponse(pod_resources=[holding])
    allocatable = podresourcesapi.AllocatableResourcesResponse(devices=devices, cpu_ids=[7])

    assert pod_resources.parse_holders(answer.SerializeToString()) == dict.fromkeys(
        ids, f"{namespace}/{pod}/{container}"
    )
    assert pod_resources.parse_allocatable(allocatable.SerializeToString()) == frozenset(ids)


@pytest.mark.parametrize("raw", [b"\x0a\x05abc", b"\x0a", b"\x0b", b"\x0a\xff"])
def test_bytes_that_are_no_answer_are_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|wire type"):
        pod_resources.parse_allocatable(raw)
