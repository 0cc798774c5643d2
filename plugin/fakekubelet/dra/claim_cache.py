"""What a kubelet knows of the claims of its pods, and the file that tells the next one: `dra_manager_state`.

Mirrors `cm/dra/claiminfo.go` and `cm/dra/state` (contract DRA-PREP-9). The file is the kubelet's, checksum included;
that a claim is prepared does not stand in it (contract DRA-14).
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "dra_manager_state"


class DamagedCheckpointError(Exception):
    """The file cannot be read. A real kubelet does not start then."""


@dataclasses.dataclass(frozen=True, slots=True)
class PreparedDevice:
    """A device as its driver described it in the answer to a prepare call."""

    pool: str
    device: str
    share_id: str | None = None
    request_names: tuple[str, ...] = ()
    cdi_device_ids: tuple[str, ...] = ()


@dataclasses.dataclass(slots=True)
class ClaimInfo:
    """One claim."""

    uid: str
    name: str
    namespace: str
    pod_uids: set[str] = dataclasses.field(default_factory=set)
    drivers: dict[str, list[PreparedDevice]] = dataclasses.field(default_factory=dict)
    """Every driver in the allocation, and its devices once they are prepared."""
    is_prepared: bool = False

    def cdi_device_ids(self, request: str = "") -> list[str]:
        """Return the ids for one request, or for all; those that are there twice are returned twice (DRA-PREP-3)."""
        return [
            cdi_id
            for devices in self.drivers.values()
            for device in devices
            if not request or not device.request_names or request in device.request_names
            for cdi_id in device.cdi_device_ids
        ]


class ClaimCache:
    """The claims by namespace and name."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._claims: dict[tuple[str, str], ClaimInfo] = {}

    def load(self) -> None:
        """Begin with what the file says; DamagedCheckpointError if it says nothing that can be read."""
        self._claims = {}
        try:
            content = json.loads(self._path.read_text())
            data = content["Data"]
            if zlib.crc32(data.encode()) != content["Checksum"]:
                raise DamagedCheckpointError(f"{self._path}: checkpoint is corrupted")
            for entry in json.loads(data)["ClaimInfoStateList"] or []:
                info = _read(entry)
                self._claims[info.namespace, info.name] = info
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedCheckpointError(f"{self._path}: {error!r}") from error

    def save(self) -> None:
        """Replace the file."""
        data = json.dumps(
            {
                "kind": "DRACheckpoint",
                "apiVersion": "checkpoint.dra.kubelet.k8s.io/v1",
                "ClaimInfoStateList": [_written(info) for info in self._claims.values()],
            },
            separators=(",", ":"),
        )
        staged = self._path.with_name(f".{FILE_NAME}.new")
        staged.write_text(json.dumps({"Data": data, "Checksum": zlib.crc32(data.encode())}))
        staged.replace(self._path)

    def delete_file(self) -> None:
        """Leave nothing to the next one."""
        self._path.unlink(missing_ok=True)

    def all(self) -> list[ClaimInfo]:
        """Return all claims."""
        return list(self._claims.values())

    def get(self, namespace: str, name: str) -> ClaimInfo | None:
        """Return a claim, if it is known."""
        return self._claims.get((namespace, name))

    def add(self, info: ClaimInfo) -> None:
        """Add a claim."""
        self._claims[info.namespace, info.name] = info

    def remove(self, info: ClaimInfo) -> None:
        """Forget a claim."""
        self._claims.pop((info.namespace, info.name), None)


def _written(info: ClaimInfo) -> dict[str, Any]:
    return {
        "ClaimUID": info.uid,
        "ClaimName": info.name,
        "Namespace": info.namespace,
        "PodUIDs": {uid: {} for uid in sorted(info.pod_uids)},
        "DriverState": {
            driver: {
                "Devices": [
                    {
                        "PoolName": device.pool,
                        "DeviceName": device.device,
                        "ShareID": device.share_id,
                        "RequestNames": list(device.request_names),
                        "CDIDeviceIDs": list(device.cdi_device_ids),
                    }
                    for device in devices
                ]
                or None
            }
            for driver, devices in info.drivers.items()
        },
    }


def _read(entry: dict[str, Any]) -> ClaimInfo:
    drivers = {
        driver: [
            PreparedDevice(
                device["PoolName"],
                device["DeviceName"],
                device.get("ShareID"),
                tuple(device.get("RequestNames") or ()),
                tuple(device.get("CDIDeviceIDs") or ()),
            )
            for device in state.get("Devices") or []
        ]
        for driver, state in (entry["DriverState"] or {}).items()
    }
    return ClaimInfo(entry["ClaimUID"], entry["ClaimName"], entry["Namespace"], set(entry["PodUIDs"] or ()), drivers)
