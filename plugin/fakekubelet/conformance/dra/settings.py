"""What the kit is told about a DRA driver, and where it puts things."""

from __future__ import annotations

import dataclasses
import uuid
from typing import TYPE_CHECKING

from fakekubelet.conformance import settings

if TYPE_CHECKING:
    from pathlib import Path

NODE_NAME = "conformance"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits(settings.CommonLimits):
    """Those of a driver."""

    info_s: float = 1.0
    """GetInfo (contract DRA-3)."""
    publish_s: float = 10.0
    """From the registration to slices with devices."""
    change_s: float = 5.0
    """From a device's change to slices, and to a health message, that say so."""
    reply_s: float = 45.0
    """NodePrepareResources and NodeUnprepareResources (contract DRA-10)."""
    recovery_s: float = 15.0
    """From a kubelet that is there again to a registration."""
    republish_s: float = 75.0
    """From slices that are deleted to slices that are there again. Go's helper takes up to a minute (contract SL-4)."""
    quiet_s: float = 2.0
    """How long nothing is done to see what the driver does by itself."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings(settings.CommonSettings):
    """One run on a DRA driver, which is always started by the kit."""

    root: Path
    """A directory of the kit's own, or /var/lib/kubelet in a private mount."""
    cdi_dir: Path
    driver: str = ""
    """Its name; empty: the first that registers. With a name its directory is made, as a DaemonSet's mount would."""
    unplug_command: str | None = None
    """Shell command that takes a device away."""
    plug_command: str | None = None
    """Shell command that puts it back."""
    limits: Limits = dataclasses.field(default_factory=Limits)

    @property
    def plugins_dir(self) -> Path:
        """Return where drivers have their directories (contract DRA-1)."""
        return self.root / "plugins"

    @property
    def registry_dir(self) -> Path:
        """Return where the kubelet looks for registration sockets."""
        return self.root / "plugins_registry"

    @property
    def kubeconfig(self) -> Path:
        """Return the kubeconfig of the fake API server."""
        return self.root / "kubeconfig"

    @property
    def places(self) -> dict[str, str]:
        """Return what a process finds in its environment, and as `{name}` in its command; each has a new pod UID."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "NODE_NAME": NODE_NAME,
            "PLUGINS_DIR": str(self.plugins_dir),
            "REGISTRY_DIR": str(self.registry_dir),
            "CDI_DIR": str(self.cdi_dir),
            "POD_NAME": "driver-under-test",
            "NAMESPACE": "default",
            "POD_UID": str(uuid.uuid4()),
        }
