"""A device as it stands in a ResourceSlice: name, attributes, capacity, taints. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fakehw_plugin.attribute import Attribute, AttributeType, Taint, label_value
from fakehw_plugin.dra import names

if TYPE_CHECKING:
    from fakehw_plugin.device import Device

Entry = dict[str, Any]
"""An element of `spec.devices`, as JSON has it."""

UNHEALTHY: Final = "unhealthy"
"""The key, in the driver's domain, of the taint that a device has while it is unhealthy."""

NUMA_NODE: Final = "resource.kubernetes.io/numaNode"
"""Kubernetes' own name for it, an integer (KEP-6072)."""

OWN: Final = ("node", "class", "number")
"""Attributes that every device has; files of these names are not told."""

MAX_ATTRIBUTES: Final = 32
"""Attributes and capacities of a device together (contract SL-5)."""

MAX_TAINTS: Final = 16


def entry(device: Device, *, driver: str) -> Entry:
    """Return what is published of `device`; what is too much is left out, the last names first."""
    attributes: dict[str, dict[str, Any]] = {
        "node": {"string": device.node},
        "class": {"string": device.class_name},
        "number": {"int": device.number},
    }
    if device.numa_node is not None:
        attributes[NUMA_NODE] = {"int": device.numa_node}
    capacity: dict[str, dict[str, Any]] = {}
    for attribute in told(device):
        if attribute.type is AttributeType.CAPACITY:
            capacity[attribute.name] = {"value": attribute.value}
        else:
            attributes[attribute.name] = {attribute.type.value: attribute.value}
    found: Entry = {"name": names.device_name(device.id), "attributes": attributes}
    if capacity:
        found["capacity"] = capacity
    if taints := [_as_json(taint, driver) for taint in taints_of(device)]:
        found["taints"] = taints
    return found


def is_unhealthy(found: Entry) -> bool:
    """Tell whether a device is published as unhealthy."""
    return any(taint["key"].endswith(f"/{UNHEALTHY}") for taint in found.get("taints") or ())


def told(device: Device) -> list[Attribute]:
    """Return the device's own attributes that are published, which are those that there is room for."""
    room = MAX_ATTRIBUTES - len(OWN) - (device.numa_node is not None)
    return [attribute for attribute in device.details.attributes if attribute.name not in OWN][:room]


def taints_of(device: Device) -> list[Taint]:
    """Return the taints of a device: for its health first, then those that stand in the tree, each key once."""
    found = {taint.key: taint for taint in device.details.taints}
    if not device.is_healthy:
        taint = Taint(UNHEALTHY, label_value(device.reason), device.details.unhealthy_effect)
        found = {UNHEALTHY: taint, **{key: taint for key, taint in found.items() if key != UNHEALTHY}}
    return list(found.values())[:MAX_TAINTS]


def _as_json(taint: Taint, driver: str) -> dict[str, str]:
    key = taint.key if "/" in taint.key else f"{driver}/{taint.key}"
    return {"key": key, **({"value": taint.value} if taint.value else {}), "effect": taint.effect.value}
