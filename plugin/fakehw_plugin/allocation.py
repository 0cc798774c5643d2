"""What a container gets, and which devices suit it best. Pure: devices in, values out."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fakehw_plugin.device import Device

DEVICE_NODE_PERMISSIONS: Final = "rw"


class BindMount(NamedTuple):
    """A directory of the host that the container sees, read-only."""

    container_path: str
    host_path: str


class Allocation(NamedTuple):
    """What one container gets for a device."""

    envs: dict[str, str]
    mounts: tuple[BindMount, ...] = ()
    device_nodes: tuple[BindMount, ...] = ()


def variables(devices: Collection[Device]) -> list[tuple[Device, str]]:
    """Return the devices, in order, each with the name of the variable that tells a container its path.

    Variables count from 0 within a class, in the order of device numbers and not of text: DEV_3_ID_0, DEV_3_ID_1.
    """
    counts: defaultdict[str, int] = defaultdict(int)
    named = []
    for device in sorted(devices, key=lambda device: device.sort_key) if len(devices) > 1 else devices:
        prefix = device.env_prefix
        named.append((device, f"{prefix}_{counts[prefix]}"))
        counts[prefix] += 1
    return named


def grant(path: str, variable: str, *, has_device_node: bool, host_root: str) -> Allocation:
    """Return what a container gets for the device at `path` of the tree, which the host has at `host_root`."""
    source = host_root.rstrip("/") + path
    return Allocation(
        {variable: path},
        (BindMount(path, source),),
        (BindMount(f"{path}/node", f"{source}/node"),) if has_device_node else (),
    )


def prefer(available: Collection[Device], must_include: Sequence[Device], size: int) -> list[Device]:
    """Choose `size` devices: all of `must_include`, then as few NUMA nodes as possible, then the lowest numbers.

    The NUMA nodes of `must_include` come first. Devices without a NUMA node count as one node of their own. Fewer than
    `size` come back only where there are no more; the kubelet then fills up by itself (contract GP-3).
    """
    chosen = sorted(must_include, key=lambda device: device.sort_key)
    missing = size - len(chosen)
    if missing <= 0:
        return chosen
    taken = {device.id for device in chosen}
    groups: defaultdict[int | None, list[Device]] = defaultdict(list)
    for device in sorted(available, key=lambda device: device.sort_key):
        if device.id not in taken:
            groups[device.numa_node].append(device)

    near = {device.numa_node for device in chosen}
    neighbours = sorted(
        (device for numa_node in near for device in groups.pop(numa_node, [])), key=lambda device: device.sort_key
    )
    chosen += neighbours[:missing]
    missing -= min(missing, len(neighbours))
    while missing and groups:
        # A group that covers the rest ends the search: of those the one with the lowest devices. While none does, the
        # largest leaves the least to find elsewhere, which keeps the number of nodes at its minimum.
        covering = [numa_node for numa_node, group in groups.items() if len(group) >= missing]
        if covering:
            best = min(covering, key=lambda numa_node: [d.sort_key for d in groups[numa_node][:missing]])
        else:
            best = min(groups, key=lambda numa_node: (-len(groups[numa_node]), groups[numa_node][0].sort_key))
        group = groups.pop(best)
        chosen += group[:missing]
        missing -= min(missing, len(group))
    return chosen
