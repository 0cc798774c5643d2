"""A node with all that a device plugin may meet on it, and with time standing still."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from fakekubelet import clock
from fakekubelet.kubelet import kubelet

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class FakeNode:
    """A kubelet with both registration routes and PodResources, on a `ManualClock`; an async context manager.

    Its sockets go below *directory*, whose path must be short: a socket's has 107 bytes at most (contract PATH-4).
    *options* are those of `FakeKubelet`.
    """

    def __init__(self, directory: Path, **options: Any) -> None:
        self.clock: clock.ManualClock = options.pop("clock", None) or clock.ManualClock()
        """Stands still until it is advanced: five minutes of grace cost nothing."""
        self.plugin_dir = directory / "dp"
        self.plugins_registry = directory / "reg"
        self.pod_resources_socket = directory / "pr" / "kubelet.sock"
        self.kubelet = kubelet.FakeKubelet(
            self.plugin_dir,
            pod_resources_socket=self.pod_resources_socket,
            plugins_registry=self.plugins_registry,
            clock=self.clock,
            **options,
        )

    async def __aenter__(self) -> Self:
        await self.kubelet.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kubelet.__aexit__(kind, error, trace)
