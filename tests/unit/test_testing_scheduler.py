"""The scheduler's choice and words (contract SCH-1)."""

from __future__ import annotations

import pytest

from fakekubelet import pod
from fakekubelet.cluster import scheduler
from fakekubelet.cluster.scheduler import Node

DEV2, DEV3 = "myplugin.io/mydevice-2", "myplugin.io/mydevice-3"


def message(requests, nodes):
    with pytest.raises(scheduler.UnschedulableError) as caught:
        scheduler.place(requests, nodes)
    return str(caught.value)


def test_the_seeds_pending_pod_is_told_why_in_the_schedulers_words():
    nodes = [
        Node("kind-control-plane", {}, is_tainted=True),
        Node("kind-worker", {DEV2: 0, DEV3: 0}),
        Node("kind-worker2", {DEV2: 1, DEV3: 3}, {DEV2: 1}, pods=1),
    ]

    assert message({DEV2: 1, DEV3: 2}, nodes) == (
        "0/3 nodes are available: 1 Insufficient myplugin.io/mydevice-3, 1 node(s) had untolerated taint(s), "
        "2 Insufficient myplugin.io/mydevice-2. no new claims to deallocate, preemption: 0/3 nodes are available: "
        "1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    )


def test_one_node_one_reason():
    assert message({DEV2: 1}, [Node("n", {})]).startswith(f"0/1 nodes are available: 1 Insufficient {DEV2}. ")


def test_reasons_are_sorted_as_text_with_their_counts():
    nodes = [Node(f"n{number}", {DEV2: 0, DEV3: 0 if number < 2 else 9}) for number in range(10)]

    assert message({DEV2: 1, DEV3: 1}, nodes).startswith(
        f"0/10 nodes are available: 10 Insufficient {DEV2}, 2 Insufficient {DEV3}. "
    )


def test_no_nodes_at_all():
    assert message({DEV2: 1}, []) == "no nodes available to schedule pods"


def test_what_other_pods_request_is_taken_off():
    nodes = [Node("full", {DEV2: 2}, {DEV2: 2}, pods=1), Node("half", {DEV2: 2}, {DEV2: 1}, pods=1)]

    assert scheduler.place({DEV2: 1}, nodes) == "half"


def test_a_request_of_zero_fits_where_the_resource_is_unknown():
    assert scheduler.place({DEV2: 0}, [Node("n", {})]) == "n"


def test_emptier_nodes_come_first_then_names():
    nodes = [Node("b", {}, pods=0), Node("a", {}, pods=0), Node("0", {}, pods=1)]

    assert scheduler.place({}, nodes) == "a"


def test_a_pods_request_counts_sidecars_with_apps_and_the_largest_init_container():
    def make(name, count, **fields):
        return pod.Container(name, {DEV2: count}, **fields)

    sidecar = make("side", 1, is_sidecar=True)
    apps = (make("a", 1), make("b", 1))

    assert pod.Pod("p", apps).requests() == {DEV2: 2}
    assert pod.Pod("p", apps, (sidecar,)).requests() == {DEV2: 3}
    assert pod.Pod("p", apps, (make("init", 5),)).requests() == {DEV2: 5}
    assert pod.Pod("p", apps, (sidecar, make("init", 5))).requests() == {DEV2: 6}
    assert pod.Pod("p", apps, (make("init", 5), sidecar)).requests() == {DEV2: 5}
