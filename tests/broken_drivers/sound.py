"""A DRA driver that keeps the contract, in pieces small enough to be broken one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import grpc

from kubeletapi.dra.v1 import api_pb2 as v1
from kubeletapi.dra.v1 import api_pb2_grpc as v1_grpc
from kubeletapi.dra.v1beta1 import api_pb2 as v1beta1
from kubeletapi.dra.v1beta1 import api_pb2_grpc as v1beta1_grpc
from kubeletapi.drahealth.v1 import api_pb2_grpc as health_grpc
from kubeletapi.drahealth.v1alpha1 import api_pb2 as health
from kubeletapi.drahealth.v1alpha1 import api_pb2_grpc as health_alpha_grpc
from kubeletapi.pluginregistration.v1 import api_pb2 as registration
from kubeletapi.pluginregistration.v1 import api_pb2_grpc as registration_grpc

LOOK_S = 0.05
SLICES = "/apis/resource.k8s.io/v1/resourceslices"


class RefusalError(Exception):
    """A claim that cannot be prepared."""


class Sound(
    v1_grpc.DRAPluginServicer, health_alpha_grpc.DRAResourceHealthServicer, registration_grpc.RegistrationServicer
):
    """Three devices in one pool; the first is tainted and unhealthy while it is broken."""

    breaks: ClassVar[set[str]] = set()
    name = "sound.example.com"
    type = "DRAPlugin"
    versions: tuple[str, ...] = ("v1.DRAPlugin", "v1beta1.DRAPlugin", "v1alpha1.DRAResourceHealth")
    devices: tuple[str, ...] = ("gem-1", "gem-2", "gem-3")
    resend_s = 0.5
    exit_code = 0
    cdi_version = "0.5.0"

    def __init__(self, state: Path) -> None:
        env = os.environ
        self.state = state
        self.node = env["NODE_NAME"]
        self.cdi_dir = Path(env["CDI_DIR"])
        self.dir = Path(env["PLUGINS_DIR"]) / self.name
        self.instance = secrets.token_hex(3)
        self.socket = self.dir / f"dra-{self.instance}.sock"
        self.registration_socket = Path(env["REGISTRY_DIR"]) / f"{self.name}-{self.instance}-reg.sock"
        kubeconfig = json.loads(Path(env["KUBECONFIG"]).read_text())
        self.server_url = kubeconfig["clusters"][0]["cluster"]["server"]
        token = kubeconfig["users"][0]["user"].get("token")
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.stopping = asyncio.Event()
        self.changed = asyncio.Event()

    # -- what it has --------------------------------------------------------------------------------------------------

    def is_broken(self, device: str) -> bool:
        return device == self.devices[0] and (self.state / "broken").exists()

    def present(self) -> list[str]:
        """Return the devices that are plugged in: the third one is not while a file says so."""
        gone = (self.state / "unplugged").exists()
        return [device for index, device in enumerate(self.devices) if not gone or index != 2]

    def slice_spec(self, generation: int) -> dict[str, Any]:
        return {
            "driver": self.name,
            "nodeName": self.node,
            "pool": {"name": self.node, "generation": generation, "resourceSliceCount": 1},
            "devices": [self.slice_device(device) for device in self.present()],
        }

    def slice_device(self, device: str) -> dict[str, Any]:
        taints = [{"key": f"{self.name}/unhealthy", "effect": "NoSchedule"}] if self.is_broken(device) else []
        return {"name": device, "attributes": {"carats": {"int": 3}}, **({"taints": taints} if taints else {})}

    # -- slices -------------------------------------------------------------------------------------------------------

    async def publish(self, http: aiohttp.ClientSession) -> None:
        """Keep what is stored as it should be, for as long as the driver lives."""
        while not self.stopping.is_set():
            with contextlib.suppress(aiohttp.ClientError, KeyError, TimeoutError, ValueError):
                await self.publish_once(http)
            await asyncio.sleep(LOOK_S)

    async def publish_once(self, http: aiohttp.ClientSession) -> None:
        async with http.get(SLICES, params=self.wanted()) as response:
            stored = (await response.json())["items"]
        if not stored:
            async with http.get(f"/api/v1/nodes/{self.node}") as response:
                uid = (await response.json())["metadata"]["uid"]
            owner = {"apiVersion": "v1", "kind": "Node", "name": self.node, "uid": uid, "controller": True}
            metadata = {"name": f"{self.node}-{self.name}", **self.owners(owner)}
            await self.create(http, {"metadata": metadata, "spec": self.slice_spec(1)})
            return
        spec = self.slice_spec(stored[0]["spec"]["pool"]["generation"])
        if self.differs(stored[0]["spec"], spec):
            async with http.put(f"{SLICES}/{stored[0]['metadata']['name']}", json={**stored[0], "spec": spec}):
                pass

    def wanted(self) -> dict[str, str]:
        return {"fieldSelector": f"spec.nodeName={self.node},spec.driver={self.name}"}

    def owners(self, owner: dict[str, Any]) -> dict[str, Any]:
        return {"ownerReferences": [owner]}

    async def create(self, http: aiohttp.ClientSession, document: dict[str, Any]) -> None:
        async with http.post(SLICES, json=document):
            pass

    def differs(self, stored: dict[str, Any], wanted: dict[str, Any]) -> bool:
        """Compare without the times that the server has added."""
        clean = json.loads(json.dumps(stored))
        for device in clean.get("devices", ()):
            for taint in device.get("taints", ()):
                taint.pop("timeAdded", None)
        return bool(clean != {key: value for key, value in wanted.items() if value != []})

    # -- claims -------------------------------------------------------------------------------------------------------

    async def NodePrepareResources(self, request: Any, context: Any) -> v1.NodePrepareResourcesResponse:
        response = v1.NodePrepareResourcesResponse()
        for claim in request.claims:
            answer = response.claims[claim.uid]
            try:
                answer.devices.extend(await self.prepare(claim))
            except Exception as error:
                answer.error = str(error) or repr(error)
        return response

    async def prepare(self, claim: Any) -> list[v1.Device]:
        results = await self.results(claim)
        held = {
            tuple(one)
            for path in self.dir.glob("*.claim")
            if path.stem != claim.uid
            for one in json.loads(path.read_text())
        }
        prepared, devices = [], []
        for result in results:
            if result["device"] not in self.devices:
                raise RefusalError(f"no device {result['device']}")
            if (result["pool"], result["device"]) in held and not result.get("adminAccess"):
                raise RefusalError(f"{result['device']} is in use by another claim")
            devices.append((result["pool"], result["device"]))
            prepared.append(self.prepared(claim, result))
        self.write_cdi(claim.uid, [device for _, device in devices])
        self.remember(claim.uid, devices)
        return prepared

    def prepared(self, claim: Any, result: dict[str, Any]) -> v1.Device:
        return v1.Device(
            request_names=[self.request_name(result["request"])],
            pool_name=result["pool"],
            device_name=result["device"],
            cdi_device_ids=[self.cdi_id(claim.uid, result["device"])],
        )

    def request_name(self, request: str) -> str:
        return request.partition("/")[0]

    async def results(self, claim: Any) -> list[dict[str, Any]]:
        path = f"/apis/resource.k8s.io/v1/namespaces/{claim.namespace}/resourceclaims/{claim.name}"
        async with aiohttp.ClientSession(self.server_url, headers=self.headers) as http, http.get(path) as response:
            stored = await response.json()
        self.check(claim, stored)
        return self.mine(stored["status"]["allocation"]["devices"]["results"])

    def check(self, claim: Any, stored: dict[str, Any]) -> None:
        if stored.get("kind") == "Status":
            raise RefusalError(stored["message"])
        if stored["metadata"]["uid"] != claim.uid:
            raise RefusalError(f"claim {claim.name} was replaced")
        if "allocation" not in stored.get("status", {}):
            raise RefusalError(f"claim {claim.name} is not allocated")

    def mine(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [result for result in results if result["driver"] == self.name]

    def cdi_id(self, uid: str, device: str) -> str:
        return f"sound.example.com/gem={uid}-{device}"

    def cdi_path(self, uid: str) -> Path:
        return self.cdi_dir / f"sound.example.com-{uid}.json"

    def write_cdi(self, uid: str, devices: list[str]) -> None:
        if not devices:
            return
        entries = [
            {"name": f"{uid}-{device}", "containerEdits": {"env": [f"GEM_{device.replace('-', '_').upper()}=1"]}}
            for device in devices
        ]
        self.write(
            self.cdi_path(uid), {"cdiVersion": self.cdi_version, "kind": "sound.example.com/gem", "devices": entries}
        )

    def write(self, path: Path, content: Any) -> None:
        staged = path.with_name(f".{path.name}.new")
        staged.write_text(json.dumps(content))
        staged.replace(path)

    def remember(self, uid: str, devices: list[tuple[str, str]]) -> None:
        self.write(self.dir / f"{uid}.claim", devices)

    async def NodeUnprepareResources(self, request: Any, context: Any) -> v1.NodeUnprepareResourcesResponse:
        response = v1.NodeUnprepareResourcesResponse()
        for claim in request.claims:
            answer = response.claims[claim.uid]
            try:
                self.unprepare(claim)
            except RefusalError as error:
                answer.error = str(error)
        return response

    def unprepare(self, claim: Any) -> None:
        self.cdi_path(claim.uid).unlink(missing_ok=True)
        (self.dir / f"{claim.uid}.claim").unlink(missing_ok=True)

    # -- health -------------------------------------------------------------------------------------------------------

    async def NodeWatchResources(self, request: Any, context: Any) -> AsyncIterator[health.NodeWatchResourcesResponse]:
        sent, at = None, 0.0
        loop = asyncio.get_running_loop()
        while not self.stopping.is_set():
            now = self.health()
            if now != sent or loop.time() - at > self.resend_s:
                sent, at = now, loop.time()
                yield now
            await asyncio.sleep(LOOK_S)

    def health(self) -> health.NodeWatchResourcesResponse:
        response = health.NodeWatchResourcesResponse()
        for device in self.present():
            broken = self.is_broken(device)
            entry = response.devices.add(health=2 if broken else 1, message="it is broken" if broken else "")
            entry.device.pool_name, entry.device.device_name = self.node, device
        return response

    # -- registration and life ----------------------------------------------------------------------------------------

    async def GetInfo(self, request: Any, context: Any) -> registration.PluginInfo:
        return registration.PluginInfo(
            type=self.type, name=self.name, endpoint=self.endpoint(), supported_versions=self.versions
        )

    def endpoint(self) -> str:
        return str(self.socket)

    async def NotifyRegistrationStatus(self, request: Any, context: Any) -> registration.RegistrationStatusResponse:
        return registration.RegistrationStatusResponse()

    async def serve(self) -> list[grpc.aio.Server]:
        """Begin to serve, the service first."""
        return [await self.serve_claims(), await self.serve_registration()]

    async def serve_claims(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        v1_grpc.add_DRAPluginServicer_to_server(self, server)
        v1beta1_grpc.add_DRAPluginServicer_to_server(_Older(self), server)
        self.add_health(server)
        server.add_insecure_port(f"unix:{self.socket}")
        await server.start()
        return server

    def add_health(self, server: grpc.aio.Server) -> None:
        health_alpha_grpc.add_DRAResourceHealthServicer_to_server(self, server)
        health_grpc.add_DRAResourceHealthServicer_to_server(self, server)

    async def serve_registration(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        registration_grpc.add_RegistrationServicer_to_server(self, server)
        server.add_insecure_port(f"unix:{self.registration_socket}")
        await server.start()
        return server

    def prepare_to_stop(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopping.set)

    async def run(self) -> int:
        self.dir.mkdir(parents=True, exist_ok=True)
        self.prepare_to_stop()
        servers = await self.serve()
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(self.server_url, headers=self.headers, timeout=timeout) as http:
            publishing = asyncio.create_task(self.publish(http))
            await self.stopping.wait()
            publishing.cancel()
        await self.leave(servers)
        return self.exit_code

    async def leave(self, servers: list[grpc.aio.Server]) -> None:
        for server in reversed(servers):
            await server.stop(0.05)
        self.registration_socket.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)


class _Older(v1beta1_grpc.DRAPluginServicer):
    """The same by the older name."""

    def __init__(self, sound: Sound) -> None:
        self.sound = sound

    async def NodePrepareResources(self, request: Any, context: Any) -> Any:
        reply = await self.sound.NodePrepareResources(request, context)
        return v1beta1.NodePrepareResourcesResponse.FromString(reply.SerializeToString())

    async def NodeUnprepareResources(self, request: Any, context: Any) -> Any:
        reply = await self.sound.NodeUnprepareResources(request, context)
        return v1beta1.NodeUnprepareResourcesResponse.FromString(reply.SerializeToString())


def main(kind: type[Sound], state: str) -> None:
    os._exit(asyncio.run(kind(Path(state)).run()))
