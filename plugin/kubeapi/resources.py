"""What an API server keeps, and the paths to it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

Object = dict[str, Any]
"""A Kubernetes object as JSON has it."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One collection of an API: `Resource("apps", "v1", "deployments", "Deployment")`. The core group is empty."""

    group: str
    version: str
    plural: str
    kind: str
    is_namespaced: bool = True

    @property
    def api_version(self) -> str:
        """Return what stands in an object's apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, name: str = "", *, namespace: str = "", subresource: str = "") -> str:
        """Return the path of the collection, of one object, or of a part of it.

        No namespace stands for all of them, as far as the server takes that. ValueError for what can be no path.
        """
        if subresource and not name:
            raise ValueError(f"{subresource} of which of the {self.plural}?")
        if name and self.is_namespaced and not namespace:
            raise ValueError(f"{self.kind} {name} needs a namespace")
        if namespace and not self.is_namespaced:
            raise ValueError(f"{self.kind} has no namespace")
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        parts += ["namespaces", namespace] if namespace else []
        parts += [self.plural, *([name] if name else []), *([subresource] if subresource else [])]
        if any(part in (".", "..") for part in parts):
            raise ValueError(f"{name!r}: is no name")
        return "/" + "/".join(quote(part, safe="") for part in parts)

    def complete(self, body: Object) -> Object:
        """Return `body` with its apiVersion and kind."""
        return {"apiVersion": self.api_version, "kind": self.kind, **body}


NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", is_namespaced=False)
NODES: Final = Resource("", "v1", "nodes", "Node", is_namespaced=False)
PODS: Final = Resource("", "v1", "pods", "Pod")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
EVENTS: Final = Resource("events.k8s.io", "v1", "events", "Event")
CORE_EVENTS: Final = Resource("", "v1", "events", "Event")
"""The same objects by their older names, which kubelets use."""

LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
DAEMON_SETS: Final = Resource("apps", "v1", "daemonsets", "DaemonSet")

DEVICE_CLASSES: Final = Resource("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", is_namespaced=False)
RESOURCE_SLICES: Final = Resource("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", is_namespaced=False)
RESOURCE_CLAIMS: Final = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim")
RESOURCE_CLAIM_TEMPLATES: Final = Resource("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
