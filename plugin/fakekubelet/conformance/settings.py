"""What the kit is told: the plugin's command, what to expect of it, and how long things may take."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CommonLimits:
    """Seconds. Those with a number of the contract are the kubelet's; the others are what a cluster can live with."""

    start_s: float = 30.0
    """From the start of the process to its first registration."""
    stop_s: float = 10.0
    """From SIGTERM to the end of the process; Kubernetes waits 30 s by default."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits(CommonLimits):
    """Those of a device plugin."""

    options_s: float = 2.0
    """GetDevicePluginOptions, which holds up the plugin's own Register call (contract REG-7)."""
    list_s: float = 5.0
    """From the registration to the first list, and from a device's change to a list that says so."""
    reply_s: float = 5.0
    """Allocate and GetPreferredAllocation, during which the whole node waits (contract ADM-1)."""
    pre_start_s: float = 30.0
    """PreStartContainer (contract PS-1)."""
    recovery_s: float = 10.0
    """From a kubelet that is there again to a list of every resource (contract RS-6)."""
    absent_s: float = 3.0
    """How long the kubelet is away, at the start and later."""
    quiet_s: float = 1.0
    """How long nothing is done to see what the plugin does by itself; also ends the search for resources."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CommonSettings:
    """One run of the kit, whatever it tests."""

    command: tuple[str, ...] = ()
    """What is tested, word by word; `{name}` is replaced for every name of `places`."""
    break_command: str | None = None
    """Shell command that makes a device unhealthy."""
    mend_command: str | None = None
    """Shell command that makes it healthy again."""
    is_brief: bool = False
    """Whether the first life is enough: no restarts of anything, no signals but the last."""
    mode: str = "1.36"
    """Which kubelet (`fakekubelet.Mode`)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings(CommonSettings):
    """One run on a device plugin; without a command on one that runs already."""

    plugin_dir: Path = Path("/var/lib/kubelet/device-plugins")
    resources: tuple[str, ...] = ()
    """What it is to register; empty: whatever it does."""
    limits: Limits = dataclasses.field(default_factory=Limits)

    @property
    def places(self) -> dict[str, str]:
        """Return what the plugin finds in its environment, and as `{name}` in its command."""
        return {
            "PLUGIN_DIR": str(self.plugin_dir),
            "POD_RESOURCES": str(self.pod_resources_socket or ""),
            "PLUGINS_REGISTRY": str(self.plugins_registry or ""),
        }

    @property
    def plugins_registry(self) -> Path | None:
        """Where plugins are found that do not call Register, beside a directory of the usual name (PW-1)."""
        directory = self.plugin_dir
        return directory.parent / "plugins_registry" if directory.name == "device-plugins" else None

    @property
    def pod_resources_socket(self) -> Path | None:
        """Where PodResources is served: beside a plugin directory that has its usual name (contract PATH-5)."""
        directory = self.plugin_dir
        return directory.parent / "pod-resources" / "kubelet.sock" if directory.name == "device-plugins" else None
