"""What a container gets, and which devices suit it best. Pure: devices in, values out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from fakehw_plugin.device import Device

DEVICE_NODE_PERMISSIONS: Final = "rw"


@dataclass(frozen=True, slots=True)
class BindMount:
    """A directory of the host that the container sees, read-only."""

    container_path: str
    host_path: str


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one container gets for its devices of one resource."""

    envs: dict[str, str] = field(default_factory=dict)
    mounts: tuple[BindMount, ...] = ()
    device_nodes: tuple[BindMount, ...] = ()


def allocate(devices: Iterable[Device], *, host_root: str) -> Allocation:
    """Return variables, mounts and device nodes for `devices`, whose tree the host has at `host_root`.

    Variables count from 0 within a class, in the order of device numbers and not of text: DEV_3_ID_0='/node2/dev3/2'.
    """
    ordered = sorted(devices, key=lambda device: device.sort_key)
    root = host_root.rstrip("/")
    envs: dict[str, str] = {}
    counts: defaultdict[str, int] = defaultdict(int)
    for device in ordered:
        prefix = device.env_prefix
        envs[f"{prefix}_{counts[prefix]}"] = device.path
        counts[prefix] += 1
    return Allocation(
        envs,
        tuple(BindMount(device.path, root + device.path) for device in ordered),
        tuple(
            BindMount(f"{device.path}/node", f"{root}{device.path}/node")
            for device in ordered
            if device.has_device_node
        ),
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
