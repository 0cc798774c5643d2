"""How devices and slices are called at the API server. Pure.

A device is called by its ID where that is a DNS label, which it is for names in lower case; any other is brought into
that form and told from its like by a few digits of a hash. Neither depends on other devices, so names stay.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

MAX_LABEL: Final = 63
MAX_SUBDOMAIN: Final = 253

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_NOT_LABEL: Final = re.compile(r"[^a-z0-9-]+")
_INDEX: Final = re.compile(r"[0-9a-f]{5}-")
_HASH_DIGITS: Final = 6


def device_name(device_id: str) -> str:
    """Return the name of a device in its pool, a DNS label (contract SL-2)."""
    if len(device_id) <= MAX_LABEL and _LABEL.fullmatch(device_id):
        return device_id
    digits = hashlib.sha256(device_id.encode()).hexdigest()[:_HASH_DIGITS]
    readable = _NOT_LABEL.sub("-", device_id.lower())[: MAX_LABEL - _HASH_DIGITS - 1].strip("-")
    return f"{readable}-{digits}" if readable else digits


def is_slice_name(name: str, *, driver: str, node: str) -> bool:
    """Tell whether a slice is called as one of ours: any other of our driver and node is somebody else's."""
    return _INDEX.match(name) is not None and slice_name(int(name[:5], 16), driver=driver, node=node) == name


def slice_name(index: int, *, driver: str, node: str) -> str:
    """Return the name of a pool's slice: the same at any time, and in the order in which devices are handed out.

    The scheduler goes through slices by name (contract DRA-SL-7), so the index comes first, in digits of equal number.
    """
    name = f"{index:05x}-{driver}-{node}"
    if len(name) <= MAX_SUBDOMAIN:
        return name
    digits = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: MAX_SUBDOMAIN - 17].rstrip('.-')}-{digits}"
