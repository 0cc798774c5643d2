"""Whose behavior is emulated where releases differ (contract section 14).

Read in the sources of 1.31.14, 1.32.13, 1.33.13, 1.34.9, 1.35.6 and 1.36.3, and for 1.37 in what was merged after 1.36.
"""

from __future__ import annotations

import enum


class Mode(enum.StrEnum):
    """A minor release of Kubernetes."""

    V1_31 = "1.31"
    V1_32 = "1.32"
    V1_33 = "1.33"
    V1_34 = "1.34"
    V1_35 = "1.35"
    V1_36 = "1.36"
    V1_37 = "1.37"

    def _is_from(self, other: Mode) -> bool:
        order = list(Mode)
        return order.index(self) >= order.index(other)

    @property
    def cleans_sockets_only(self) -> bool:
        """Whether files that are no sockets stay in the directory at a start (contract REG-3)."""
        return self._is_from(Mode.V1_33)

    @property
    def may_die_of_vanished_devices(self) -> bool:
        """Whether a device that vanishes while it is allocated is a nil pointer (contract LW-13)."""
        return self._is_from(Mode.V1_34)

    @property
    def serves_get(self) -> bool:
        """Whether PodResources answers Get (contract PR-5)."""
        return self._is_from(Mode.V1_34)

    @property
    def shows_messages_as_go_values(self) -> bool:
        """Whether an answer that is repeated in an error looks as gogo/protobuf writes it (contract AL-10)."""
        return not self._is_from(Mode.V1_34)

    @property
    def sees_every_container(self) -> bool:
        """Whether a starting kubelet finds a container that runs beside one that has ended (contract RS-11)."""
        return self._is_from(Mode.V1_34)

    @property
    def dials_within_the_call(self) -> bool:
        """Whether the deadline of a Register call ends the dialing and the question for options (contract REG-7)."""
        return self._is_from(Mode.V1_35)

    @property
    def combines_bearing_nodes_only(self) -> bool:
        """Whether only NUMA nodes that carry devices are combined (contract AL-7)."""
        return self._is_from(Mode.V1_35)

    @property
    def takes_failed_registrations_back(self) -> bool:
        """Whether a socket is tried again after the kubelet could not connect or tell the plugin (contract PW-3)."""
        return self._is_from(Mode.V1_36)

    @property
    def tells_device_health(self) -> bool:
        """Whether a pod's status has `allocatedResourcesStatus` (contract HS-1)."""
        return self._is_from(Mode.V1_36)

    @property
    def knows_clients_by_path(self) -> bool:
        """Whether the table of clients is keyed by resource and socket path (contract REG-15)."""
        return self._is_from(Mode.V1_37)
