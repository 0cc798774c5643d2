"""CDI files: what the container runtime gives to a container for a prepared device (contract CDI-1 and CDI-2).

One file for each claim and driver, with one device for each device of the claim. The claim's UID is in every name, so
that a name never comes back with other content: runtimes keep what they have read.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from fakehw_plugin import allocation
from fakehw_plugin.dra import durable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fakehw_plugin.allocation import Allocation

VERSION: Final = "0.5.0"
"""The oldest with device names that begin with a digit. A runtime refuses a newer one than it knows; 0.7.0 is what
containerd 1.7 knows."""

CLASS: Final = "claim"
_UID: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def is_usable(uid: str) -> bool:
    """Tell whether a claim's UID can be a part of a file's name; the API server gives no other."""
    return _UID.fullmatch(uid) is not None


def kind(driver: str) -> str:
    """Return what stands before the = of every ID: vendor and class. A vendor must begin with a letter."""
    return f"k8s.{driver}/{CLASS}"


def device_id(driver: str, uid: str, device: str) -> str:
    """Return the fully qualified name of a device of a claim."""
    return f"{kind(driver)}={uid}-{device}"


def path(directory: Path, *, driver: str, uid: str) -> Path:
    """Return where the file of a claim stands."""
    return directory / f"k8s.{driver}-{CLASS}_{uid}.json"


def spec(driver: str, uid: str, devices: Iterable[tuple[str, Allocation]]) -> dict[str, Any]:
    """Return the content of the file of a claim whose `devices` are given what stands beside them."""
    found = [{"name": f"{uid}-{name}", "containerEdits": _edits(granted)} for name, granted in devices]
    return {"cdiVersion": VERSION, "kind": kind(driver), "devices": found}


def _edits(granted: Allocation) -> dict[str, Any]:
    edits: dict[str, Any] = {"env": [f"{name}={value}" for name, value in granted.envs.items()]}
    edits["mounts"] = [
        {"hostPath": mount.host_path, "containerPath": mount.container_path, "options": ["rbind", "rprivate", "ro"]}
        for mount in granted.mounts
    ]
    if granted.device_nodes:
        edits["deviceNodes"] = [
            {
                "path": node.container_path,
                "hostPath": node.host_path,
                "permissions": allocation.DEVICE_NODE_PERMISSIONS,
            }
            for node in granted.device_nodes
        ]
    return edits


def write(directory: Path, driver: str, uid: str, content: dict[str, Any]) -> None:
    """Write the file of a claim, at once and whole; nothing is written where it says the same already."""
    target, text = (
        path(directory, driver=driver, uid=uid),
        json.dumps(content).encode(),
    )  # indented it takes ten times as long
    try:
        if target.read_bytes() == text:
            return
    except OSError:
        directory.mkdir(parents=True, exist_ok=True)  # a reboot takes it away
    durable.write(target, text)


def remove(directory: Path, driver: str, uid: str) -> None:
    """Remove the file of a claim, if there is one."""
    durable.remove(path(directory, driver=driver, uid=uid))
