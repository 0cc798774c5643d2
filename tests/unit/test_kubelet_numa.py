"""NUMA hints against a model: all sets of nodes are weighed, and the best of all combinations is taken."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakekubelet.kubelet import numa
from fakekubelet.kubelet.device import Device
from fakekubelet.kubelet.numa import Hint, Policy

NODES = (0, 1, 2)
EVERYWHERE = 0b111
MASKS = st.none() | st.integers(1, EVERYWHERE)
HINTS = st.builds(Hint, MASKS, st.booleans())
LISTS = st.lists(st.none() | st.lists(HINTS, max_size=4), max_size=3)
IDS = "abcdef"


def bits(mask):
    return mask.bit_count()


def rank(hint, need):
    """Order hints as the kubelet does: preferred ones first and narrow; others by their nearness to what is needed."""
    count = bits(hint.mask)
    if hint.preferred:
        return (0, count, hint.mask)
    return (1, -count, hint.mask) if count <= need else (2, count, hint.mask)


def merged(per_resource, policy):
    lists = [[Hint(None, True)] if one is None else one or [Hint(None, False)] for one in per_resource]
    if policy is Policy.SINGLE_NUMA_NODE:
        lists = [
            [hint for hint in one if hint.preferred and (hint.mask is None or bits(hint.mask) == 1)] for one in lists
        ]
    need = max((min((bits(hint.mask) for hint in one if hint.mask), default=0) for one in lists), default=0)
    candidates = []
    for combination in itertools.product(*lists):
        masks = [hint.mask for hint in combination if hint.mask is not None]
        common = EVERYWHERE
        for mask in masks:
            common &= mask
        preferred = all(hint.preferred for hint in combination) and len({*masks}) < 2
        if common:
            candidates.append(Hint(common, preferred))
    best = min(candidates, key=lambda hint: rank(hint, need), default=Hint(EVERYWHERE, False))
    if policy is Policy.SINGLE_NUMA_NODE and best.mask == EVERYWHERE:
        best = Hint(None, best.preferred)
    return best, best.preferred or policy in (Policy.NONE, Policy.BEST_EFFORT)


@given(LISTS, st.sampled_from(Policy))
def test_the_best_of_all_combinations_is_taken(per_resource, policy):
    assert numa.merge(per_resource, policy=policy, machine_nodes=NODES) == merged(per_resource, policy)


@pytest.mark.parametrize(
    ("hints", "best"),
    [
        ([Hint(0b011, True), Hint(0b100, True), Hint(0b010, True)], Hint(0b010, True)),
        ([Hint(0b001, False), Hint(0b111, True)], Hint(0b111, True)),
        ([Hint(0b111, True), Hint(0b001, False)], Hint(0b111, True)),
        ([Hint(0b100, False), Hint(0b010, False)], Hint(0b010, False)),
        ([Hint(0b110, False), Hint(0b011, False)], Hint(0b011, False)),
        ([Hint(None, False)], Hint(EVERYWHERE, False)),
        ([Hint(None, True), Hint(0b001, True)], Hint(0b001, True)),
    ],
)
def test_of_one_resource_the_preferred_and_then_the_narrowest_lowest_hint_is_taken(hints, best):
    assert numa.merge([hints], policy=Policy.RESTRICTED, machine_nodes=NODES) == (best, best.preferred)


def test_of_hints_that_nobody_prefers_the_one_nearest_to_what_is_needed_is_taken():
    """The second resource needs two nodes at least, so two nodes are better than one."""
    wide = [Hint(0b011, False), Hint(0b111, False)]
    narrow = [Hint(0b001, False), Hint(0b011, False), Hint(0b111, False)]

    assert numa.merge([narrow, wide], policy=Policy.BEST_EFFORT, machine_nodes=NODES) == (Hint(0b011, False), True)
    assert numa.merge([wide, narrow], policy=Policy.BEST_EFFORT, machine_nodes=NODES) == (Hint(0b011, False), True)
    assert numa.merge([[Hint(0b111, False), Hint(0b110, False)], [Hint(0b100, False), Hint(0b111, False)]],
                      policy=Policy.BEST_EFFORT, machine_nodes=NODES) == (Hint(0b110, False), True)  # fmt: skip


def test_hints_of_several_resources_are_preferred_only_if_they_are_the_same():
    same, other = [Hint(0b01, True)], [Hint(0b11, True)]

    assert numa.merge([same, same, None], policy=Policy.RESTRICTED, machine_nodes=(0, 1)) == (Hint(0b01, True), True)
    assert numa.merge([same, other], policy=Policy.RESTRICTED, machine_nodes=(0, 1)) == (Hint(0b01, False), False)


@given(
    nodes_of=st.dictionaries(st.sampled_from(IDS), st.sets(st.integers(-1, 4), max_size=3).map(sorted)),
    empty=st.sets(st.sampled_from(IDS)),
    available=st.sets(st.sampled_from(IDS)),
    reusable=st.sets(st.sampled_from(IDS), max_size=2),
    request=st.integers(1, 4),
    bearing_only=st.booleans(),
)
def test_every_set_of_nodes_on_which_the_devices_can_be_had_is_a_hint(
    nodes_of, empty, available, reusable, request, bearing_only
):
    devices = {
        name: Device(name, "Healthy", tuple(nodes), not nodes and name in empty) for name, nodes in nodes_of.items()
    }
    bearing = sorted({node for nodes in nodes_of.values() for node in nodes} & set(NODES))
    weighed = bearing if bearing_only and bearing else NODES
    pinned = [name for name in reusable if name in devices and (nodes_of[name] or name in empty)]
    sets = [set(chosen) for size in range(1, len(weighed) + 1) for chosen in itertools.combinations(weighed, size)]

    def on(name, chosen):
        return bool(chosen & set(nodes_of.get(name, ())))

    sizes = [len(chosen) for chosen in sets if sum(on(name, chosen) for name in devices) >= request]
    expected = [
        Hint(sum(1 << node for node in chosen), len(chosen) == min(sizes, default=len(weighed)))
        for chosen in sets
        if all(on(name, chosen) for name in pinned)
        and len(pinned) + sum(on(name, chosen) for name in available) >= request
    ]

    found = numa.hints(
        devices, available=available, reusable=reusable, request=request, machine_nodes=NODES, bearing_only=bearing_only
    )

    assert found == expected


@given(
    nodes_of=st.dictionaries(st.sampled_from(IDS), st.sets(st.integers(-1, 4), max_size=3)),
    available=st.sets(st.sampled_from(IDS)),
    mask=st.none() | st.integers(1, EVERYWHERE),
)
def test_a_split_sorts_all_that_is_available_by_the_hint(nodes_of, available, mask):
    devices = {name: Device(name, "Healthy", tuple(nodes)) for name, nodes in nodes_of.items()}

    aligned, unaligned, without = numa.split(devices, available, Hint(mask, True))

    if mask is None or not any(nodes_of.values()):
        assert (aligned, unaligned, without) == (set(), set(), available)
        return
    for name in available:
        nodes = nodes_of.get(name, set()) - {-1}
        assert (name in without) is (not nodes)
        assert (name in aligned) is any(node >= 0 and mask >> node & 1 for node in nodes)
        assert (name in aligned) + (name in unaligned) + (name in without) == 1
    assert aligned | unaligned | without == available


def test_without_a_hint_all_is_alike():
    devices = {"a": Device("a", "Healthy", (0,))}

    assert numa.split(devices, {"a"}, None) == (set(), set(), {"a"})


@given(st.lists(st.integers(-3, 70)))
def test_a_mask_has_a_bit_for_each_node_from_0_to_63(nodes):
    assert numa.mask_of(nodes) == sum(2**node for node in range(64) if node in nodes)


@pytest.mark.parametrize(("nodes", "has"), [([], False), ([()], False), ([(), (0,)], True), ([(-1,)], True)])
def test_one_device_with_a_node_gives_the_resource_a_say(nodes, has):
    assert numa.has_topology(Device(str(number), "Healthy", one) for number, one in enumerate(nodes)) is has


def test_nodes_of_a_machine_are_from_0_to_63_in_order():
    assert numa.checked(iter([63, 0, 5, 0])) == (0, 5, 63)
    assert (numa.MASK_BITS, numa.MOST_NODES) == (64, 8)
    with pytest.raises(ValueError, match=r"^numa_nodes: -1 must be from 0 to 63$"):
        numa.checked([3, -1, 99])


def test_policies_are_the_kubelets_words():
    assert list(map(str, Policy)) == ["none", "best-effort", "restricted", "single-numa-node"]
