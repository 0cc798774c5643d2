"""A node with all that a DRA driver may meet on it: API server, kubelet, directories, claims; its time stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from fakekubelet import clock
from fakekubelet.apiserver import server
from fakekubelet.kubelet import kubelet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from fakekubelet.dra import cdi, dynamic_resources

Object = dict[str, Any]
_VERSION = "resource.k8s.io/v1"


class FakeDraNode:
    """An API server and a kubelet with its DRA half, as an async context manager; needs the extra `apiserver`.

    Everything is below *directory*, whose path must be short: a socket's has 107 bytes at most (contract PATH-4).
    """

    def __init__(
        self, directory: Path, *, release: str = "1.36", node_name: str = "worker", clock_: clock.Clock | None = None
    ) -> None:
        self.name = node_name
        self.clock: clock.Clock = clock_ or clock.ManualClock()
        """The kubelet's; stands still until it is advanced: the 30 s of a wipe cost nothing."""
        self.plugins_dir = directory / "plugins"
        self.plugins_registry = directory / "plugins_registry"
        self.cdi_dir = directory / "cdi"
        self.kubeconfig = directory / "kubeconfig"
        self.api = server.ApiServer(release)
        self.kubelet = kubelet.FakeKubelet(
            directory / "device-plugins",
            node_name=node_name,
            plugins_registry=self.plugins_registry,
            clock=self.clock,
            mode=release,
            node_status_period_s=None,
            api=self.api,
            cdi_dirs=[self.cdi_dir],
        )

    @property
    def dra(self) -> dynamic_resources.DynamicResources:
        """Return the kubelet's DRA half."""
        assert self.kubelet.dra is not None
        return self.kubelet.dra

    @property
    def environ(self) -> dict[str, str]:
        """Return what a driver needs to know, by the names that the conformance kit uses."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "NODE_NAME": self.name,
            "PLUGINS_DIR": str(self.plugins_dir),
            "REGISTRY_DIR": str(self.plugins_registry),
            "CDI_DIR": str(self.cdi_dir),
        }

    async def __aenter__(self) -> Self:
        for directory in (self.plugins_dir, self.plugins_registry, self.cdi_dir):
            directory.mkdir(parents=True, exist_ok=True)
        await self.api.start()
        try:
            self.api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}})
            self.api.write_kubeconfig(self.kubeconfig)
            await self.kubelet.__aenter__()
        except BaseException:
            await self.api.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.kubelet.__aexit__(kind, error, trace)
        finally:
            await self.api.stop()

    # -- what a driver does -------------------------------------------------------------------------------------------

    async def wait_for_driver(self, name: str, *, timeout: float = 30.0) -> list[Object]:
        """Wait until a driver is registered and connected and has published; return its slices, or TimeoutError."""
        await self.kubelet.wait_for(lambda: self.dra.drivers.is_usable(name), timeout=timeout)
        return await self.api.wait_for(lambda: self.slices(name), timeout=timeout)

    def slices(self, driver: str) -> list[Object]:
        """Return what a driver has published."""
        return [one for one in self.api.all("resourceslices") if one["spec"]["driver"] == driver]

    # -- claims and pods ----------------------------------------------------------------------------------------------

    def claim(
        self, driver: str, devices: Sequence[str], *, name: str = "claim", pool: str = "", request: str = "devices"
    ) -> Object:
        """Make a claim that has these devices, as the scheduler would; *pool* is by default that of the node's name."""
        exactly = {"deviceClassName": driver, "count": len(devices)}
        claim = {
            "apiVersion": _VERSION,
            "kind": "ResourceClaim",
            "metadata": {"name": name},
            "spec": {"devices": {"requests": [{"name": request, "exactly": exactly}]}},
        }
        results = [
            {"request": request, "driver": driver, "pool": pool or self.name, "device": device} for device in devices
        ]
        return self._status(self.api.create(claim), {"allocation": {"devices": {"results": results}}})

    def pod(self, *claims: Mapping[str, Any], name: str = "pod", container: str = "main") -> Object:
        """Make a pod on this node whose container has these claims, and reserve them for it."""
        entries = [
            {"name": f"claim-{index}", "resourceClaimName": claim["metadata"]["name"]}
            for index, claim in enumerate(claims)
        ]
        used = [{"name": entry["name"]} for entry in entries]
        spec = {
            "nodeName": self.name,
            "containers": [{"name": container, "resources": {"claims": used}}],
            "resourceClaims": entries,
        }
        pod = self.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
        user = {"resource": "pods", "name": name, "uid": pod["metadata"]["uid"]}
        for claim in claims:
            now = self.api.find("resourceclaims", claim["metadata"]["name"])
            assert now is not None
            self._status(now, {"reservedFor": [*now["status"].get("reservedFor", []), user]})
        return pod

    async def start_pod(self, pod: Mapping[str, Any], *, container: str = "main") -> cdi.Edits:
        """Do what comes before a container runs; return what the runtime puts into it.

        PreparationError with the text of the pod's event, CdiError with the runtime's.
        """
        await self.dra.prepare(pod)
        return self.dra.edits(pod, container)

    async def end_pod(self, pod: Mapping[str, Any]) -> None:
        """Do what comes after its last container, and delete it; PreparationError with the text of the event."""
        await self.dra.unprepare(pod)
        self.api.delete("pods", pod["metadata"]["name"], grace_s=0)

    def _status(self, claim: Mapping[str, Any], fields: Object) -> Object:
        status = {**(claim.get("status") or {}), **fields}
        document = {**claim, "apiVersion": _VERSION, "kind": "ResourceClaim", "status": status}
        return self.api.update(document, subresource="status")
