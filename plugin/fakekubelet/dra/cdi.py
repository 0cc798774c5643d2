"""The runtime's side of CDI: what the ids of a container put into it.

Mirrors what containerd and CRI-O do with `vendor/class=name` (contract CDI-1, DRA-CDI-3 to DRA-CDI-5): the directories
are read again at each injection, later ones win, a file that is no spec is an error of its own and hides no other, and
an id that nobody describes fails the container.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from fakekubelet.kubelet.container_options import DeviceNode, Mount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

ID: Final = re.compile(
    r"(?P<vendor>[a-zA-Z0-9][-._a-zA-Z0-9]*)/(?P<cls>[a-zA-Z0-9][-._a-zA-Z0-9]*)=(?P<name>[a-zA-Z0-9]([-_.:a-zA-Z0-9]*[a-zA-Z0-9])?)"
)
"""A fully qualified device."""

SUFFIXES: Final = (".json", ".yaml")
"""Of the files that are read."""

NEWEST: Final = (0, 7)
"""The newest version that containerd 1.7 reads; 2.x reads 1.x too."""

_SPEC_KEYS: Final = {"cdiVersion", "kind", "annotations", "devices", "containerEdits"}
_DEVICE_KEYS: Final = {"name", "annotations", "containerEdits"}
_EDIT_KEYS: Final = {
    "env", "deviceNodes", "netDevices", "hooks", "mounts", "intelRdt", "additionalGids", "additionalGIDs",
}  # fmt: skip
_MOUNT_KEYS: Final = {"hostPath", "containerPath", "options", "type"}
_NODE_KEYS: Final = {"path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"}


class CdiError(Exception):
    """A file that is no spec, or an id that cannot be injected."""


@dataclasses.dataclass(slots=True)
class Edits:
    """What is put into a container."""

    env: dict[str, str] = dataclasses.field(default_factory=dict)
    mounts: dict[str, Mount] = dataclasses.field(default_factory=dict)
    """By path in the container."""
    devices: dict[str, DeviceNode] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Spec:
    """One file."""

    path: Path
    kind: str
    version: tuple[int, ...]
    common: Mapping[str, Any]
    devices: Mapping[str, Mapping[str, Any]]
    """Edits by name of the device."""


class Cdi:
    """The directories of one node, the later one winning; those that are not there are empty."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self.directories = tuple(directories)

    def specs(self) -> tuple[list[Spec], list[str]]:
        """Return the specs in all directories, and what is wrong with the files that are none."""
        specs, errors = [], []
        for directory in self.directories:
            for path in sorted(directory.glob("*")) if directory.is_dir() else ():
                if path.suffix not in SUFFIXES or path.name.startswith("."):
                    continue
                try:
                    specs.append(read(path))
                except CdiError as error:
                    errors.append(str(error))
        return specs, errors

    def inject(self, ids: Iterable[str]) -> Edits:
        """Return what ids put into a container, an id that is there twice once; CdiError as the runtime says it."""
        specs, _ = self.specs()
        by_kind: dict[str, list[Spec]] = {}
        for spec in specs:
            by_kind.setdefault(spec.kind, []).append(spec)
        edits = Edits()
        unresolvable, seen_specs = [], set()
        for cdi_id in dict.fromkeys(ids):
            kind, _, name = cdi_id.partition("=")
            found = [spec for spec in by_kind.get(kind, []) if name in spec.devices]
            if not found:
                unresolvable.append(cdi_id)
                continue
            spec = found[-1]
            if spec.path not in seen_specs:
                seen_specs.add(spec.path)
                _apply(edits, spec.common)
            _apply(edits, spec.devices[name])
        if unresolvable:
            raise CdiError(f"CDI device injection failed: unresolvable CDI devices {', '.join(unresolvable)}")
        return edits


def read(path: Path) -> Spec:
    """Read one file; CdiError says what is wrong with it."""
    try:
        text = path.read_text()
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CdiError(f"{path.name}: {error}") from error
    try:
        return _checked(path, content)
    except CdiError as error:
        raise CdiError(f"{path.name}: {error}") from error


