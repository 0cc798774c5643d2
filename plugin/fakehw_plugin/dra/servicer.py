"""The calls that a kubelet makes to a DRA driver, all on one socket. Translates, and decides nothing.

pluginregistration   GetInfo, NotifyRegistrationStatus
DRAPlugin            NodePrepareResources, NodeUnprepareResources, in v1 and v1beta1
DRAResourceHealth    NodeWatchResources, in v1 and v1alpha1
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc

from fakehw_plugin.dra import claim
from kubeletapi.dra import constants
from kubeletapi.dra.v1 import api_pb2 as v1
from kubeletapi.dra.v1beta1 import api_pb2 as v1beta1
from kubeletapi.pluginregistration.v1 import api_pb2 as registration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fakehw_plugin import rpc_faults
    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.dra.pool import DevicePool
    from fakehw_plugin.dra.preparation import Preparation
    from fakehw_plugin.logs import Logger

    Context = grpc.aio.ServicerContext[Any, Any]

RESEND_S: Final = 10.0
"""The kubelet takes a device for Unknown that it has not heard of for 30 s (contract HL-2)."""

VERSIONS: Final = (constants.V1, constants.V1BETA1, constants.HEALTH_V1, constants.HEALTH_V1ALPHA1)


class DraServicer:
    """Serves one driver on one socket. `on_registered` is told what the kubelet made of the registration."""

    def __init__(
        self,
        pool: DevicePool,
        preparation: Preparation,
        *,
        telemetry: Telemetry,
        log: Logger,
        on_registered: Callable[[bool, str], None],
        faults: rpc_faults.Faults | None = None,
    ) -> None:
        self.live_streams = 0
        self._pool = pool
        self._preparation = preparation
        self._telemetry = telemetry
        self._log = log
        self._on_registered = on_registered
        self._faults = faults
        self._is_closing = False
        self._wakes: set[asyncio.Event] = set()
        self._resends = 0

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the handlers for a gRPC server."""
        watch: rpc_faults.Stream = self.node_watch_resources
        if self._faults is not None:
            watch = self._faults.stream("NodeWatchResources", watch)
        stream: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(watch)
        return (
            grpc.method_handlers_generic_handler(
                "pluginregistration.Registration",
                {
                    "GetInfo": self._unary("GetInfo", self.get_info, registration.InfoRequest),
                    "NotifyRegistrationStatus": _handler(
                        self.notify_registration_status, registration.RegistrationStatus
                    ),
                },
            ),
            *(
                grpc.method_handlers_generic_handler(
                    name,
                    {
                        "NodePrepareResources": self._unary(
                            "NodePrepareResources", self._prepare_in(version), version.NodePrepareResourcesRequest
                        ),
                        "NodeUnprepareResources": self._unary(
                            "NodeUnprepareResources", self._unprepare_in(version), version.NodeUnprepareResourcesRequest
                        ),
                    },
                )
                for name, version in ((constants.V1_SERVICE, v1), (constants.V1BETA1_SERVICE, v1beta1))
            ),
            *(
                grpc.method_handlers_generic_handler(name, {"NodeWatchResources": stream})
                for name in (constants.HEALTH_V1, constants.HEALTH_V1ALPHA1)
            ),
        )

    def _unary(self, name: str, call: rpc_faults.Unary, request: Any) -> grpc.RpcMethodHandler[Any, Any]:
        return _handler(call if self._faults is None else self._faults.unary(name, call), request)

    def close(self) -> None:
        """End all streams, so that stopping the server does not have to wait for them (contract PIT-8)."""
        self._is_closing = True
        self._wake_all()

    def resend(self) -> None:
        """Send the health of all devices again, though nothing has changed."""
        self._resends += 1
        self._wake_all()

    def _wake_all(self) -> None:
        for wake in self._wakes:
            wake.set()

    async def get_info(self, request: registration.InfoRequest, context: Context) -> registration.PluginInfo:
        """Say who we are. No endpoint: it is this same socket (contract DRA-REG-4)."""
        return registration.PluginInfo(
            type=constants.PLUGIN_TYPE, name=self._pool.driver, endpoint="", supported_versions=VERSIONS
        )

    async def notify_registration_status(
        self, request: registration.RegistrationStatus, context: Context
    ) -> registration.RegistrationStatusResponse:
        """Take note of what the kubelet made of it. A registration means that a kubelet has started (DRA-REG-11)."""
        self._on_registered(request.plugin_registered, request.error)
        return registration.RegistrationStatusResponse()

    def _prepare_in(self, version: Any) -> rpc_faults.Unary:
        async def node_prepare_resources(request: Any, context: Context) -> Any:
            """Prepare every claim, each with an answer of its own (contract DRA-12)."""
            answer = version.NodePrepareResourcesResponse()
            for one, result in zip(
                request.claims,
                await asyncio.gather(*(self._prepared(one, version) for one in request.claims)),
                strict=True,
            ):
                answer.claims[one.uid].CopyFrom(result)
            return answer

        return node_prepare_resources

    async def _prepared(self, asked: Any, version: Any) -> Any:
        reference = claim.Reference(asked.namespace, asked.name, asked.uid)
        try:
            prepared = await self._preparation.prepare(reference)
        except claim.ClaimError as error:
            self._told("prepare", "refused", reference, error)
            return version.NodePrepareResourceResponse(error=str(error))
        self._telemetry.claims["prepare", "ok"] += 1
        self._log.info("claim_prepared", claim=str(reference), uid=reference.uid, devices=_ids(prepared.devices))
        answer = version.NodePrepareResourceResponse()
        for device in prepared.devices:
            added = answer.devices.add(
                request_names=[device.request] if device.request else [],
                pool_name=prepared.pool,
                device_name=device.device,
                cdi_device_ids=self._preparation.cdi_ids(prepared, device),
            )
            if device.share_id and version is v1:  # v1beta1 has no word for it
                added.share_id = device.share_id
        return answer

    def _unprepare_in(self, version: Any) -> rpc_faults.Unary:
        async def node_unprepare_resources(request: Any, context: Context) -> Any:
            """Take every claim back, each with an answer of its own; one that is not known is taken back (DRA-16)."""
            answer = version.NodeUnprepareResourcesResponse()
            for one in request.claims:
                answer.claims[one.uid].CopyFrom(await self._unprepared(one, version))
            return answer

        return node_unprepare_resources

    async def _unprepared(self, asked: Any, version: Any) -> Any:
        reference = claim.Reference(asked.namespace, asked.name, asked.uid)
        try:
            await self._preparation.unprepare(reference)
        except claim.ClaimError as error:
            self._told("unprepare", "refused", reference, error)
            return version.NodeUnprepareResourceResponse(error=str(error))
        self._telemetry.claims["unprepare", "ok"] += 1
        self._log.info("claim_unprepared", claim=str(reference), uid=reference.uid)
        return version.NodeUnprepareResourceResponse()

    def _told(self, call: str, outcome: str, reference: claim.Reference, error: Exception) -> None:
        self._telemetry.claims[call, outcome] += 1
        self._log.warning(f"claim_not_{call}d", claim=str(reference), uid=reference.uid, error=str(error))

    async def node_watch_resources(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """Send the health of all devices at once, after every change, and before the kubelet would doubt it."""
        wake, sent = asyncio.Event(), (-1, -1)
        self._wakes.add(wake)
        self._pool.subscribe(wake.set)
        self.live_streams += 1
        try:
            while not self._is_closing:
                wake.clear()
                now = self._pool.generation, self._resends
                if now != sent:
                    sent = now
                    yield self._pool.health.message()
                    continue
                try:
                    async with asyncio.timeout(RESEND_S):
                        await wake.wait()
                except TimeoutError:
                    sent = (-1, -1)
        finally:
            self.live_streams -= 1
            self._pool.unsubscribe(wake.set)
            self._wakes.discard(wake)


def _handler(call: Any, request: Any) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=request.FromString, response_serializer=_serialize
    )


def _serialize(message: Any) -> bytes:
    found: bytes = message.SerializeToString()
    return found


def _ids(devices: Any) -> str:
    return ", ".join(device.device_id for device in devices)
