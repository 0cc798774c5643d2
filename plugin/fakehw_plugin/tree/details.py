"""What a device of a class that is served by DRA says of itself beside its health: attributes and taints."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from fakehw_plugin import attribute
from fakehw_plugin.attribute import Attribute, AttributeType, Taint
from fakehw_plugin.tree import attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakehw_plugin.tree.complaints import Found

TAINTS: Final = "taints"
"""A directory of a device, with a file for each taint."""

RESERVED: Final = ("health", "numa_node", "node", TAINTS)
"""Names that are no attributes of the user's own."""

OWN: Final = ("class", "number")
"""Attributes that we publish ourselves."""

MAX_ATTRIBUTES: Final = 28
"""Attributes and capacities of the user's own: 32 in all, of which the driver has four (contract SL-5)."""

MAX_TAINTS: Final = 15
"""Taints of the user's own: 16 in all, one of which is that of an unhealthy device."""

MAX_FILES: Final = 64
"""Files of a device that are looked at; more than can be published."""

_NAME: Final = r"[a-z][a-z0-9_]*"  # compiled when first used


class Reading(NamedTuple):
    """What was read."""

    attributes: tuple[Attribute, ...]
    taints: tuple[Taint, ...]
    is_whole: bool
    """False where a writer may be half-way: a file is empty."""


def read(fd: int, path: str, types: Mapping[str, AttributeType], found: Found) -> Reading:
    """Read attributes and taints of the device at `path`, open as `fd`.

    A value that an API server would refuse is left out and told of: it would take the other devices with it.
    """
    is_whole = True
    values = []
    for name in _names(fd, path, found):
        if not re.fullmatch(_NAME, name) or name in RESERVED:
            continue
        if name in OWN:
            found[f"{path}/{name}", "attribute_ignored"] = "is published by the driver itself"
            continue
        try:
            text = attributes.read(name, dir_fd=fd)
            is_whole &= text != ""
            if text:
                values.append(attribute.parse(name, text, types.get(name, AttributeType.STRING)))
        except attributes.MissingAttributeError:
            is_whole = False  # it was listed a moment ago: an editor swaps it
        except (attributes.AttributeFileError, ValueError) as error:
            found[f"{path}/{name}", "attribute_ignored"] = str(error)
    for left_out in values[MAX_ATTRIBUTES:]:
        found[f"{path}/{left_out.name}", "attribute_ignored"] = (
            f"the device has {MAX_ATTRIBUTES} already, the most there may be"
        )
    del values[MAX_ATTRIBUTES:]
    taints, are_whole = _read_taints(fd, path, found)
    return Reading(tuple(values), taints, is_whole and are_whole)


def _read_taints(fd: int, path: str, found: Found) -> tuple[tuple[Taint, ...], bool]:
    try:
        taints_fd = attributes.open_directory(TAINTS, dir_fd=fd)
    except FileNotFoundError:
        return (), True
    except OSError as error:
        found[f"{path}/{TAINTS}", "taints_ignored"] = error.strerror or str(error)
        return (), True
    try:
        path, is_whole = f"{path}/{TAINTS}", True
        taints: dict[str, Taint] = {}
        for name in _names(taints_fd, path, found):
            try:
                text = attributes.read(name, dir_fd=taints_fd)
                is_whole &= text != ""
                if text:
                    taint = attribute.parse_taint(text, name=name)
                    if taint.key in taints:
                        raise ValueError(f"{taint.key!r} is another file's key already")
                    if len(taints) == MAX_TAINTS:
                        raise ValueError(f"the device has {MAX_TAINTS} already, the most there may be")
                    taints[taint.key] = taint
            except attributes.MissingAttributeError:
                is_whole = False
            except (attributes.AttributeFileError, ValueError) as error:
                found[f"{path}/{name}", "taint_ignored"] = str(error)
        return tuple(taints.values()), is_whole
    finally:
        os.close(taints_fd)


def _names(fd: int, path: str, found: Found) -> list[str]:
    """Return the names in a directory, in order, without those that are private."""
    try:
        with os.scandir(fd) as items:
            names = sorted(item.name for item in items if not item.name.startswith("."))
    except OSError as error:
        attributes.raise_if_starved(error)
        found[path, "directory_not_listed"] = error.strerror or str(error)
        return []
    if len(names) > MAX_FILES:
        found[path, "files_passed_over"] = f"has {len(names)} files; the first {MAX_FILES} are read"
    return names[:MAX_FILES]
