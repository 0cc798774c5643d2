"""What has to be written so that the API server has the slices of a pool as they should be. Pure.

A consumer believes a pool only when it sees as many slices of the highest generation as each of them says there are
(contract SL-3). So whatever takes more than one write gets a new generation: until the last one is written the pool is
incomplete and nothing is allocated from it, and what is left of the old generation is ignored and can go at leisure.
One write is a whole by itself and keeps the generation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fakehw_plugin.dra.entry import Entry

Object = dict[str, Any]
TaintKey = tuple[str, str, str]
"""Device, key and effect."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What the slices of a pool have in common."""

    driver: str
    node: str
    node_uid: str
    """For the owner reference: the slices go when the Node object goes (contract SL-4). Empty: none."""

    @property
    def name(self) -> str:
        """Return the pool's name: the node's."""
        return self.node

    def slice(self, name: str, devices: Sequence[Entry], *, generation: int, count: int) -> Object:
        """Return a ResourceSlice of this pool."""
        metadata: Object = {"name": name}
        if self.node_uid:
            owner = {"apiVersion": "v1", "kind": "Node", "name": self.node, "uid": self.node_uid, "controller": True}
            metadata["ownerReferences"] = [owner]
        pool = {"name": self.name, "generation": generation, "resourceSliceCount": count}
        spec = {"driver": self.driver, "nodeName": self.node, "pool": pool, "devices": list(devices)}
        return {"metadata": metadata, "spec": spec}


@dataclass(frozen=True, slots=True)
class Plan:
    """Writes in the order in which they are to be made."""

    update: list[Object] = field(default_factory=list)
    create: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.update or self.create or self.delete)


def without_times(devices: Sequence[Entry]) -> list[Entry]:
    """Return the devices without the times at which their taints were added."""
    return [_without_times(device) if device.get("taints") else device for device in devices]


def _without_times(device: Entry) -> Entry:
    bare = [{key: value for key, value in taint.items() if key != "timeAdded"} for taint in device["taints"]]
    return {**device, "taints": bare}


def same_devices(stored: Sequence[Entry], wanted: Sequence[Entry]) -> bool:
    """Tell whether the server has what is wanted; when a taint was added is the server's to say."""
    return without_times(stored) == without_times(wanted)


def plan(
    pool: Pool,
    wanted: Mapping[str, Sequence[Entry]],
    stored: Mapping[str, Object],
    *,
    times: Mapping[TaintKey, str],
    is_same: Callable[[Sequence[Entry], Sequence[Entry]], bool] = same_devices,
) -> Plan:
    """Return the writes that bring `stored` (slices of this driver on this node, by name) to `wanted`.

    `times` says since when a device has a taint: see `taint_times`. `is_same` compares stored and wanted devices.
    """
    found = {name: stored[name] for name in wanted if name in stored and _is_of(stored[name], pool)}
    obsolete = [stored[name] for name in sorted(stored) if name not in found and _is_ours(stored[name], pool)]
    generation = max((_pool(one).get("generation", 1) for one in stored.values() if _is_of(one, pool)), default=0)
    count = len(wanted)

    def is_right(name: str) -> bool:
        if name not in found:
            return False
        its_pool = _pool(found[name])
        return (
            its_pool.get("generation") == generation
            and its_pool.get("resourceSliceCount") == count
            and is_same(found[name]["spec"].get("devices") or [], wanted[name])
            and _owners(found[name]) == _owners(pool.slice(name, [], generation=0, count=0))
        )

    wrong = [name for name in wanted if not is_right(name)]
    in_the_way = any(_is_of(one, pool) and _pool(one).get("generation") == generation for one in obsolete)
    if len(wrong) > 1 or (wrong and in_the_way):
        generation, wrong = generation + 1, list(wanted)
    result = Plan(delete=obsolete)
    for name in wrong:
        devices = [with_times(device, times) for device in wanted[name]]
        made = pool.slice(name, devices, generation=max(generation, 1), count=count)
        if name in found:
            made["metadata"]["resourceVersion"] = found[name]["metadata"]["resourceVersion"]
            result.update.append(made)
        elif name in stored:  # the name is taken by a slice that can never become ours: its pool or node is another
            continue
        else:
            result.create.append(made)
    return result


def taint_times(slices: Iterable[Object]) -> dict[TaintKey, str]:
    """Return since when each taint of each device stands: by device, key and effect.

    The API server puts the present time where a write says none (contract DRA-TAINT-1), and a toleration's seconds
    would begin anew.
    """
    return {
        (device["name"], taint["key"], taint["effect"]): taint["timeAdded"]
        for found in slices
        for device in found["spec"].get("devices") or []
        for taint in device.get("taints") or []
        if taint.get("timeAdded")
    }


def with_times(device: Entry, times: Mapping[TaintKey, str]) -> Entry:
    """Return `device` with the times of the taints that it has had before."""
    if not device.get("taints"):
        return device
    taints = []
    for taint in device["taints"]:
        at = times.get((device["name"], taint["key"], taint["effect"]))
        taints.append({**taint, "timeAdded": at} if at else taint)
    return {**device, "taints": taints}


def difference(before: Sequence[Entry], now: Sequence[Entry]) -> dict[str, Entry | None]:
    """Return the devices that are told otherwise than before, by name; None for those that are not told any more."""
    was = {device["name"]: device for device in without_times(before)}
    changed: dict[str, Entry | None] = {
        device["name"]: device for device in without_times(now) if was.pop(device["name"], None) != device
    }
    return changed | dict.fromkeys(was)


def missing_fields(sent: Sequence[Entry], stored: Sequence[Entry]) -> set[str]:
    """Return the fields of devices that the server has dropped, as it does with those of a gate that is off (SL-8)."""
    missing = set()
    for ours, theirs in zip(sent, stored, strict=False):
        missing |= {key for key in ours if key not in theirs}
    return missing


def _is_of(found: Object, pool: Pool) -> bool:
    return _is_ours(found, pool) and _pool(found).get("name") == pool.name


def _is_ours(found: Object, pool: Pool) -> bool:
    spec = found["spec"]
    return bool(spec.get("driver") == pool.driver and spec.get("nodeName") == pool.node)


def _pool(found: Object) -> Object:
    pool: Object = found["spec"].get("pool") or {}
    return pool


def _owners(found: Object) -> list[tuple[str, str]]:
    return [(owner["kind"], owner["uid"]) for owner in found["metadata"].get("ownerReferences") or []]
