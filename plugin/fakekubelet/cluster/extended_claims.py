"""Extended resources by DRA: the claim that the scheduler makes for a pod, and its mapping to containers.

Mirrors `dynamicresources/extendeddynamicresources.go` of 1.36 (contract ER-1, ER-3, DRA-ER-4). Init containers get
requests of their own here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fakekubelet import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Object = dict[str, Any]
_IMPLICIT: Final = "deviceclass.resource.kubernetes.io/"


def classes_by_resource(classes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return resource name → class; of two classes with one name the newer wins, then the first by name (DRA-ER-2)."""
    found: dict[str, str] = {}
    for one in sorted(classes, key=lambda one: one["metadata"]["name"], reverse=True):
        found[_IMPLICIT + one["metadata"]["name"]] = one["metadata"]["name"]
    ordered = sorted(classes, key=lambda one: one["metadata"]["name"], reverse=True)
    for one in sorted(ordered, key=lambda one: one["metadata"]["creationTimestamp"]):
        name = one["spec"].get("extendedResourceName")
        if name:
            found[name] = one["metadata"]["name"]
    return found


def claim_for(pod: Mapping[str, Any], by_resource: Mapping[str, str]) -> tuple[Object, list[Object]] | None:
    """Return the claim for a pod's extended resources and its request mappings; None if it asks for none.

    QuantityError for a number of devices that is no whole one.
    """
    requests, mappings = [], []
    containers = [*(pod["spec"].get("initContainers") or []), *(pod["spec"].get("containers") or [])]
    for index, container in enumerate(containers):
        wanted = {**((container.get("resources") or {}).get("limits") or {}),
                  **((container.get("resources") or {}).get("requests") or {})}  # fmt: skip
        for number, resource in enumerate(sorted(wanted)):
            count = quantity.whole(wanted[resource]) if resource in by_resource else 0
            if not count:
                continue
            name = f"container-{index}-request-{number}"
            exactly = {
                "deviceClassName": by_resource[resource],
                "allocationMode": "ExactCount",
                "count": count,
            }
            requests.append({"name": name, "exactly": exactly})
            mappings.append({"containerName": container["name"], "resourceName": resource, "requestName": name})
    if not requests:
        return None
    metadata = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
    claim = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "generateName": f"{metadata['name']}-extended-resources-",
            "namespace": metadata["namespace"],
            "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"},
            "ownerReferences": [owner],
        },
        "spec": {"devices": {"requests": requests}},
    }
    return claim, mappings
