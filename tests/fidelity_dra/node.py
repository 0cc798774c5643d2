"""A node with a kubelet's DRA half, and what lies around it, be it all real or all fake.

What can be done and seen by an API server is: the same requests to both. The rest is what `Node` has.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.fidelity_dra.api import CLASSES, SLICES, Api
from tests.fidelity_dra.driver import Places

Object = dict[str, Any]
DEADLINE_S = 150.0
"""Of the kubelet's time, for what comes at its own pace: a pod that failed is tried again after up to a minute."""

COMMAND = ["sh", "-c", "env; until [ -e /tmp/end ]; do sleep 0.2; done"]


class Node(abc.ABC):
    """Pods are bound to it past the scheduler; their claims are allocated by hand."""

    release: str
    name: str
    api: Api
    places: Places
    checkpoint: Path
    """The kubelet's own, `dra_manager_state`."""

    @abc.abstractmethod
    async def messages(self, pod: Object) -> list[str]:
        """Return what the events of a pod say, the oldest first, without repetitions."""

    @abc.abstractmethod
    async def logs(self, pod: Object) -> str:
        """Return what a pod's container has printed."""

    @abc.abstractmethod
    async def health(self, pod: Object) -> list[Object]:
        """Return `allocatedResourcesStatus` of a pod's container in its status."""

    @abc.abstractmethod
    def dead(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Kill the kubelet, run the body, and start it again."""

    @abc.abstractmethod
    async def pass_time(self, seconds: float) -> None:
        """Let so much of the kubelet's time go by."""

    @abc.abstractmethod
    async def until(self, look: Callable[[], Awaitable[Any]], deadline_s: float = DEADLINE_S) -> Any:
        """Wait for something true; AssertionError after so much of the kubelet's time."""

    async def restart(self) -> None:
        """Kill the kubelet and start it again."""
        async with self.dead():
            pass

    # -- by the API server ------------------------------------------------------------------------------------------------

    async def claim(
        self, name: str = "claim", *, drivers: tuple[str, ...], request: str = "gem", device: str = "gem-1"
    ) -> Object:
        """Make a claim that has a device of each driver."""
        alternative = request.partition("/")[2]
        exactly = {"deviceClassName": "fidelity"}
        asked: Object = {"name": request.partition("/")[0], "exactly": exactly}
        if alternative:
            asked = {"name": asked["name"], "firstAvailable": [{"name": alternative, **exactly}]}
        body = {"metadata": {"name": self.api.name(name)}, "spec": {"devices": {"requests": [asked]}}}
        claim = await self.api.make(self.api.claims, body)
        results = [{"request": request, "driver": driver, "pool": self.name, "device": device} for driver in drivers]
        return await self._status(claim, {"allocation": {"devices": {"results": results}}})

    async def _status(self, claim: Object, status: Object) -> Object:
        path = f"{self.api.claims}/{claim['metadata']['name']}/status"
        for _ in range(10):  # a controller may be faster
            _, now = await self.api.ask("GET", path.removesuffix("/status"))
            code, document = await self.api.ask("PUT", path, {**now, "status": {**now.get("status", {}), **status}})
            if code != 409:
                assert code == 200, document
                return document  # type: ignore[no-any-return]
        raise AssertionError(document)

    async def pod(
        self, *claims: Object, name: str = "pod", reserves: bool = True, binds: bool = True, uses: bool = True
    ) -> Object:
        """Make a pod with claims, reserve them, and bind it."""
        entries = [
            {"name": f"c{index}", "resourceClaimName": claim["metadata"]["name"]} for index, claim in enumerate(claims)
        ]
        container: Object = {"name": "main", "image": self.image, "imagePullPolicy": "IfNotPresent", "command": COMMAND}
        if uses:
            container["resources"] = {"claims": [{"name": entry["name"]} for entry in entries]}
        spec = {
            "schedulerName": "nobody", "containers": [container], "resourceClaims": entries, "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False, "tolerations": [{"operator": "Exists"}],
        }  # fmt: skip  # a field beside its value
        pod = await self.api.make(self.api.pods, {"metadata": {"name": self.api.name(name)}, "spec": spec})
        if reserves:
            for claim in claims:
                await self.reserve(claim, pod)
        if binds:
            await self.bind(pod)
        return pod

    image = "busybox:1.36"

    async def reserve(self, claim: Object, *pods: Object) -> None:
        """Let these pods and no others use a claim."""
        users = [{"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]} for pod in pods]
        await self._status(claim, {"reservedFor": users})

    async def reserve_for_others(self, claim: Object) -> None:
        """Let so many use a claim that a controller cannot add one more, as it would for a pod on a node."""
        uids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(256)]
        users = [{"apiGroup": "example.com", "resource": "gadgets", "name": "gadget", "uid": uid} for uid in uids]
        await self._status(claim, {"reservedFor": users})

    async def bind(self, pod: Object) -> None:
        """Give a pod to the node."""
        name = pod["metadata"]["name"]
        target = {"apiVersion": "v1", "kind": "Node", "name": self.name}
        code, answer = await self.api.ask(
            "POST", f"{self.api.pods}/{name}/binding", {"metadata": {"name": name}, "target": target}
        )
        assert code == 201, answer

    async def now(self, pod: Object) -> Object | None:
        """Return a pod as it is now, if it is there."""
        code, document = await self.api.ask("GET", f"{self.api.pods}/{pod['metadata']['name']}")
        return None if code == 404 or document["metadata"]["uid"] != pod["metadata"]["uid"] else document

    async def runs(self, pod: Object) -> None:
        """Wait until a pod's container runs."""

        async def look() -> bool:
            now = await self.now(pod)
            return now is not None and now["status"]["phase"] == "Running"

        await self.until(look)

    async def says(self, pod: Object, text: str) -> None:
        """Wait for an event."""

        async def look() -> bool:
            return any(text in message for message in await self.messages(pod))

        try:
            await self.until(look)
        except AssertionError as error:
            raise AssertionError(await self.messages(pod)) from error

    async def delete(self, pod: Object, *, waits: bool = True) -> None:
        """Delete a pod, and wait until it is gone."""
        path = f"{self.api.pods}/{pod['metadata']['name']}"
        await self.api.ask("DELETE", path)
        if waits:
            await self.gone(pod)

    async def gone(self, pod: Object) -> None:
        """Wait until a pod is not there any more."""

        async def look() -> bool:
            return await self.now(pod) is None

        await self.until(look)

    async def force(self, pod: Object) -> None:
        """Delete a pod's object as if its kubelet had."""
        await self.api.ask("DELETE", f"{self.api.pods}/{pod['metadata']['name']}", {"gracePeriodSeconds": 0})
        await self.gone(pod)

    async def clean(self) -> None:
        """Delete the pods that were made, and wait until they are gone."""
        _, listed = await self.api.ask("GET", self.api.pods)
        pods = [pod for pod in listed["items"] if pod["metadata"]["name"].startswith(f"{self.api.tag}-")]
        for pod in pods:
            await self.delete(pod, waits=False)
        for pod in pods:
            await self.gone(pod)

    async def slice(self, driver: str, *devices: Object, name: str = "", **spec: Any) -> Object:
        """Publish a slice of this node."""
        whole = {
            "driver": driver, "nodeName": self.name, "pool": {"name": self.name, "generation": 1, "resourceSliceCount": 1},
            "devices": list(devices or ({"name": "gem-1"},)), **spec,
        }  # fmt: skip
        return await self.api.make(
            SLICES, {"metadata": {"name": self.api.name(name or f"slice-{driver.partition('.')[0]}")}, "spec": whole}
        )

    async def has(self, made: Object) -> bool:
        """Tell whether a slice is still there."""
        code, _ = await self.api.ask("GET", f"{SLICES}/{made['metadata']['name']}")
        return code == 200

    async def lasts(self, made: Object, *, until_gone: bool) -> None:
        """Wait until a slice is gone, or is there."""

        async def look() -> bool:
            return await self.has(made) is not until_gone

        await self.until(look)

    async def device_class(self, name: str, **spec: Any) -> str:
        """Make a class."""
        made = await self.api.make(CLASSES, {"metadata": {"name": self.api.name(name)}, "spec": spec})
        return str(made["metadata"]["name"])
