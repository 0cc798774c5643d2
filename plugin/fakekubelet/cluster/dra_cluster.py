"""A small cluster whose devices come by DRA: API server, kubelets, and what lies between them and a driver.

The scheduler, the controller that makes claims of templates and the one that evicts pods from tainted devices are
played here as far as devices go: first fit, node by node in the order of their names. Pods are local processes, as in
`cluster.py`. Drivers are whatever registers in a node's `plugins_registry`.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import yaml

from fakekubelet import clock as fakekubelet_clock
from fakekubelet.apiserver import server
from fakekubelet.cluster import claim_allocation, extended_claims, process
from fakekubelet.dra import cdi, preparation
from fakekubelet.kubelet import kubelet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

Object = dict[str, Any]
T = TypeVar("T")
CLAIMS: Final = "resource.k8s.io/v1"
SCHEDULER: Final = "default-scheduler"
"""Whose pods are scheduled; those of others wait until somebody binds them."""
RETRY_S: Final = 1.0
"""How soon a pod that could not be prepared is tried again; a kubelet takes its time, about ten times as long."""


class DraNode:
    """One node and the places that its driver needs to know."""

    def __init__(
        self, root: Path, name: str, api: server.ApiServer, release: str, time_source: fakekubelet_clock.Clock | None
    ) -> None:
        self.name = name
        self.plugins_registry = root / "reg"
        self.state_dir = root / "state"
        self.cdi_dir = root / "cdi"
        self.plugin_dir = root / "device-plugins"
        self.kubelet = kubelet.FakeKubelet(
            self.plugin_dir,
            node_name=name,
            plugins_registry=self.plugins_registry,
            mode=release,
            node_status_period_s=None,
            clock=time_source,
            api=api,
            cdi_dirs=[self.cdi_dir],
        )


class DraCluster:
    """Nodes and pods, as an async context manager."""

    def __init__(
        self,
        node_names: Sequence[str] = ("kind-worker", "kind-worker2"),
        *,
        release: str = "1.36",
        clock: fakekubelet_clock.Clock | None = None,
    ) -> None:
        """Describe one; *clock* is that of its kubelets, and of what tries again."""
        self.api = server.ApiServer(release)
        self.nodes: dict[str, DraNode] = {}
        self.events: dict[str, list[str]] = {}
        """Pod → the messages of its events, without repetitions in a row."""
        self._node_names = tuple(node_names)
        self._release = release
        self._clock = clock
        self._outputs: dict[str, list[process.Process]] = {}
        self._pods: dict[str, asyncio.Task[None]] = {}
        self._stale = asyncio.Event()
        self._closing = asyncio.Event()
        """What cannot be unprepared is not tried again then: its driver may have gone before."""
        self._life = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as life:
            short = tempfile.TemporaryDirectory(prefix="fk-", dir="/tmp")  # contract PATH-4
            root = Path(life.enter_context(short))
            await life.enter_async_context(self.api)
            self.kubeconfig = root / "kubeconfig"
            self.api.write_kubeconfig(self.kubeconfig)
            for number, name in enumerate(self._node_names):
                self.api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
                node = self.nodes[name] = DraNode(root / str(number), name, self.api, self._release, self._clock)
                for directory in (node.cdi_dir, node.state_dir, node.plugins_registry):
                    directory.mkdir(parents=True)
                await life.enter_async_context(node.kubelet)
                node.kubelet.changes.subscribe(self.api.changes.ring)
            self.api.changes.subscribe(self._stale.set)
            task = asyncio.create_task(self._follow(), name="dra cluster")
            life.push_async_callback(_cancel, task)
            life.push_async_callback(self._end_pods)
            self._life = life.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._life.aclose()

    def apply(self, manifest: str | Path) -> None:
        """Create the objects of a YAML text or file: pods, claims, templates, classes."""
        text = manifest.read_text() if isinstance(manifest, Path) else manifest
        for document in yaml.safe_load_all(text):
            if document is not None:
                self.api.create(document)

    def delete(self, name: str) -> None:
        """Delete a pod; it goes when its processes have ended and its claims are unprepared."""
        self.api.delete("pods", name)

    def pod(self, name: str) -> Object | None:
        """Return a pod, if it is there."""
        return self.api.find("pods", name)

    def phase(self, name: str) -> str:
        """Return a pod's phase; "" if it is not there."""
        pod = self.pod(name)
        return "" if pod is None else str(pod["status"]["phase"])

    def logs(self, name: str) -> str:
        """Return what a pod has printed."""
        return "".join(one.output for one in self._outputs.get(name, []))

    async def wait_for(self, predicate: Callable[[], T], *, timeout: float = 10.0) -> T:
        """Return the first true value of *predicate*, evaluated at every change; TimeoutError after *timeout*."""
        return await self.api.wait_for(predicate, timeout=timeout)

    # -- controllers and scheduler ------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            for pod in self.api.all("pods"):
                if pod["metadata"].get("deletionTimestamp"):
                    continue
                if not pod["spec"].get("nodeName"):
                    if pod["spec"].get("schedulerName") == SCHEDULER:
                        self._schedule(pod)
                else:
                    self._evict_from_tainted(pod)
            for pod in self.api.all("pods"):
                name = pod["metadata"]["name"]
                if pod["spec"].get("nodeName") and name not in self._pods:
                    self._pods[name] = asyncio.create_task(self._run(pod), name=f"pod {name}")

    def _schedule(self, pod: Object) -> None:
        """Give a pod its claims, their devices and a node; or say why not."""
        claims = self._claims(pod)
        extended = self._extended(pod)
        wanted = [*claims, *([] if extended is None else [extended[0]])]
        waiting = [claim for claim in wanted if "allocation" not in (claim.get("status") or {})]
        classes = {one["metadata"]["name"]: one for one in self.api.all("deviceclasses")}
        slices = self.api.all("resourceslices")
        why = []
        for node in sorted(self.nodes):
            try:
                allocations = claim_allocation.allocate(waiting, classes, slices, self._in_use(), node)
            except claim_allocation.UnallocatableError as error:
                why.append(str(error))
                continue
            if extended is not None:
                made = self.api.create(extended[0])
                waiting[-1] = made
                wanted[-1] = made
                mapping = {"resourceClaimName": made["metadata"]["name"], "requestMappings": extended[1]}
                pod = self._status(pod, {"extendedResourceClaimStatus": mapping})
            self._allocate(
                pod, wanted, dict(zip((one["metadata"]["uid"] for one in waiting), allocations, strict=True))
            )
            self._note(pod, f"Successfully assigned default/{pod['metadata']['name']} to {node}")
            self.api.registry.bind(pod["metadata"]["namespace"], pod["metadata"]["name"], node)
            return
        texts = [f"{why.count(text)} {text}" for text in sorted(set(why))]
        self._note(pod, f"0/{len(self.nodes)} nodes are available: {', '.join(texts)}.")

    def _claims(self, pod: Object) -> list[Object]:
        """Return the claims that a pod names, those of templates made for it."""
        made = {one["name"]: one["resourceClaimName"] for one in pod["status"].get("resourceClaimStatuses", [])}
        metadata = pod["metadata"]
        for entry in pod["spec"].get("resourceClaims", []):
            template_name = entry.get("resourceClaimTemplateName")
            if template_name is None or entry["name"] in made:
                continue
            template = self.api.find("resourceclaimtemplates", template_name, metadata["namespace"])
            if template is None:
                continue
            owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
            claim = {
                "apiVersion": CLAIMS,
                "kind": "ResourceClaim",
                "metadata": {
                    "generateName": f"{metadata['name']}-{entry['name']}-",
                    "namespace": metadata["namespace"],
                    "ownerReferences": [{**owner, "controller": True}],
                },
                "spec": template["spec"]["spec"],
            }
            made[entry["name"]] = self.api.create(claim)["metadata"]["name"]
            statuses = [{"name": name, "resourceClaimName": claim_name} for name, claim_name in made.items()]
            pod = self._status(pod, {"resourceClaimStatuses": statuses})
        names = [one.get("resourceClaimName") or made.get(one["name"]) for one in pod["spec"].get("resourceClaims", [])]
        found = [self.api.find("resourceclaims", name, metadata["namespace"]) for name in names if name]
        return [claim for claim in found if claim is not None]

    def _extended(self, pod: Object) -> tuple[Object, list[Object]] | None:
        if "extendedResourceClaimStatus" in pod["status"]:
            return None
        return extended_claims.claim_for(pod, extended_claims.classes_by_resource(self.api.all("deviceclasses")))

    def _in_use(self) -> set[claim_allocation.DeviceId]:
        return {
            (one["driver"], one["pool"], one["device"])
            for claim in self.api.all("resourceclaims")
            for one in _results(claim)
            if not one.get("adminAccess")
        }

    def _allocate(self, pod: Object, claims: Sequence[Object], allocations: Mapping[str, Object]) -> None:
        user = {"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        for claim in claims:
            now = self.api.find("resourceclaims", claim["metadata"]["name"], claim["metadata"]["namespace"])
            assert now is not None
            status = now.get("status") or {}
            new = allocations.get(claim["metadata"]["uid"])
            users = [*status.get("reservedFor", []), user]
            self._write(now, {**status, **({"allocation": new} if new else {}), "reservedFor": users})

    def _evict_from_tainted(self, pod: Object) -> None:
        """Delete a pod that has a device with a NoExecute taint that its claim does not tolerate (DRA-TAINT-3)."""
        tainted = {
            (one["spec"]["driver"], one["spec"]["pool"]["name"], device["name"]): taint
            for one in self.api.all("resourceslices")
            for device in one["spec"].get("devices", ())
            for taint in device.get("taints", ())
            if taint["effect"] == "NoExecute"
        }
        for claim in self._claims_of(pod):
            for result in _results(claim):
                taint = tainted.get((result["driver"], result["pool"], result["device"]))
                if taint is None:
                    continue
                toleration = claim_allocation.tolerates(taint, result.get("tolerations") or [])
                seconds = None if toleration is None else toleration.get("tolerationSeconds")
                if toleration is not None and (seconds is None or _age_s(taint["timeAdded"]) < seconds):
                    continue
                self._note(pod, f"device {result['device']} is tainted: {taint['key']}={taint.get('value', '')}")
                self.api.delete("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])
                return

    def _claims_of(self, pod: Object) -> list[Object]:
        with contextlib.suppress(preparation.PreparationError):
            names = [claim.claim_name for claim in preparation.pod_claims(pod)]
            found = [self.api.find("resourceclaims", name, pod["metadata"]["namespace"]) for name in names]
            return [claim for claim in found if claim is not None]
        return []

    # -- the node's side ----------------------------------------------------------------------------------------------

    async def _run(self, pod: Object) -> None:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        dra = self.nodes[pod["spec"]["nodeName"]].kubelet.dra
        assert dra is not None
        running: list[process.Process] = []
        try:
            while not self._is_ending(pod):
                try:
                    await dra.prepare(pod)
                    edits = {one["name"]: dra.edits(pod, one["name"]) for one in pod["spec"]["containers"]}
                    break
                except (preparation.PreparationError, cdi.CdiError) as error:
                    self._note(pod, str(error))
                    await self._pause(pod)
            else:
                return
            for container in pod["spec"]["containers"]:
                own = [(one["name"], str(one.get("value", ""))) for one in container.get("env", [])]
                env = process.environment(name, edits[container["name"]].env, own)
                command = [*container.get("command", []), *container.get("args", [])]
                running.append(await process.Process.start(command, env, on_output=self.api.changes.ring))
            self._outputs[name] = running
            self._status(pod, {"phase": "Running"})
            ends = asyncio.Event()
            self.api.changes.subscribe(ends.set)
            while not self._is_ending(pod):
                ends.clear()
                await ends.wait()
        finally:
            await asyncio.gather(*(one.stop(pod["spec"]["terminationGracePeriodSeconds"]) for one in running))
            await self._unprepare(pod)
            self._pods.pop(name, None)
            if self._is_ending(pod) and self.api.find("pods", name, namespace) is not None:
                self.api.delete("pods", name, namespace, grace_s=0)

    async def _unprepare(self, pod: Object) -> None:
        dra = self.nodes[pod["spec"]["nodeName"]].kubelet.dra
        assert dra is not None
        while True:
            try:
                await dra.unprepare(pod)
                break
            except preparation.PreparationError as error:
                self._note(pod, str(error))
                if self._closing.is_set():
                    break
                await self._pause(pod)
        uid = pod["metadata"]["uid"]
        for claim in self._claims_of(pod):
            if any(owner["uid"] == uid for owner in claim["metadata"].get("ownerReferences", [])):
                self.api.delete("resourceclaims", claim["metadata"]["name"], claim["metadata"]["namespace"])
                continue
            users = [one for one in claim["status"].get("reservedFor", []) if one["uid"] != uid]
            self._write(claim, {"reservedFor": users, "allocation": claim["status"]["allocation"]} if users else {})

    async def _pause(self, pod: Object) -> None:
        """Wait until something is tried again, or until the cluster ends."""
        time_source = self.nodes[pod["spec"]["nodeName"]].kubelet.clock
        waiting = [
            asyncio.create_task(fakekubelet_clock.sleep(time_source, RETRY_S), name="retry"),
            asyncio.create_task(self._closing.wait(), name="end"),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def _is_ending(self, pod: Object) -> bool:
        now = self.api.find("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])
        is_other = now is None or now["metadata"]["uid"] != pod["metadata"]["uid"]
        return is_other or now is None or "deletionTimestamp" in now["metadata"]

    async def _end_pods(self) -> None:
        tasks = list(self._pods.values())
        self._closing.set()
        for pod in self.api.all("pods"):
            with contextlib.suppress(Exception):
                self.api.delete("pods", pod["metadata"]["name"], pod["metadata"]["namespace"], grace_s=1)
        done, late = await asyncio.wait(tasks, timeout=5) if tasks else (set(), set())
        for task in late:
            task.cancel()
        await asyncio.gather(*done, *late, return_exceptions=True)

    # -- writing ------------------------------------------------------------------------------------------------------

    def _status(self, pod: Object, fields: Object) -> Object:
        now = self.api.find("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])
        if now is None:
            return pod
        document = {**now, "apiVersion": "v1", "kind": "Pod", "status": {**now["status"], **fields}}
        return self.api.update(document, subresource="status")

    def _write(self, claim: Object, status: Object) -> None:
        document = {**claim, "apiVersion": CLAIMS, "kind": "ResourceClaim", "status": status}
        self.api.update(document, subresource="status")

    def _note(self, pod: Object, message: str) -> None:
        known = self.events.setdefault(pod["metadata"]["name"], [])
        if not known or known[-1] != message:
            known.append(message)
            self.api.changes.ring()


def _results(claim: Mapping[str, Any]) -> list[Object]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    found: list[Object] = (allocation.get("devices") or {}).get("results") or []
    return found


def _age_s(moment: str) -> float:
    then = datetime.datetime.fromisoformat(moment)
    return (datetime.datetime.now(datetime.UTC) - then).total_seconds()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
