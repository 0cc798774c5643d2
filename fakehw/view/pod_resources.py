"""What a kubelet knows of devices, asked over its PodResources socket: which are allocatable, and who holds which.

Two calls, each with an empty request, and replies of which few fields matter: they are read off the wire by hand, so
that no generated code has to be shared with the plugin, which this package does not know.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from fakehw import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

Answer = TypeVar("Answer")

TIMEOUT_S: Final = 5.0
_SERVICE: Final = "/v1.PodResourcesLister"
_OPTIONS: Final = (
    ("grpc.default_authority", "localhost"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),  # the kubelet does not limit what it sends (contract PR-8)
)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class UnknownError(Exception):
    """The kubelet could not be asked; nothing is known."""


async def allocatable(socket: Path) -> frozenset[str]:
    """Return the IDs of all healthy devices, in use or not (contract PR-4); UnknownError if nobody answers."""
    return _parsed(parse_allocatable, await _ask(socket, "GetAllocatableResources"))


async def holders(socket: Path) -> dict[str, str]:
    """Return who holds what, as `parse_holders` says it; UnknownError if nobody answers."""
    return _parsed(parse_holders, await _ask(socket, "List"))


def _parsed(parse: Callable[[bytes], Answer], raw: bytes) -> Answer:
    try:
        return parse(raw)
    except ValueError as error:  # also what is not UTF-8
        raise UnknownError(f"an answer that is no message: {error}") from None


def parse_allocatable(raw: bytes) -> frozenset[str]:
    """Return the device IDs of an AllocatableResourcesResponse; ValueError for what is none."""
    return frozenset(device_id.decode() for devices in _all(raw, 1) for device_id in _all(devices, 2))


def parse_holders(raw: bytes) -> dict[str, str]:
    """Return who holds each device of a ListPodResourcesResponse; ValueError for what is none.

    NAMESPACE/POD/CONTAINER by device ID (contract PR-1, PR-2); for what DRA gave, with the claim after it, by the
    device's name in its ResourceSlice (contract DRA-POD-1, Kubernetes 1.34 and later). Ask it with `holder`.
    """
    found: dict[str, str] = {}
    for pod in _all(raw, 1):
        for container in _all(pod, 3):
            who = "/".join((_text(pod, 2), _text(pod, 1), _text(container, 1)))
            for devices in _all(container, 2):
                found |= {device_id.decode(): who for device_id in _all(devices, 2)}
            for claim in _all(container, 5):
                by = f"{who} by {_text(claim, 2)}"
                for resource in _all(claim, 4):
                    name = _text(resource, 4)
                    if any(_is_fakehw_s(_text(cdi, 1), _text(resource, 2), name) for cdi in _all(resource, 1)):
                        found[name] = f"{found[name]}, {by}" if found.get(name, by) != by else by
    return found


def holder(holders: Mapping[str, str], device_id: str) -> str:
    """Return who holds a device, by what `parse_holders` returned; empty if nobody does."""
    return holders.get(device_id) or holders.get(layout.slice_name(device_id), "")


def _is_fakehw_s(cdi_id: str, driver: str, name: str) -> bool:
    """Tell whether a CDI name is one that our DRA driver gives: others may call devices by the same name."""
    return cdi_id.startswith(f"k8s.{driver}/claim=") and f"-{name}" in cdi_id


async def _ask(socket: Path, method: str) -> bytes:
    target = f"unix:{quote(bytes(socket.absolute()), safe='/')}"  # a URI: %2F, # and ? mean something else in it
    with contextlib.ExitStack() as stack:
        try:
            if b"," in bytes(socket):  # however it is written, gRPC takes what follows for another address
                fd = os.open(socket, os.O_PATH | os.O_CLOEXEC)
                stack.callback(os.close, fd)
                target = f"unix:/proc/self/fd/{fd}"
        except OSError as error:
            raise UnknownError(f"{socket}: {error.strerror}") from None
        return await _call(target, method, socket)


async def _call(target: str, method: str, socket: Path) -> bytes:
    import grpc  # only where somebody asks

    async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{_SERVICE}/{method}")
        try:
            return await call(b"", timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise UnknownError(f"{socket}: {error.code().name}: {error.details()}") from None


def _all(raw: bytes, number: int) -> list[bytes]:
    return [value for field, value in _fields(raw) if field == number]


def _text(raw: bytes, number: int) -> str:
    return next((value.decode() for value in _all(raw, number)), "")


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of each length-delimited field of a protobuf message; ValueError if it is none."""
    position = 0
    while position < len(raw):
        key, position = _varint(raw, position)
        kind = key & 7
        if kind == _BYTES:
            size, position = _varint(raw, position)
            if position + size > len(raw):
                raise ValueError("a message that is cut off")
            yield key >> 3, raw[position : position + size]
            position += size
        elif kind == _VARINT:
            _, position = _varint(raw, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
            if position > len(raw):
                raise ValueError("a message that is cut off")
        else:
            raise ValueError(f"wire type {kind}")


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(raw):
            raise ValueError("a message that is cut off")
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
