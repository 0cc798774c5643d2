"""Which names in a directory of the tree are nodes, classes and devices, and what is wrong with the others."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from fakehw_plugin import device
from fakehw_plugin.tree import attributes, entries

if TYPE_CHECKING:
    from fakehw_plugin.tree.complaints import Found
    from fakehw_plugin.tree.entries import ClassEntry, NodeEntry, RootEntry

FAULTS: Final = "rpc"
"""A directory of a class that is no device: see rpc_faults."""

ATTRIBUTES: Final = ("host", "resource", "api", "driver", "unhealthy_effect", "types")
"""Files that stand among the directories of nodes and classes."""

_RULES: Final = {
    "node": device.NODE_NAME.fullmatch,
    "class": device.CLASS_NAME.fullmatch,
    "device": device.DEVICE_NUMBER.fullmatch,
}


def identify(fd: int, parent: RootEntry | NodeEntry | ClassEntry, name: str, found: Found) -> int | None:
    """Return the identity of the directory `name` of `parent`, which is open as `fd`.

    None, with what is wrong in `found`, where it is no child of it.
    """
    level = parent.child_level
    is_well_named = _RULES[level](name)
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        if is_well_named and name not in ATTRIBUTES and (level == "device" or stat.S_ISLNK(status.st_mode)):
            found[f"{parent.path}/{name}", f"{level}_passed_over"] = (
                f"is {attributes.kind(status.st_mode)}, no directory"
            )
        return None
    if not is_well_named:
        if level != "device" or name != FAULTS:
            found[repr(f"{parent.path}/{name}"), f"{level}_passed_over"] = f"is not a valid name of a {level}"
        return None
    if isinstance(parent, entries.ClassEntry) and _id_length(parent, name) > device.MAX_ID_LENGTH:
        found[f"{parent.path}/{name}", "device_passed_over"] = (
            f"its ID would be longer than {device.MAX_ID_LENGTH} characters"
        )
        return None
    return entries.identity_of(status, file_system=parent.file_system)


def _id_length(parent: ClassEntry, name: str) -> int:
    """Return how long the ID of device `name` would be: its path in the tree, with dashes for slashes."""
    return len(parent.parent.name) + len(parent.name) + len(name) + 2
