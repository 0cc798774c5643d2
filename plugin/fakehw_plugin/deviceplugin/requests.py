"""What the kubelet asks, out of its bytes. Loads protobuf, and is itself loaded after the registration."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.message import DecodeError

from fakehw_plugin import errors
from fakehw_plugin.device import DeviceID
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

    MessageT = TypeVar("MessageT", bound=Message)

MAX_KEPT_BYTES: Final = 256
"""Requests of a few devices are kept as they were read: the same devices are asked for time and again."""


def allocated(request: bytes) -> tuple[tuple[DeviceID, ...], ...]:
    """Return the device IDs, each once, that each container of an Allocate is to get; RequestError if that is none."""
    return _kept(request) if len(request) <= MAX_KEPT_BYTES else _allocated(request)


def _allocated(request: bytes) -> tuple[tuple[DeviceID, ...], ...]:
    containers = _read(pluginapi.AllocateRequest, request).container_requests
    return tuple(_each_once(container.devices_ids) for container in containers)


_kept = functools.lru_cache(maxsize=1024)(_allocated)


def started(request: bytes) -> tuple[DeviceID, ...]:
    """Return the device IDs, each once, that a PreStartContainer is about; RequestError if that is none."""
    return _each_once(_read(pluginapi.PreStartContainerRequest, request).devices_ids)


def preferred(request: bytes) -> Iterable[pluginapi.ContainerPreferredAllocationRequest]:
    """Return what a GetPreferredAllocation asks for each container; RequestError if that is none."""
    return _read(pluginapi.PreferredAllocationRequest, request).container_requests


def _each_once(device_ids: Iterable[str]) -> tuple[DeviceID, ...]:
    return tuple(map(DeviceID, dict.fromkeys(device_ids)))


def _read(kind: type[MessageT], request: bytes) -> MessageT:
    try:
        return kind.FromString(request)
    except DecodeError as error:
        raise errors.RequestError(kind.__name__, str(error)) from error
