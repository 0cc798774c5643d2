"""The file that lets allocations outlive a kubelet: `kubelet_internal_checkpoint` (contract RS-10).

The shape is the kubelet's; the checksum is not (the real one hashes Go's memory layout), so a real kubelet and this one
do not read each other's files. A bad file is ignored, as there.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from typing import TYPE_CHECKING, Any

from google.protobuf import message

from fakekubelet.kubelet import pod_devices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "kubelet_internal_checkpoint"


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file held."""

    pod_devices: pod_devices.PodDevices
    resources: tuple[str, ...]
    """Resources that were registered."""


def write(directory: Path, held: pod_devices.PodDevices, healthy: dict[str, set[str]]) -> None:
    """Replace the checkpoint; done after every list and every allocation (contract LW-7)."""
    entries = [
        {
            "PodUID": pod_uid,
            "ContainerName": container,
            "ResourceName": resource,
            "DeviceIDs": {str(node): sorted(ids) for node, ids in devices.per_numa.items()},
            "AllocResp": base64.b64encode(devices.response.SerializeToString(deterministic=True)).decode(),
        }
        for pod_uid, container, resource, devices in held
    ]
    data = {
        "PodDeviceEntries": entries,
        "RegisteredDevices": {resource: sorted(ids) for resource, ids in sorted(healthy.items())},
    }
    staged = directory / f".{FILE_NAME}.new"
    staged.write_text(json.dumps({"Data": data, "Checksum": _checksum(data)}))
    staged.replace(directory / FILE_NAME)


def read(directory: Path) -> Checkpoint | None:
    """Return the checkpoint; None if there is none or it is damaged."""
    try:
        content = json.loads((directory / FILE_NAME).read_text())
        data = content["Data"]
        if content["Checksum"] != _checksum(data):
            return None
        held = pod_devices.PodDevices()
        for entry in data["PodDeviceEntries"]:
            response = pluginapi.ContainerAllocateResponse.FromString(base64.b64decode(entry["AllocResp"]))
            per_numa = {int(node): list(ids) for node, ids in entry["DeviceIDs"].items()}
            held.insert(
                entry["PodUID"], entry["ContainerName"], entry["ResourceName"], pod_devices.Held(per_numa, response)
            )
        return Checkpoint(held, tuple(data["RegisteredDevices"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, message.DecodeError):
        return None  # "a bad file is logged and ignored"; it is our own file, so there is nothing more to say about it


def remove(directory: Path) -> None:
    """Forget all allocations."""
    (directory / FILE_NAME).unlink(missing_ok=True)


def _checksum(data: Any) -> int:
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())
