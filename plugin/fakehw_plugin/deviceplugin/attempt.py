"""One attempt to be registered: this endpoint of ours with that kubelet, and why it is over, if it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fakehw_plugin.deviceplugin.directory import Identity, KubeletDirectory
    from fakehw_plugin.deviceplugin.servicer import DevicePluginServicer
    from fakehw_plugin.endpoint import Endpoint


class Attempt:
    """Serving on `endpoint` for the kubelet that `directory` had as `identity` when this began."""

    __slots__ = ("directory", "dropped", "endpoint", "identity")

    def __init__(
        self, endpoint: Endpoint[DevicePluginServicer], directory: KubeletDirectory, identity: Identity
    ) -> None:
        self.endpoint = endpoint
        self.directory = directory
        self.identity = identity
        self.dropped: str | None = None
        """Why the kubelet is known to have us no more, though nothing of ours has ended."""

    @property
    def has_stream(self) -> bool:
        """Tell whether a kubelet has a ListAndWatch stream open."""
        return self.endpoint.servicer.live_streams > 0

    def lost(self) -> str | None:
        """Return why this attempt is of no use any more, or None (contract RS-5)."""
        now = self.directory.identity()
        if now is not None and now != self.identity:
            return "kubelet_replaced"
        if not self.endpoint.is_in_place():
            return "socket_removed"
        if now is None and not self.has_stream:
            return "kubelet_gone"
        return self.dropped
