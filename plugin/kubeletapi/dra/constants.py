"""Names, paths and limits that both sides of DRA agree on (docs/kubelet-contract.md 1.4 to 1.6 and section 13).

Kept apart from the generated code, so that nobody loads protobuf for a name.
"""

from __future__ import annotations

from typing import Final

PLUGIN_TYPE: Final = "DRAPlugin"
"""`PluginInfo.type` of a driver."""

V1: Final = "v1.DRAPlugin"
V1BETA1: Final = "v1beta1.DRAPlugin"
HEALTH_V1: Final = "v1.DRAResourceHealth"
HEALTH_V1ALPHA1: Final = "v1alpha1.DRAResourceHealth"
"""The names in `PluginInfo.supported_versions`; the kubelet takes the first it knows: newest first (DRA-5)."""

V1_SERVICE: Final = "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin"
V1BETA1_SERVICE: Final = "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin"
"""The names on the wire, which are others (DRA-4). Those of the health service are the same in both places."""

PLUGINS_REGISTRY: Final = "/var/lib/kubelet/plugins_registry"
"""Where the kubelet looks for registration sockets; it lies under `--root-dir` of the kubelet."""

PLUGINS: Final = "/var/lib/kubelet/plugins"
"""Where drivers have their directories, by convention."""

CDI_DIR: Final = "/var/run/cdi"
"""Where runtimes look for CDI files that do not survive a reboot (CDI-1)."""

CALL_TIMEOUT_S: Final = 45.0
"""How long the kubelet waits for a prepare or unprepare call (DRA-10)."""

HEALTH_STALE_S: Final = 30.0
"""When the kubelet no longer believes a health message, unless the message says otherwise (HL-2)."""

MAX_HEALTH_MESSAGE_BYTES: Final = 1024
"""Of the message of a device's health; the kubelet cuts what is longer (HL-4)."""
