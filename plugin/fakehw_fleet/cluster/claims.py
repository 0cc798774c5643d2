"""What a node's kubelet does for the ResourceClaims of a pod, by the drivers of the node."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from fakehw_fleet.cluster import pod_status, pods
from fakehw_fleet.cluster.pod_status import ByClaims
from fakekubelet.dra.cdi import CdiError
from fakekubelet.dra.preparation import PreparationError

if TYPE_CHECKING:
    from fakehw_fleet.cluster.node import FleetNode, PodRecord
    from kubeapi.resources import Object


class Step(enum.StrEnum):
    """What is done for the claims of a pod. `reason` is that of the event where it cannot be done."""

    PREPARE = "prepare"
    UNPREPARE = "unprepare"

    @property
    def reason(self) -> str:
        """Return the reason as the kubelet writes it."""
        return f"Failed{self.capitalize()}DynamicResources"


async def bring(one: FleetNode, found: Object, step: Step) -> str:
    """Have a pod's claims prepared, or taken back; return the text of the event if that cannot be now, or nothing."""
    dra = one.kubelet.dra
    if dra is None or not pods.has_claims(found):
        return ""
    try:
        await (dra.prepare if step is Step.PREPARE else dra.unprepare)(found)
    except PreparationError as error:
        return f"Failed to {step} dynamic resources: {error}"
    return ""


def given(one: FleetNode, found: Object) -> dict[str, ByClaims]:
    """Return what each container of a pod got by claims, where that is anything."""
    if one.kubelet.dra is None or not pods.has_claims(found):
        return {}
    result = {}
    for container in (*found["spec"]["initContainers"], *found["spec"]["containers"]):
        try:
            cdi_ids = one.kubelet.dra.cdi_device_ids(found, container["name"])
            edits = one.kubelet.dra.edits(found, container["name"])
        except (PreparationError, CdiError):
            continue  # of a pod that ran before, and whose claim has gone
        if cdi_ids:
            result[container["name"]] = ByClaims(tuple(cdi_ids), dict(edits.env))
    return result


def resources_status(one: FleetNode, found: Object, record: PodRecord) -> dict[str, list[Object]]:
    """Return `allocatedResourcesStatus` of a pod's containers."""
    by_plugins = one.kubelet.allocated_resources_status(record.admitted.pod)
    is_asked = one.kubelet.dra is not None and bool(record.by_claims)
    try:
        by_drivers = one.kubelet.dra.allocated_resources_status(found) if is_asked and one.kubelet.dra else {}
    except PreparationError:
        by_drivers = {}  # a claim that is not made yet
    return pod_status.resources_status(by_plugins, by_drivers)
