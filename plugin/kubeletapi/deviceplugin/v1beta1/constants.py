"""Names that both sides of the device plugin API agree on (contract 1.1 and 1.6).

Kept apart from the generated code, so that a plugin can serve and register before protobuf is loaded.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "v1beta1"
"""The only version a kubelet accepts in `RegisterRequest.version` (contract REG-4)."""

HEALTHY: Final = "Healthy"
"""The only text that counts as healthy (contract LW-3)."""

UNHEALTHY: Final = "Unhealthy"
"""What we send for every other state."""

DEVICE_PLUGIN_PATH: Final = "/var/lib/kubelet/device-plugins"
"""Where the kubelet looks for plugin sockets; `--root-dir` of the kubelet does not move it (contract PATH-1)."""

KUBELET_SOCKET: Final = "kubelet.sock"
"""File name of the kubelet's registry socket in `DEVICE_PLUGIN_PATH`."""

POD_RESOURCES_SOCKET: Final = "/var/lib/kubelet/pod-resources/kubelet.sock"
"""Where the kubelet serves PodResources by default (contract PATH-5)."""

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Largest message that the kubelet's client receives; one byte more ends the stream (contract LW-11)."""

REGISTRATION_SERVICE: Final = "v1beta1.Registration"
DEVICE_PLUGIN_SERVICE: Final = "v1beta1.DevicePlugin"
