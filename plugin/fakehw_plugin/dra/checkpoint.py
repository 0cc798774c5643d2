"""Which claims are prepared, one file for each: what survives a kill, a reboot and a rolling update.

There is no file of all claims: two instances, which a rolling update may have for a while, cannot lose each other's.
"""

from __future__ import annotations

import json
import operator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from fakehw_plugin.dra import durable
from fakehw_plugin.dra.claim import Reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class PreparedDevice:
    """One device as it was given to a claim; all that is needed to give it again."""

    request: str
    device: str
    """Its name in the pool."""
    device_id: str
    """Its ID in the tree."""
    path: str
    variable: str
    has_device_node: bool = False
    share_id: str = ""
    is_admin: bool = False


_FIELDS: Final = tuple(field.name for field in fields(PreparedDevice))
_values: Final = operator.attrgetter(*_FIELDS)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One prepared claim. Its devices are held by it until it is unprepared."""

    claim: Reference
    pool: str
    devices: tuple[PreparedDevice, ...]


class Checkpoint:
    """The prepared claims of one driver, in `directory`. Another instance may change them: `load` looks anew."""

    def __init__(self, directory: Path, *, on_damage: Callable[[str, str], None]) -> None:
        self.prepared: dict[str, Prepared] = {}
        """By the claim's UID."""
        self._directory = directory
        self._on_damage = on_damage
        self._seen = 0

    def load(self) -> None:
        """Read what is prepared; a file that cannot be read is told of and left where it is."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._seen = self._directory.stat().st_mtime_ns  # before it is read: what comes then is read next time
        found = {}
        for path in sorted(self._directory.glob("*.json")):
            try:
                found[path.stem] = decode(path.read_bytes())
            except FileNotFoundError:
                continue  # unprepared by another instance
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                self._on_damage(str(path), f"{type(error).__name__}: {error}")
        self.prepared = found

    def load_if_changed(self) -> None:
        """Read again if somebody else has written since; OSError where the directory is gone."""
        if self._directory.stat().st_mtime_ns != self._seen:
            self.load()

    def holders(self) -> dict[str, Reference]:
        """Return which claim holds a device, by the device's name in the pool."""
        return {
            device.device: prepared.claim
            for prepared in self.prepared.values()
            for device in prepared.devices
            if not device.is_admin
        }

    def held(self) -> set[str]:
        """Return the IDs of the devices that claims hold."""
        return {
            device.device_id
            for prepared in self.prepared.values()
            for device in prepared.devices
            if not device.is_admin
        }

    def put(self, prepared: Prepared) -> None:
        """Remember that a claim is prepared; OSError where it cannot be written."""
        durable.write(self._path(prepared.claim.uid), encode(prepared))
        self.prepared[prepared.claim.uid] = prepared
        self._seen = self._directory.stat().st_mtime_ns

    def remove(self, uid: str) -> None:
        """Forget a claim."""
        durable.remove(self._path(uid))
        self.prepared.pop(uid, None)
        self._seen = self._directory.stat().st_mtime_ns

    def _path(self, uid: str) -> Path:
        return self._directory / f"{uid}.json"


def encode(prepared: Prepared) -> bytes:
    """Return the content of a claim's file."""
    claim, devices = prepared.claim, [dict(zip(_FIELDS, _values(device), strict=True)) for device in prepared.devices]
    reference = {"namespace": claim.namespace, "name": claim.name, "uid": claim.uid}
    return json.dumps({"version": VERSION, "claim": reference, "pool": prepared.pool, "devices": devices}).encode()


def decode(content: bytes) -> Prepared:
    """Return what a claim's file says; ValueError, KeyError or TypeError for what is none."""
    found: dict[str, Any] = json.loads(content)
    if found["version"] != VERSION:
        raise ValueError(f"version {found['version']!r} is not known")
    devices = tuple(PreparedDevice(**device) for device in found["devices"])
    return Prepared(Reference(**found["claim"]), found["pool"], devices)
