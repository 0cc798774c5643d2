"""What was seen of a plugin: values that the checks read and the procedure writes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fakekubelet.conformance.settings import Settings
    from fakekubelet.kubelet import device, registration
    from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi


@dataclasses.dataclass(slots=True)
class Instance:
    """One life of the plugin's process, or the one that runs already."""

    started: float
    ended: float = math.inf
    """When it was told to end, or killed."""
    registrations: Sequence[registration.Registration] = ()
    lists: dict[str, Sequence[device.DeviceList]] = dataclasses.field(default_factory=dict)
    """Every list received while it lived, by resource."""
    arrived_s: dict[str, float] = dataclasses.field(default_factory=dict)
    """Resource to the time from its registration to its first list."""

    def first_ids(self, resource: str) -> set[str]:
        """Return the IDs of its first list that has any."""
        return next((set(received.devices) for received in self.lists.get(resource, ()) if received.devices), set())


@dataclasses.dataclass(frozen=True, slots=True)
class Exchange:
    """One call made to the plugin beside those of the kubelet, and its answer."""

    resource: str
    method: str
    purpose: str
    """Why it was asked: `first`, `again`, `unknown`, ..."""
    request: Any
    reply: Any
    error: str | None
    duration_s: float

    @property
    def timed_out(self) -> bool:
        """Tell whether no answer came in time."""
        return self.error == TIMED_OUT

    @property
    def lost_connection(self) -> bool:
        """Tell whether it ended as a call ends whose plugin dies; a plugin may also say that of its own accord."""
        return self.error is not None and self.error.startswith("rpc error: code = Unavailable")


TIMED_OUT = "no answer in time"


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What a plugin answered to GetDevicePluginOptions."""

    pre_start_required: bool
    preferred_allocation: bool
    duration_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class SecondStream:
    """ListAndWatch opened beside the kubelet's own."""

    first_ids: frozenset[str] | None
    """None if no list came."""
    error: str = ""
    saw_break: bool | None = None
    """Whether the list with the broken device came here and to the kubelet; None if no device of it was broken."""


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A device was broken and mended by the commands given."""

    resource: str | None = None
    """The resource that lost a healthy device; None if none did."""
    broken_s: float | None = None
    mended_s: float | None = None
    ids: frozenset[str] = frozenset()
    """The devices that it lost."""
    streams: frozenset[str] = frozenset()
    """Which streams were told of it: `kubelet`, `second`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recovery:
    """How the plugin came back after something was done to it."""

    seconds: float | None
    """Until every resource was registered and listed again; None if it was not in time."""
    missing: tuple[str, ...] = ()
    exit_code: int | None = None
    """Set if the process ended instead."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """How the process ended on SIGTERM."""

    seconds: float | None
    """None if it had to be killed."""
    exit_code: int | None
    sockets_left: tuple[str, ...]
    empty_lists: tuple[str, ...]
    """Resources for which an empty list came after the signal."""


@dataclasses.dataclass(slots=True)
class Evidence:
    """Everything."""

    settings: Settings
    resources: list[str] = dataclasses.field(default_factory=list)
    """Those expected, or those found."""
    instances: list[Instance] = dataclasses.field(default_factory=list)
    waited_until: float = 0.0
    """When the plugin had registered with a kubelet that came after it, or had not and was started again."""
    options: dict[str, Options] = dataclasses.field(default_factory=dict)
    list_sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    """Resource to the bytes of its largest list with every device unhealthy."""
    stream_errors: dict[str, str] = dataclasses.field(default_factory=dict)
    """Resource to the error with which a list could not be received."""
    exchanges: list[Exchange] = dataclasses.field(default_factory=list)
    second_streams: dict[str, SecondStream] = dataclasses.field(default_factory=dict)
    idle_repeats: dict[str, float] = dataclasses.field(default_factory=dict)
    """Resource to lists a second that said nothing new while nothing happened."""
    change: Change | None = None
    survived_unknown: bool = True
    """Whether the plugin was still there after it was asked for a device that does not exist."""
    recoveries: dict[str, Recovery] = dataclasses.field(default_factory=dict)
    stop: Stop | None = None
    revival: Recovery | None = None
    """After SIGKILL and a new start."""
    stale_sockets: tuple[str, ...] | None = None
    """Sockets of the killed process that its successor left in place."""
    files: tuple[str, ...] = ()
    """Plain files that the plugin made in the kubelet's directory."""
    output: str = ""
    """The last lines that the plugin printed."""

    @property
    def registrations(self) -> Sequence[registration.Registration]:
        """All of them, refused ones too."""
        return list(itertools.chain.from_iterable(life.registrations for life in self.instances))

    @property
    def accepted(self) -> list[registration.Registration]:
        """Registrations that the kubelet accepted."""
        return [attempt for attempt in self.registrations if attempt.error is None]

    def of(self, method: str, *purposes: str) -> list[Exchange]:
        """Return the exchanges of a method, for some purposes or all."""
        return [
            exchange
            for exchange in self.exchanges
            if exchange.method == method and (not purposes or exchange.purpose in purposes)
        ]

    def lists(self, resource: str) -> list[device.DeviceList]:
        """Return every list of a resource, over all lives."""
        return [received for instance in self.instances for received in instance.lists.get(resource, ())]


def allocations(seen: Evidence) -> list[tuple[str, pluginapi.ContainerAllocateResponse]]:
    """Return resource and first container response of every Allocate that was answered."""
    return [
        (exchange.resource, exchange.reply.container_responses[0])
        for exchange in seen.of("Allocate", "first", "again")
        if exchange.reply is not None and exchange.reply.container_responses
    ]


def is_inside(directory: Path, name: str) -> bool:
    """Tell whether *name* is a bare file name, so that joining it stays in *directory*."""
    return bool(name) and name not in (".", "..") and (directory / name).parent == directory and "/" not in name
