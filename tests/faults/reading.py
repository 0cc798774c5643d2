"""What a tree says, read a second time: from docs/tree.md alone, in the plainest way, with nothing of the plugin.

The plugin reads by events, relative to open directories, and remembers. This reads everything, by path, and remembers
nothing. Where the two disagree after the dust has settled, one of them is wrong.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

NODE = re.compile(r"^[A-Za-z0-9]$|^[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]$", re.ASCII)
CLASS = re.compile(r"^[a-z][a-z0-9_]*$", re.ASCII)
NUMBER = re.compile(r"^(0|[1-9][0-9]{0,8})$", re.ASCII)
LONGEST = 4096


def subdirectories(path: Path, rule: re.Pattern[str]) -> list[Path]:
    """Real directories whose whole name keeps the rule, be they readable or not."""
    try:
        children = list(path.iterdir())
    except OSError:
        return []
    return [
        child
        for child in children
        if rule.search(child.name) and not child.name.endswith("\n") and stat.S_ISDIR(child.lstat().st_mode)
    ]


def value(path: Path) -> str | None:
    """The text of a file; None where it is absent, ValueError where it cannot be taken for an answer."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise ValueError("no regular file")
    with path.open("rb") as file:
        raw = file.read(LONGEST + 1)
    if len(raw) > LONGEST:
        raise ValueError("too long")
    return raw.decode("utf-8").strip()


def is_healthy(device: Path) -> bool:
    try:
        text = value(device / "health")
    except (ValueError, OSError):
        return False
    return bool(text) and text.split()[0].lower() == "healthy"


def numa_node(device: Path) -> tuple[int, ...]:
    try:
        text = value(device / "numa_node")
    except (ValueError, OSError):
        return ()
    if text is None or not re.fullmatch(r"-?[0-9]+", text, re.ASCII) or not 0 <= int(text) < 1 << 31:
        return ()
    return (int(text),)


def resource_of(class_dir: Path, domain: str) -> str | None:
    try:
        text = value(class_dir / "resource")
    except (ValueError, OSError):
        return None
    if text is None:
        numbered = re.fullmatch(r"dev([0-9]+)", class_dir.name, re.ASCII)
        return f"{domain}/mydevice-{int(numbered[1])}" if numbered else None
    return text if re.fullmatch(r"[a-z0-9.-]+/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", text, re.ASCII) else None


def is_ours(node: Path, host: str) -> bool:
    try:
        text = value(node / "host")
    except (ValueError, OSError):
        return False
    return not text or not host or text == host


def read(
    root: Path, *, host: str = "", domain: str = "myplugin.io"
) -> dict[str, dict[str, tuple[str, tuple[int, ...]]]]:
    """Resource to device ID to health and NUMA nodes: what a kubelet should have been told."""
    found: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
    for node in subdirectories(root, NODE):
        for class_dir in subdirectories(node, CLASS) if is_ours(node, host) else ():
            if re.fullmatch(r"dev_[0-9]+|host", class_dir.name, re.ASCII):
                continue
            resource = resource_of(class_dir, domain)
            if resource is None:
                continue
            devices = found.setdefault(resource, {})
            for device in subdirectories(class_dir, NUMBER):
                device_id = f"{node.name}-{class_dir.name}-{device.name}"
                if len(device_id) <= 63:
                    devices[device_id] = "Healthy" if is_healthy(device) else "Unhealthy", numa_node(device)
    return found
