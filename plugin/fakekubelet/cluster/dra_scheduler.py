"""The scheduler and the controller that makes claims of templates, as far as devices go.

First fit, node by node in the order of their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakekubelet import quantity
from fakekubelet.cluster import claim_allocation, extended_claims, pod_objects

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fakekubelet.cluster.pod_objects import Object, PodObjects


def schedule(objects: PodObjects, pod: Object, node_names: Iterable[str]) -> None:
    """Give a pod its claims, their devices and a node; or say why not."""
    api = objects.api
    claims = _claims(objects, pod)
    try:
        extended = _extended(objects, pod)
    except quantity.QuantityError as error:  # which a real API server would not have stored
        objects.note(pod, str(error))
        return
    wanted = [*claims, *([] if extended is None else [extended[0]])]
    waiting = [claim for claim in wanted if "allocation" not in (claim.get("status") or {})]
    classes = {found["metadata"]["name"]: found for found in api.all("deviceclasses")}
    slices = api.all("resourceslices")
    why = []
    for node in sorted(node_names):
        try:
            allocations = claim_allocation.allocate(waiting, classes, slices, _in_use(objects), node)
        except claim_allocation.UnallocatableError as error:
            why.append(str(error))
            continue
        if extended is not None:
            made = api.create(extended[0])
            waiting[-1] = made
            wanted[-1] = made
            mapping = {"resourceClaimName": made["metadata"]["name"], "requestMappings": extended[1]}
            pod = objects.set_status(pod, {"extendedResourceClaimStatus": mapping})
        uids = (claim["metadata"]["uid"] for claim in waiting)
        _allocate(objects, pod, wanted, dict(zip(uids, allocations, strict=True)))
        objects.note(pod, f"Successfully assigned default/{pod['metadata']['name']} to {node}")
        api.registry.bind(pod["metadata"]["namespace"], pod["metadata"]["name"], node)
        return
    texts = [f"{why.count(text)} {text}" for text in sorted(set(why))]
    objects.note(pod, f"0/{len(why)} nodes are available: {', '.join(texts)}.")


def _claims(objects: PodObjects, pod: Object) -> list[Object]:
    """Return the claims that a pod names, those of templates made for it."""
    api = objects.api
    made = {status["name"]: status["resourceClaimName"] for status in pod["status"].get("resourceClaimStatuses", [])}
    metadata = pod["metadata"]
    for entry in pod["spec"].get("resourceClaims", []):
        template_name = entry.get("resourceClaimTemplateName")
        if template_name is None or entry["name"] in made:
            continue
        template = api.find("resourceclaimtemplates", template_name, metadata["namespace"])
        if template is None:
            continue
        owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        claim = {
            "apiVersion": pod_objects.CLAIMS,
            "kind": "ResourceClaim",
            "metadata": {
                "generateName": f"{metadata['name']}-{entry['name']}-",
                "namespace": metadata["namespace"],
                "ownerReferences": [{**owner, "controller": True}],
            },
            "spec": template["spec"]["spec"],
        }
        made[entry["name"]] = api.create(claim)["metadata"]["name"]
        statuses = [{"name": name, "resourceClaimName": claim_name} for name, claim_name in made.items()]
        pod = objects.set_status(pod, {"resourceClaimStatuses": statuses})
    entries = pod["spec"].get("resourceClaims", [])
    names = dict.fromkeys(entry.get("resourceClaimName") or made.get(entry["name"]) for entry in entries)
    found = [api.find("resourceclaims", name, metadata["namespace"]) for name in names if name]
    return [claim for claim in found if claim is not None]


def _extended(objects: PodObjects, pod: Object) -> tuple[Object, list[Object]] | None:
    if "extendedResourceClaimStatus" in pod["status"]:
        return None
    by_resource = extended_claims.classes_by_resource(objects.api.all("deviceclasses"))
    return extended_claims.claim_for(pod, by_resource)


def _in_use(objects: PodObjects) -> set[claim_allocation.DeviceId]:
    return {
        (result["driver"], result["pool"], result["device"])
        for claim in objects.api.all("resourceclaims")
        for result in pod_objects.results(claim)
        if not result.get("adminAccess")
    }


def _allocate(objects: PodObjects, pod: Object, claims: Sequence[Object], allocations: Mapping[str, Object]) -> None:
    user = {"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    for claim in claims:
        now = objects.api.find("resourceclaims", claim["metadata"]["name"], claim["metadata"]["namespace"])
        assert now is not None
        status = now.get("status") or {}
        new = allocations.get(claim["metadata"]["uid"])
        users = [*status.get("reservedFor", []), user]
        objects.set_claim_status(now, {**status, **({"allocation": new} if new else {}), "reservedFor": users})
