"""The tree's ABI: which names mean what, and how values are written. `docs/tree.md` is its text; nothing here does I/O.

    ROOT/NODE/host                     the Kubernetes node that owns the fake node (absent: any)
    ROOT/NODE/CLASS/resource           the extended resource that the class is advertised as
    ROOT/NODE/CLASS/rpc/...            faults of the protocol, read by the plugin if it is told to
    ROOT/NODE/CLASS/api, driver, unhealthy_effect, types    which API serves the class, and how; read by the plugin
    ROOT/NODE/CLASS/NUMBER/health      healthy | unhealthy, then perhaps a reason
    ROOT/NODE/CLASS/NUMBER/numa_node   -1 or absent: none
    ROOT/NODE/CLASS/NUMBER/node        an optional character device
    ROOT/NODE/CLASS/NUMBER/taints/NAME a further taint of the device, where DRA serves the class
    ROOT/NODE/CLASS/NUMBER/...         other attributes, one value each
    ROOT/.fakehw/                      ours: lock, stage, applied spec; readers pass over names with a dot first

Readers in other packages write these rules down on their own: the tree is the contract, not this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NODE_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
NODE_RULE: Final = "a node's name must be letters, digits, '.', '_' or '-', with a letter or digit at both ends"

CLASS_NAME: Final = re.compile(r"(?!dev_[0-9]+\Z|host\Z)[a-z][a-z0-9_]*")
CLASS_RULE: Final = (
    "a class's name must be lower-case letters, digits or '_', a letter first, and not dev_ with a number "
    "(its variables would be those of devK) or host (a file of the node)"
)

DEVICE_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}")
DEVICE_RULE: Final = "a device's name must be a number from 0 to 999999999 without leading zeros"

ATTRIBUTE_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")

MAX_ID_LENGTH: Final = 63
"""Characters of a device ID; the limit that the device plugin API sets."""

MAX_VALUE_BYTES: Final = 4096
"""Bytes of an attribute file; readers refuse a longer one."""

NUMBER: Final = re.compile(r"-1|[0-9]{1,10}")
"""Of numa_node, as both sides read it: digits, or -1; no plus sign, no underscore, no fraction."""

MAX_NUMA_NODE: Final = 2**31 - 1

HOST: Final = "host"
RESOURCE: Final = "resource"
HEALTH: Final = "health"
NUMA_NODE: Final = "numa_node"
DEVICE_NODE: Final = "node"
RPC_FAULTS: Final = "rpc"
API: Final = "api"
DRIVER: Final = "driver"
UNHEALTHY_EFFECT: Final = "unhealthy_effect"
TYPES: Final = "types"
SETTINGS: Final = (API, DRIVER, UNHEALTHY_EFFECT, TYPES)
"""Files of a class that say by which API of Kubernetes it is served, and how."""
TAINTS: Final = "taints"
"""A directory of a device. In mappings of attributes its files are called taints/NAME."""
PRIVATE_DIR: Final = ".fakehw"

DIR_MODE: Final = 0o755
FILE_MODE: Final = 0o644

DEVICE_PLUGIN: Final = "device-plugin"
DRA: Final = "dra"
APIS: Final = (DEVICE_PLUGIN, DRA)
"""What a class's file `api` may say."""

DEFAULT_DOMAIN: Final = "myplugin.io"
DEFAULT_ROOT: Final = "/fakehw"

DEVICE_NODES: Final = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8)}
"""Major and minor number of each kind of character device: memory devices that cannot harm anyone."""

MAX_LABEL: Final = 63
"""Characters of a DNS label, which is what a device is called by in a ResourceSlice."""

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
TAINT_EFFECTS: Final = ("NoSchedule", "NoExecute", "None")
_MAX_TAINT_DOMAIN: Final = 253
_TAINT_DOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_TAINT_PART: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_NUMBERED_CLASS: Final = re.compile(r"dev([0-9]+)")
_DIGITS: Final = re.compile(r"([0-9]+)")
_RULES: Final = (
    (NODE_NAME, NODE_RULE),
    (CLASS_NAME, CLASS_RULE),
    (DEVICE_NUMBER, DEVICE_RULE),
)


class Health(StrEnum):
    """The two words of a health file."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class TreePath:
    """A place in the tree: a node, a class or a device. Its text starts with a slash, as in containers."""

    node: str
    class_name: str | None = None
    number: int | None = None

    @classmethod
    def parse(cls, text: str) -> TreePath:
        """Return `node2/dev3/2` (`/node2/dev3/2`, `node2/dev3`, `node2`) as a path; ValueError says the broken rule."""
        parts = text.removeprefix("/").removesuffix("/").split("/")
        if len(parts) > len(_RULES):
            raise ValueError("must be NODE, NODE/CLASS or NODE/CLASS/NUMBER, such as node2/dev3/2")
        for part, (pattern, rule) in zip(parts, _RULES, strict=False):
            if not pattern.fullmatch(part):
                raise ValueError(rule)
        path = cls(parts[0], parts[1] if len(parts) > 1 else None, int(parts[2]) if len(parts) > 2 else None)
        if path.number is not None and len(path.id) > MAX_ID_LENGTH:
            raise ValueError(f"the device ID {path.id} would be longer than {MAX_ID_LENGTH} characters")
        return path

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the names of the directories below the root."""
        return tuple(str(part) for part in (self.node, self.class_name, self.number) if part is not None)

    @property
    def id(self) -> str:
        """Return the device ID, such as `node2-dev3-2`."""
        return "-".join(self.parts)

    @property
    def sort_key(self) -> tuple[tuple[tuple[int, str], ...], tuple[tuple[int, str], ...], int]:
        """Return the order in which people list devices: numbers as numbers, a node before its classes."""
        return natural_key(self.node), natural_key(self.class_name or ""), -1 if self.number is None else self.number

    def __str__(self) -> str:
        return "/" + "/".join(self.parts)


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that puts `node2` before `node10`."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in _DIGITS.split(name) if part)


