"""What was seen of a DRA driver: values that the checks read and the procedure writes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakekubelet.conformance.dra.settings import Settings
    from fakekubelet.dra.drivers import Arrival
    from fakekubelet.kubelet.registration import Registration

TIMED_OUT: Final = "no answer in time"
RESTARTED: Final = "kubelet restart"
PUBLISHED_AGAIN: Final = "slices after the restart"
HEALTH_AGAIN: Final = "health after the restart"
WIPED: Final = "slices wiped, watch lost"
KILLED: Final = "SIGKILL"

DeviceKey = tuple[str, str]
"""Pool and device."""


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """One device of an answer."""

    pool: str
    device: str
    requests: tuple[str, ...]
    cdi_ids: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """The answer for one claim."""

    error: str
    devices: tuple[Prepared, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Exchange:
    """One call that the kit made, and its answer."""

    purpose: str
    method: str
    asked: tuple[str, ...]
    """UIDs of the claims."""
    entries: dict[str, Entry] | None
    """By UID; None if the call failed as a whole."""
    error: str = ""
    duration_s: float = 0.0

    @property
    def first(self) -> Entry | None:
        """Return the answer for the first claim."""
        return None if self.entries is None else self.entries.get(self.asked[0])

    def said(self) -> str:
        """Return what went wrong, for people; empty if nothing did."""
        if self.entries is None:
            return self.error
        if not self.asked:
            return ""
        return "no entry for the claim" if self.first is None else self.first.error


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A device was broken and mended by the commands given; seconds until each was seen, None if it was not in time."""

    device: DeviceKey | None = None
    slice_broken_s: float | None = None
    slice_said: str = ""
    """What the slices said of it: a taint, or that it is gone."""
    health_broken_s: float | None = None
    slice_mended_s: float | None = None
    health_mended_s: float | None = None
    has_health: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Hotplug:
    """A device was taken away and put back by the commands given; seconds until the slices said so."""

    device: DeviceKey | None = None
    gone_s: float | None = None
    back_s: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Rollover:
    """A second instance was started beside the first, and the first was ended."""

    endpoints: tuple[str, ...] = ()
    """Of the first and of the second; one if both have the same, or the second never registered."""
    registered_s: float | None = None
    exit_code: int | None = None
    """Set if the second one ended instead."""
    old_gone: str = ""
    """What the first has lost when the second came."""
    said: str | None = None
    """What was wrong with the second one's answer for the first one's claim; empty: nothing; None: not asked."""
    is_same: bool = False
    taken: tuple[str, ...] = ()
    """What the first one took with it when it ended: sockets of the second, slices."""
    ended_s: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Comeback:
    """How the driver came back after something was done to it."""

    seconds: float | None
    exit_code: int | None = None
    """Set if the process ended instead."""
    missing: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """What SIGTERM came to."""

    seconds: float | None
    exit_code: int | None
    sockets_left: tuple[str, ...]


@dataclasses.dataclass(slots=True)
class Evidence:
    """Everything that the procedure saw."""

    settings: Settings
    driver: str = ""
    registrations: Sequence[Registration] = ()
    arrivals: Sequence[Arrival] = ()
    info: Any = None
    """The PluginInfo of the first life."""
    info_s: list[float] = dataclasses.field(default_factory=list)
    notify_errors: list[str] = dataclasses.field(default_factory=list)
    services: dict[str, str] = dataclasses.field(default_factory=dict)
    """Advertised service to the error of a call to it; "" if it is served."""
    published_s: float | None = None
    slices: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """At rest, in the first life."""
    slice_problems: dict[str, str] = dataclasses.field(default_factory=dict)
    """Moment to what was wrong with the pools at rest then."""
    refused_writes: list[str] = dataclasses.field(default_factory=list)
    node_uid: str = ""
    idle_writes: dict[str, int] = dataclasses.field(default_factory=dict)
    """Situation to the number of writes of slices while nothing changed."""
    own_deletions: list[str] = dataclasses.field(default_factory=list)
    """Slices that the driver deleted though its pool stayed."""
    exchanges: list[Exchange] = dataclasses.field(default_factory=list)
    cdi_problems: list[str] = dataclasses.field(default_factory=list)
    """Files that are no specs."""
    cdi_unresolvable: dict[str, str] = dataclasses.field(default_factory=dict)
    """Purpose to what the runtime says."""
    cdi_edits: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Purpose to id to what it puts into a container."""
    cdi_written_in_place: list[str] = dataclasses.field(default_factory=list)
    cdi_left: list[str] = dataclasses.field(default_factory=list)
    cdi_files_seen: int = 0
    has_health: bool = False
    health_missing: list[str] = dataclasses.field(default_factory=list)
    """Devices that a message left out."""
    health_gap_s: float | None = None
    """From one message to the next while nothing happened; None if none came for as long as the last is believed."""
    health_timeout_s: float = 30.0
    change: Change | None = None
    hotplug: Hotplug | None = None
    rollover: Rollover | None = None
    comebacks: dict[str, Comeback] = dataclasses.field(default_factory=dict)
    stop: Stop | None = None
    has_new_boot_id: bool = False
    """Whether the driver could see by the kernel's boot id that the machine was rebooted."""
    output: str = ""

    @property
    def resources(self) -> list[str]:
        """Return the drivers, for the report."""
        return [self.driver] if self.driver else []

    def of(self, purpose: str) -> Exchange | None:
        """Return the call with a purpose, if it was made."""
        return next((exchange for exchange in self.exchanges if exchange.purpose == purpose), None)
