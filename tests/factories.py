"""Values for tests: every field has a default, so that a test names only what it is about."""

from __future__ import annotations

from pathlib import Path

from fakehw_plugin.config import Config
from fakehw_plugin.device import Device, Health


def make_device(
    number: int = 1,
    *,
    node: str = "node2",
    class_name: str = "dev3",
    health: Health = Health.HEALTHY,
    reason: str = "",
    numa_node: int | None = None,
    has_device_node: bool = False,
) -> Device:
    return Device(node, class_name, number, health, reason, numa_node, has_device_node)


def make_config(root: Path, plugin_dir: Path, **changes: object) -> Config:
    values: dict[str, object] = {
        "root": root,
        "host_root": root,
        "host": "",
        "plugin_dir": plugin_dir,
        "pod_resources": None,
        "domain": "myplugin.io",
        "http": None,
        "reconcile_s": 0.0,
        "quiet_s": 0.005,
        "vanished_grace_s": 0.0,
        "pre_start_check": False,
    }
    return Config(**(values | changes))  # type: ignore[arg-type]


def make_tree(root: Path, *device_paths: str, hosts: dict[str, str] | None = None) -> Path:
    """Make a tree by hand, without fakehw: `node2/dev3/1` is a healthy device, `node2/dev1/` a class without any."""
    for path in device_paths:
        directory = root / path
        directory.mkdir(parents=True, exist_ok=True)
        if not path.endswith("/"):
            (directory / "health").write_text("healthy\n")
    for node, host in (hosts or {}).items():
        (root / node / "host").write_text(f"{host}\n")
    return root