def slice_name(device_id: str) -> str:
    """Return what a device is called by in a ResourceSlice, where its class is served by DRA: its ID if that may be.

    An ID with capitals, dots or underscores is brought into the form of a DNS label, with digits of a hash after it.
    """
    if len(device_id) <= MAX_LABEL and _LABEL.fullmatch(device_id):
        return device_id
    import hashlib  # few trees need it, and every command would load it

    digits = hashlib.sha256(device_id.encode()).hexdigest()[:6]
    readable = re.sub(r"[^a-z0-9-]+", "-", device_id.lower())[: MAX_LABEL - 7].strip("-")
    return f"{readable}-{digits}" if readable else digits


def class_number(class_name: str) -> int | None:
    """Return K for a class named devK, else None."""
    match = _NUMBERED_CLASS.fullmatch(class_name)
    return int(match[1]) if match else None


def env_prefix(class_name: str) -> str:
    """Return what the variables of a class start with in a container: DEV_3_ID for dev3, GPU_ID for gpu."""
    number = class_number(class_name)
    return f"{class_name.upper()}_ID" if number is None else f"DEV_{number}_ID"


def default_resource(class_name: str, domain: str) -> str | None:
    """Return the resource of a class that names none: `domain/mydevice-K` for devK, else None."""
    number = class_number(class_name)
    return None if number is None else f"{domain}/mydevice-{number}"


def parse_health(text: str) -> tuple[Health | None, str]:
    """Return the state that a health file says (None: no known word) and the reason after it, on one line."""
    words = text.split(None, 1)
    if not words:
        return None, "is empty"
    try:
        health = Health(words[0].lower())
    except ValueError:
        return None, f"says {one_line(text)[:40]!r}"
    return health, one_line(words[1]) if len(words) > 1 else ""


def is_numa_node(text: str) -> bool:
    """Tell whether readers take this for a NUMA node; -1 is none."""
    return text == "-1" or (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_NUMA_NODE)


def taint_file(name: str) -> str:
    """Return what the file of a taint is called among a device's attributes."""
    return f"{TAINTS}/{name}"


def check_taint(name: str, text: str) -> None:
    """Raise ValueError unless `text` is what a taint's file `name` may say: `[KEY][=VALUE]:EFFECT` or `EFFECT`."""
    head, _, effect = text.rpartition(":")
    key, _, value = head.partition("=")
    domain, slash, label = (key or name).rpartition("/")
    is_right = (
        effect in TAINT_EFFECTS
        and (not slash or (len(domain) <= _MAX_TAINT_DOMAIN and _TAINT_DOMAIN.fullmatch(domain)))
        and all(len(part) <= MAX_LABEL and _TAINT_PART.fullmatch(part) for part in (label, *([value] if value else [])))
    )
    if not is_right:
        effects = f"{', '.join(TAINT_EFFECTS[:-1])} or {TAINT_EFFECTS[-1]}"
        raise ValueError(
            f"must be [KEY][=VALUE]:EFFECT or EFFECT, such as gpu.example/xid=48:NoSchedule; effects: {effects}"
        )


def check_attribute(name: str) -> None:
    """Raise ValueError unless `name` is that of a file of one value, health and numa_node among them."""
    if not ATTRIBUTE_NAME.fullmatch(name) or name == DEVICE_NODE:
        rule = "lower-case letters, digits or '_', a letter first, and not node"
        raise ValueError(f"must be the name of an attribute: {rule}")


def check_value(name: str, value: str) -> None:
    """Raise ValueError unless `value` can be that of the attribute `name`."""
    if value != one_line(value) or len(value.encode(errors="replace")) >= MAX_VALUE_BYTES:
        raise ValueError(f"must be one line of fewer than {MAX_VALUE_BYTES} bytes")
    if name == HEALTH and parse_health(value)[0] is None:
        raise ValueError("must be healthy or unhealthy, then perhaps a reason")
    if name == NUMA_NODE and not is_numa_node(value):
        raise ValueError(f"must be a whole number from -1 to {MAX_NUMA_NODE}")


def health_text(health: Health, reason: str = "") -> str:
    """Return the value of a health file: the word, and the reason on the same line."""
    return f"{health} {one_line(reason)}".rstrip()


def one_line(text: str) -> str:
    """Return `text` fit for one line of a terminal: no control characters, runs of space folded."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
