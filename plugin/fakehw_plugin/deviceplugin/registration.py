"""One Register call to the kubelet. The plugin must be serving already (contract REG-5, PIT-1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from fakehw_plugin import errors, socket_path
from fakehw_plugin.deviceplugin import wire
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S: Final = 15.0
"""The kubelet dials back inside the call and may take 10 s for it, within our deadline (contract REG-6, REG-7)."""

_METHOD: Final = f"/{constants.REGISTRATION_SERVICE}/Register"
_OPTIONS: Final = (
    ("grpc.default_authority", "localhost"),  # contract PIT-10
    ("grpc.use_local_subchannel_pool", 1),  # never the connection to the kubelet that was there before
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)


async def register(kubelet_socket: Path, *, endpoint: str, resource_name: str, options: bytes) -> None:
    """Register `resource_name` as served on `endpoint`; RegistrationError with the kubelet's words if that fails."""
    request = wire.register_request(endpoint=endpoint, resource_name=resource_name, options=options)
    try:
        with socket_path.dialled(kubelet_socket) as target:
            async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
                call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
                await call(request, timeout=TIMEOUT_S)
    except OSError as error:
        raise errors.RegistrationError(f"cannot reach {kubelet_socket}: {error.strerror}") from error
    except grpc.aio.AioRpcError as error:
        raise errors.RegistrationError(f"{error.code().name}: {error.details()}") from error
