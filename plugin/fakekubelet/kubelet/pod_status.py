"""A pod on a node: phase, containers, and the health of what they hold.

`allocated_resources_status` mirrors `manager.go:UpdateAllocatedResourcesStatus`, oddities included (contract HS-2 to
HS-5).
"""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING

from fakekubelet.kubelet.container_options import ContainerOptions
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakekubelet import pod
    from fakekubelet.kubelet import device_manager


class Phase(enum.StrEnum):
    """`status.phase`."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How a run of a container ended. Times are in seconds since the epoch; a message is why it could not begin."""

    exit_code: int
    started_at: float
    finished_at: float
    message: str = ""

    @property
    def reason(self) -> str:
        """Return what a pod's status calls it."""
        if self.message:
            return "StartError"
        return "Error" if self.exit_code else "Completed"


@dataclasses.dataclass(slots=True)
class ContainerStatus:
    """One container of an admitted pod."""

    name: str
    device_ids: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    """What it holds, by resource, sorted."""
    options: ContainerOptions = dataclasses.field(default_factory=ContainerOptions)
    is_running: bool = False
    starts: int = 0
    """How often it was created."""
    started_at: float = 0.0
    """When it was created last, in seconds since the epoch."""
    ended: Ended | None = None
    """How it ended last, where that is known."""
    waiting_reason: str | None = None
    """`CreateContainerConfigError` after a failed PreStartContainer (contract PS-2), `CrashLoopBackOff`."""
    message: str = ""

    @property
    def env(self) -> Mapping[str, str]:
        """What plugins add to the environment."""
        return self.options.envs


@dataclasses.dataclass(slots=True)
class AdmittedPod:
    """A pod that was given to a kubelet, be it that the kubelet refused it."""

    pod: pod.Pod
    phase: Phase = Phase.PENDING
    reason: str = ""
    message: str = ""
    containers: dict[str, ContainerStatus] = dataclasses.field(default_factory=dict)
    """All containers by name, init containers first."""

    @property
    def uid(self) -> str:
        """The pod's UID."""
        return self.pod.uid

    @property
    def is_active(self) -> bool:
        """Tell whether the pod may still hold devices."""
        return self.phase not in (Phase.SUCCEEDED, Phase.FAILED)

    def reject(self, reason: str, message: str) -> None:
        """Fail for good (contract ADM-2)."""
        self.phase, self.reason, self.message = Phase.FAILED, reason, f"Pod was rejected: {message}"
        for container in self.containers.values():
            container.is_running = False


def allocated_resources_status(
    admitted: AdmittedPod, manager: device_manager.DeviceManager
) -> dict[str, dict[str, dict[str, str]]]:
    """Return app container → resource → device ID → `Healthy` or `Unhealthy`.

    An ID that its plugin no longer lists counts as Healthy (contract HS-5), and after a disconnect the last report
    stays, because only the sets change then and not the devices.
    """
    status: dict[str, dict[str, dict[str, str]]] = {}
    for container in admitted.pod.containers:
        held = manager.pod_devices.of_container(admitted.uid, container.name)
        status[container.name] = {
            resource: {
                device_id: constants.HEALTHY
                if device_id not in (known := manager.all_devices.get(resource, {})) or known[device_id].is_healthy
                else constants.UNHEALTHY
                for device_id in sorted(entry.device_ids)
            }
            for resource, entry in sorted(held.items())
        }
    return status
