"""The rim towards DRA: slices at the API server, claims prepared for the kubelet.

plugin        all drivers of a node, opened and closed with the inventories
driver        one driver: pool, publisher, preparation and a socket
publisher     the slices at the API server, kept as they should be: `following` hears of them, `stored_slices` knows
              them, `slice_log` tells of them
preparation   claims prepared and taken back
servicer      the calls that a kubelet makes
pool          the devices of a driver, as they are to be published
health_list   what NodeWatchResources sends, kept encoded
checkpoint    which claims are prepared; `durable` writes it
cdi           what a container gets, as the runtime reads it
plan, placement, entry, claim, names   pure: what has to be written, in which slice, how a device is told

Nothing of it is loaded, nor is an API server asked, before a class is served by DRA: see LazyDra.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fakehw_plugin.devices.retention import ANY_RESOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from fakehw_plugin.device import DeviceID
    from fakehw_plugin.devices.inventory import Inventory
    from fakehw_plugin.dra.driver import Driver
    from fakehw_plugin.dra.plugin import DraPlugin


class LazyDra:
    """A DraPlugin once it is needed, made by `make`. An inventories.Rim.

    `state_dir` is looked into when it is entered: for claims that one before us has prepared.
    """

    def __init__(self, make: Callable[[asyncio.TaskGroup], DraPlugin], *, state_dir: Path) -> None:
        self.plugin: DraPlugin | None = None
        self._make = make
        self._state_dir = state_dir
        self._group = asyncio.TaskGroup()
        self._is_taken = False

    @property
    def is_ready(self) -> bool:
        """Tell whether all that is served by DRA is registered and published."""
        return self.plugin is None or self.plugin.is_ready

    @property
    def drivers(self) -> Mapping[str, Driver]:
        """Return the drivers by their names."""
        return {} if self.plugin is None else self.plugin.drivers

    async def holders(self) -> set[tuple[str, DeviceID]] | None:
        """Return the devices that prepared claims hold, of whatever resource."""
        return set() if self.plugin is None else {(ANY_RESOURCE, device_id) for device_id in self.plugin.held()}

    def open(self, inventory: Inventory) -> None:
        """Publish the devices of this inventory and prepare claims for them."""
        self._loaded().open(inventory)

    def close(self, inventory: Inventory) -> None:
        """Publish it no more."""
        self._loaded().close(inventory)

    def note_taken(self) -> None:
        """Take note that the inventories have all that the tree has."""
        self._is_taken = True
        if self.plugin is not None:
            self.plugin.note_taken()

    async def __aenter__(self) -> LazyDra:
        await self._group.__aenter__()
        if names := self._drivers_with_claims():
            self._loaded().look_after(names)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self.plugin is not None:
            await self.plugin.stop()
        await self._group.__aexit__(kind, error, tb)

    def _loaded(self) -> DraPlugin:
        if self.plugin is None:
            self.plugin = self._make(self._group)
            self.plugin.start()
            if self._is_taken:
                self.plugin.note_taken()
        return self.plugin

    def _drivers_with_claims(self) -> list[str]:
        try:
            return sorted({path.parent.parent.name for path in self._state_dir.glob("*/claims/*.json")})
        except OSError:
            return []