def _checked(path: Path, content: Any) -> Spec:
    _known(content, _SPEC_KEYS, "a spec")
    version = content.get("cdiVersion")
    if not isinstance(version, str) or not re.fullmatch(r"v?\d+\.\d+\.\d+", version):
        raise CdiError(f"cdiVersion {version!r} is no version")
    numbers = tuple(map(int, version.removeprefix("v").split(".")))
    kind = content.get("kind")
    if not isinstance(kind, str) or not ID.fullmatch(f"{kind}=x"):
        raise CdiError(f"kind {kind!r} is not vendor/class")
    needed, why = (0, 3, 0), "a spec"
    if "." in kind.partition("/")[2] or content.get("annotations"):
        needed, why = (0, 6, 0), "annotations and dots in the class"
    devices = {}
    for device in content.get("devices") or []:
        _known(device, _DEVICE_KEYS, "a device")
        name = device.get("name")
        if not isinstance(name, str) or not ID.fullmatch(f"{kind}={name}"):
            raise CdiError(f"device name {name!r} is none")
        if name in devices:
            raise CdiError(f"device {name} is there twice")
        if name[0].isdigit() and needed < (0, 5, 0):
            needed, why = (0, 5, 0), "device names that begin with a digit"
        devices[name] = _edits(device.get("containerEdits"), f"device {name}")
        if not devices[name]:
            raise CdiError(f"device {name} has no containerEdits")
    if not devices:
        raise CdiError("there are no devices")
    common = _edits(content.get("containerEdits") or {}, "containerEdits")
    for edits in (common, *devices.values()):
        if any("type" in mount for mount in edits.get("mounts", ())) and needed < (0, 4, 0):
            needed, why = (0, 4, 0), "types of mounts"
        if any("hostPath" in node for node in edits.get("deviceNodes", ())) and needed < (0, 5, 0):
            needed, why = (0, 5, 0), "hostPath of device nodes"
        if edits.keys() & {"intelRdt", "additionalGids", "additionalGIDs"} and needed < (0, 7, 0):
            needed, why = (0, 7, 0), "intelRdt and additionalGids"
        if "netDevices" in edits:
            needed, why = (1, 1, 0), "netDevices"
    if numbers < needed:
        raise CdiError(f"cdiVersion {version} is too low for {why}, which need {'.'.join(map(str, needed))}")
    return Spec(path, kind, numbers, common, devices)


def _edits(edits: Any, where: str) -> Mapping[str, Any]:
    if edits is None:
        return {}
    _known(edits, _EDIT_KEYS, where)
    for entry in edits.get("env") or []:
        if not isinstance(entry, str) or not re.match(r"[^=]+=", entry):
            raise CdiError(f"{where}: env {entry!r} is not NAME=value")
    for mount in edits.get("mounts") or []:
        _known(mount, _MOUNT_KEYS, f"{where}: a mount")
        if not mount.get("hostPath") or not mount.get("containerPath"):
            raise CdiError(f"{where}: a mount needs hostPath and containerPath")
    for node in edits.get("deviceNodes") or []:
        _known(node, _NODE_KEYS, f"{where}: a device node")
        if not node.get("path"):
            raise CdiError(f"{where}: a device node needs a path")
    return dict(edits)


def _known(value: Any, keys: set[str], where: str) -> None:
    if not isinstance(value, dict):
        raise CdiError(f"{where} must be an object")
    unknown = sorted(value.keys() - keys)
    if unknown:
        raise CdiError(f"{where}: unknown field {unknown[0]!r}")


def _apply(edits: Edits, given: Mapping[str, Any]) -> None:
    for entry in given.get("env") or []:
        name, _, value = entry.partition("=")
        edits.env[name] = value
    for mount in given.get("mounts") or []:
        options = mount.get("options") or []
        edits.mounts[mount["containerPath"]] = Mount(mount["containerPath"], mount["hostPath"], "ro" in options)
    for node in given.get("deviceNodes") or []:
        host_path = node.get("hostPath") or node["path"]
        edits.devices[node["path"]] = DeviceNode(node["path"], host_path, node.get("permissions") or "rwm")
