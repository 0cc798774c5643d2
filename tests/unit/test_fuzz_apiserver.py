"""Objects with anything in the place of anything: the fake API server takes them or refuses them, and nothing else."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from fakekubelet.apiserver import api_error, conversion, kinds, patches
from fakekubelet.apiserver.server import ApiServer
from tests.fidelity_dra import bad_claims, bad_slices

RUBBISH: list[Any] = [
    None, True, False, 0, -1, 2**70, 1.5, 1e300, "", "x", "ü" * 70, "1e99", "2024-13-45T99:99:99Z", [], [None], [[]], [1],
    {}, {"a": None}, {"": {}}, {"a": {"a": [1]}},
]  # fmt: skip  # a list
POD = {
    "containers": [{"name": "a", "image": "b", "resources": {"claims": [{"name": "c"}]}}],
    "resourceClaims": [{"name": "c", "resourceClaimName": "d"}],
}
SPECS = {
    "ResourceSlice": [bad_slices.spec_of(change) for change in bad_slices.CHANGES.values()],
    "ResourceClaim": [bad_claims.spec_of(change) for change in bad_claims.CHANGES.values()],
    "ResourceClaimTemplate": [{"spec": bad_claims.spec_of(change)} for change in bad_claims.CHANGES.values()],
    "DeviceClass": list(bad_claims.CLASSES.values()),
    "Pod": [POD],
}
METADATA = {
    "labels": {"a": "b"}, "annotations": {"a": "b"}, "finalizers": [],
    "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}],
}  # fmt: skip  # a table


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inside for place in places(item, (*path, key)))]


def spoiled(document: Any, rng: random.Random) -> Any:
    """Put rubbish into one to three places, or take something out."""
    document = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        *way, last = rng.choice([place for place in places(document) if place] or [("spec",)])
        inside = document
        for key in way:
            inside = inside[key]
        if rng.random() < 0.85:
            inside[last] = copy.deepcopy(rng.choice(RUBBISH))
        else:
            inside.pop(last, None) if isinstance(inside, dict) else inside.pop(last)
    return document


@pytest.mark.parametrize("seed", range(4))
def test_rubbish_in_any_place_is_refused_and_never_a_crash(seed: int) -> None:
    rng, registry = random.Random(seed), ApiServer("1.36").registry
    counts = {True: 0, False: 0}
    for number in range(400):
        name = rng.choice(list(SPECS))
        kind = kinds.BY_NAME["" if name == "Pod" else kinds.RESOURCE_GROUP, name]
        version = "v1" if name == "Pod" else rng.choice(["v1", "v1beta1"])
        document = spoiled({"metadata": {"name": f"x{number % 20}", **METADATA}, "spec": rng.choice(SPECS[name])}, rng)
        status = spoiled({"status": rng.choice(list(bad_claims.STATUS.values()))}, rng)
        try:
            stored = conversion.to_stored(version, name, document)
            what = rng.choice(("create", "create", "update", "status", patches.MERGE, patches.STRATEGIC, patches.JSON))
            if what == "create":
                made = registry.create(kind, stored, "default")
            elif what == "update":
                made, _ = registry.update(kind, f"x{number % 20}", stored, "default")
            elif what == "status":
                made, _ = registry.update(
                    kind, f"x{number % 20}", {**stored, **status}, "default", subresource="status"
                )
            else:
                made, _ = registry.patch(kind, f"x{number % 20}", what, rng.choice([stored, [stored]]), "default")
            made.encoded(version)
            counts[True] += 1
        except api_error.ApiError:
            counts[False] += 1

    assert all(counts.values())
