"""Devices as values: where one stands in the tree, what it is called, how it is. Pure; no I/O."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple, NewType

from fakehw_plugin.attribute import Details

DeviceID = NewType("DeviceID", str)
"""`node-class-number`: made from the path, so that it survives every restart (contract RS-3, PIT-13)."""

MAX_ID_LENGTH: Final = 63
"""Characters; the limit that the API's documentation sets for Device.ID."""

NODE_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
CLASS_NAME: Final = re.compile(r"(?!dev_[0-9]+\Z|host\Z)[a-z][a-z0-9_]*")
"""No dash: `node-class-number` must read back in one way only. Not `dev_1`: its variables would be those of `dev1`. Not
`host`: that is a file beside the classes."""
DEVICE_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}")

_NUMBERED_CLASS: Final = re.compile(r"dev([0-9]+)")
_DIGITS: Final = re.compile(r"([0-9]+)")


class Health(StrEnum):
    """The kubelet's two states; the values are the words on the wire (contract LW-3)."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"


@lru_cache(maxsize=4096)
def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that puts `node2` before `node10`."""
    # Asked of any name in a directory: "²" is a digit to str.isdigit and no number to int.
    return tuple((int(part), "") if "0" <= part[0] <= "9" else (-1, part) for part in _DIGITS.split(name) if part)


def class_number(class_name: str) -> int | None:
    """Return K for a class named devK, else None."""
    match = _NUMBERED_CLASS.fullmatch(class_name)
    return int(match[1]) if match else None


class Device(NamedTuple):
    """One device as it was read from the tree."""

    node: str
    class_name: str
    number: int
    health: Health
    reason: str = ""
    """Why it is unhealthy (or what was noted beside `healthy`); for people, in logs and metrics."""
    numa_node: int | None = None
    has_device_node: bool = False
    """The directory holds a character device named `node`."""
    details: Details = Details()
    """Read where the class is served by DRA, and empty elsewhere."""

    @property
    def id(self) -> DeviceID:
        """Return the device ID, such as `node2-dev3-2`."""
        return DeviceID(f"{self.node}-{self.class_name}-{self.number}")

    @property
    def path(self) -> str:
        """Return the path in the tree and in containers, such as `/node2/dev3/2`."""
        return f"/{self.node}/{self.class_name}/{self.number}"

    @property
    def is_healthy(self) -> bool:
        """Tell whether the kubelet may allocate it."""
        return self.health is Health.HEALTHY

    @property
    def sort_key(self) -> tuple[tuple[tuple[int, str], ...], tuple[tuple[int, str], ...], int]:
        """Return the order in which people list devices: node, class and number, numbers as numbers."""
        return natural_key(self.node), natural_key(self.class_name), self.number

    @property
    def env_prefix(self) -> str:
        """Return what its environment variables start with: DEV_3_ID for devK, else the class in upper case."""
        number = class_number(self.class_name)
        return f"{self.class_name.upper()}_ID" if number is None else f"DEV_{number}_ID"


class Transition(NamedTuple):
    """One device of a resource appeared, changed or went."""

    was: Device | None
    now: Device | None
