"""Receipts: which observation settles which change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw import layout
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


@pytest.mark.parametrize(("heard_at", "word"), [(None, "missing"), (8.9, "missing"), (9.5, "passed over"), (10.5, "passed over")])  # fmt: skip
def test_nothing_was_passed_over_by_somebody_who_was_not_heard(heard_at: float | None, word: str) -> None:
    """Two changes that cancel each other look the same to nobody as to somebody who joined them."""
    desk = Desk()
    receipts = desk.change(10.0, BAD), desk.change(10.001, GOOD)
    if heard_at is not None:
        desk.ledger.hear_plugin(heard_at)
    for receipt in receipts:
        desk.ledger.give_up(receipt)
    assert desk.hops() == [word, word]


def test_a_kubelet_that_does_not_answer_has_passed_nothing_over() -> None:
    hops = []
    for answers in ([], [(10.5, frozenset({PATH.id}))]):
        desk = Desk(kubelet=True)
        receipts = desk.change(10.0, BAD), desk.change(10.001, GOOD)
        for at, allocatable in answers:
            desk.ledger.observe_kubelet(at, at, allocatable)
        for receipt in receipts:
            desk.ledger.give_up(receipt)
        hops.append(
            [(receipt.landed.passed_over, receipt.landed.missing, receipt.landed.arrived) for receipt in receipts]
        )
    assert hops == [[(0, 1, 0), (0, 1, 0)], [(1, 0, 0), (0, 0, 1)]]


def test_of_several_kubelets_one_that_is_silent_takes_no_device_away() -> None:
    desk = Desk(kubelet=True)
    receipt = desk.change(10.0, BAD)
    desk.ledger.observe_kubelet(10.1, 10.1, frozenset(), is_whole=False)
    assert receipt.landed.arrived == 0
    desk.ledger.observe_kubelet(10.2, 10.2, frozenset())
    assert receipt.landed.arrived == 1
    back = desk.change(11.0, GOOD)
    desk.ledger.observe_kubelet(11.1, 11.1, frozenset({PATH.id}), is_whole=False)
    assert back.landed.arrived == 1, "what one of them has is there, whatever the others say"


@pytest.mark.parametrize(
    ("wanted", "said", "shows"),
    [
        (GOOD, State("Healthy"), True),
        (GOOD, State("Unhealthy"), False),
        (BAD, State("Healthy", "hot"), False),
        (BAD, State("Unhealthy", "cold"), False),
        (State("removed"), State("removed"), True),
        (State("removed"), State("Unhealthy", "unplugged"), True),
        (State("removed"), State("Unhealthy", "hot"), False),
        (State("removed"), State("Healthy", "unplugged"), False),
    ],
)
def test_a_receipt_is_for_what_was_wanted_and_for_nothing_else(wanted: State, said: State, shows: bool) -> None:
    assert said.shows(wanted) is shows
    desk = Desk()
    desk.ledger.enter(Change(9.0, "x", Act.SET, (PATH,)), 9.0, {PATH: State("Unhealthy", "before")})
    receipt = desk.change(10.0, wanted)
    desk.ledger.observe_plugin(10.1, PATH.id, said)
    assert bool(receipt.seen.arrived) is shows


def test_changes_that_cancel_each_other_are_passed_over_and_a_lost_one_is_missing() -> None:
    desk = Desk()
    first, second = desk.change(10.0, BAD), desk.change(10.001, GOOD)
    desk.ledger.hear_plugin(10.002)
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


def test_what_dra_serves_is_waited_for_in_its_slice_and_in_no_kubelet_s_allocatable() -> None:
    told: list[Receipt] = []
    ledger = Ledger({PATH.id: GOOD}, has_plugin=True, has_kubelet=True, tell=told.append, by_dra={PATH.id})
    broken = ledger.enter(Change(1.0, "x", Act.SET, (PATH,)), 10.0, {PATH: BAD})
    assert (broken.in_slice.expected, broken.landed.expected) == (1, 0)
    ledger.observe_plugin(10.002, PATH.id, BAD)
    ledger.observe_slice(10.003, PATH.id, "Healthy")
    assert told == [], "that slice was written of what was before"

    ledger.observe_slice(10.007, PATH.id, "Unhealthy")

    assert told == [broken]
    assert broken.in_slice.last_at == 10.007
    other_reason = ledger.enter(Change(2.0, "x", Act.SET, (PATH,)), 11.0, {PATH: State("Unhealthy", "hotter")})
    assert other_reason.in_slice.expected == 0, "it need not change the slice"
    gone = ledger.enter(Change(3.0, "x", Act.UNPLUG, (PATH,)), 12.0, {PATH: State("removed")})
    ledger.observe_slice(12.1, PATH.id, "Unhealthy")
    assert gone.in_slice.arrived == 1, "a claim holds it"


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


def test_what_dra_gave_is_held_by_a_claim_of_a_pod() -> None:
    def resource(driver: str, device: str, cdi: str) -> podresourcesapi.ClaimResource:
        return podresourcesapi.ClaimResource(
            driver_name=driver, pool_name="n", device_name=device, cdi_devices=[podresourcesapi.CDIDevice(name=cdi)]
        )

    ours = layout.slice_name("Node.A-dev3-2")
    holding = podresourcesapi.PodResources(name="dp1-3", namespace="default")
    claim = holding.containers.add(name="main").dynamic_resources.add(claim_name="dp1-3-x7", claim_namespace="default")
    claim.claim_resources.append(resource("my.io", ours, f"k8s.my.io/claim=1-2-{ours}"))
    claim.claim_resources.append(resource("gpu.io", "node2-dev3-1", "k8s.gpu.io/gpu=node2-dev3-1"))

    found = pod_resources.parse_holders(
        podresourcesapi.ListPodResourcesResponse(pod_resources=[holding]).SerializeToString()
    )

    assert pod_resources.holder(found, "Node.A-dev3-2") == "default/dp1-3/main by dp1-3-x7"
    assert pod_resources.holder(found, "node2-dev3-1") == "", "another driver's device of the same name"


@pytest.mark.parametrize("raw", [b"\x0a\x05abc", b"\x0a", b"\x0b", b"\x0a\xff"])
def test_bytes_that_are_no_answer_are_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|wire type"):
        pod_resources.parse_allocatable(raw)
