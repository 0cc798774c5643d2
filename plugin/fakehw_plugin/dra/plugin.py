"""The rim towards DRA: a driver for each driver's name that classes of this node have.

A driver is run too, without a class, while claims are prepared that one before us has left: nobody else can take them
back, and their pods would never end. Loaded with the first class that is served by DRA, or with such a claim.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from fakehw_plugin import endpoint, logs
from fakehw_plugin.device import DeviceID
from fakehw_plugin.dra.driver import Driver
from fakehw_plugin.dra.following import follow_slices
from fakehw_plugin.dra.pool import PoolListing
from kubeapi import errors, kubeconfig
from kubeapi.client import Client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from fakehw_plugin.devices.inventory import Inventory
    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.dra.following import MakeFollowing

ACCESS_RETRY_S: Final = 5.0
FIRST_PAUSE_S: Final = 0.1
WITHDRAW_RETRY_S: Final = 2.0


class DraPlugin:
    """Serves inventories by DRA from `start` to `stop`, on the Kubernetes node `node`. An inventories.Rim.

    `on_held` is called when the devices that claims hold have changed. Nothing is published before `note_taken`.
    Where many nodes live in one process, `find_client` waits for the client that they share, and `follow` makes parts
    of a watch that they share.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        *,
        node: str,
        kubeconfig: str = "",
        find_client: Callable[[], Awaitable[Client]] | None = None,
        follow: MakeFollowing = follow_slices,
        registry_dir: Path,
        state_dir: Path,
        cdi_dir: Path,
        root: Path,
        host_root: Path,
        telemetry: Telemetry,
        on_held: Callable[[], None],
        class_paths: Callable[[str], Iterable[str]] | None = None,
    ) -> None:
        self.drivers: dict[str, Driver] = {}
        self._node = node
        self._kubeconfig = kubeconfig
        self._find_client = find_client
        self._registry_dir = registry_dir
        self._on_held = on_held
        self._how: dict[str, Any] = {
            "node": node,
            "registry_dir": registry_dir,
            "state_dir": state_dir,
            "cdi_dir": cdi_dir,
            "root": root,
            "host_root": host_root,
            "telemetry": telemetry,
            "on_held": self._note_held,
            "class_paths": class_paths,
            "follow": follow,
        }
        self._inventories: dict[str, set[Inventory]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group = group
        self._connecting: asyncio.Task[None] | None = None
        self._client: asyncio.Future[Client] | None = None
        self._is_taken = asyncio.Event()
        self._log = logs.get_logger()

    @property
    def is_ready(self) -> bool:
        """Tell whether every driver is registered and published."""
        return all(driver.is_ready for driver in self.drivers.values())

    def held(self) -> set[DeviceID]:
        """Return the devices that prepared claims hold."""
        held = (driver.preparation.checkpoint.held() for driver in self.drivers.values())
        return {DeviceID(device_id) for found in held for device_id in found}

    def start(self) -> None:
        """Begin to look for the API server."""
        self._client = asyncio.get_running_loop().create_future()
        self._connecting = self._group.create_task(self._connect(), name="API server")
        for name in endpoint.remove_stale(self._registry_dir):
            self._log.info("stale_socket_removed", endpoint=name)

    async def stop(self) -> None:
        """Stop the servers and remove the sockets. The slices stay: a kubelet deletes them after 30 s (DRA-8)."""
        for task in tuple(self._tasks.values()):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        if self._connecting is not None:
            self._connecting.cancel()

    def open(self, inventory: Inventory) -> None:
        """Publish the devices of this inventory and prepare claims for them."""
        driver = self._driver(inventory.driver)
        self._inventories[driver.name].add(inventory)
        inventory.keep(PoolListing(driver.pool))

    def close(self, inventory: Inventory) -> None:
        """Publish it no more; a driver without an inventory and without a claim goes, and its slices with it."""
        self._inventories[inventory.driver].discard(inventory)
        self._leave_unused()

    def look_after(self, names: Iterable[str]) -> None:
        """Run these drivers as long as they have prepared claims, be it without a class."""
        for name in names:
            self._driver(name)

    def note_taken(self) -> None:
        """Take note that the inventories have all that the tree has."""
        self._is_taken.set()
        self._leave_unused()

    def _driver(self, name: str) -> Driver:
        if name not in self.drivers:
            if not self._node:
                remark = "set --host (NODE_NAME): slices and claims are those of a Kubernetes node"
                self._log.error("dra_needs_the_node_name", driver=name, remark=remark)
            driver = self.drivers[name] = Driver(name, **self._how)
            driver.preparation.open()
            self._inventories[name] = set()
            before = self._tasks.get(name)
            self._tasks[name] = self._group.create_task(self._run(driver, after=before), name=f"driver {name}")
        return self.drivers[name]

    async def _run(self, driver: Driver, *, after: asyncio.Task[None] | None) -> None:
        """Run a driver until it is of no use, then take its slices away."""
        if after is not None:
            await asyncio.wait([after])
        await self._is_taken.wait()
        if not self._node:
            await driver.left.wait()  # it was told; a pool of no node would be everybody's
            return
        assert self._client is not None
        client = await asyncio.shield(self._client)
        running = asyncio.create_task(driver.run(client), name=f"running {driver.name}")
        leaving = asyncio.create_task(driver.left.wait(), name=f"leaving {driver.name}")
        try:
            await asyncio.wait([running, leaving], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running  # which never ends but by an error
        finally:
            for task in (running, leaving):
                task.cancel()
            await asyncio.wait([running, leaving])
        await self._withdraw(driver)

    async def _withdraw(self, driver: Driver) -> None:
        assert driver.publisher is not None
        while True:
            try:
                await driver.publisher.withdraw()
            except errors.ApiError as error:
                self._log.warning("slices_not_withdrawn", driver=driver.name, error=str(error))
                await asyncio.sleep(WITHDRAW_RETRY_S)
            else:
                self._log.info("driver_left", driver=driver.name)
                return

    def _note_held(self) -> None:
        self._on_held()
        self._leave_unused()

    def _leave_unused(self) -> None:
        if not self._is_taken.is_set():
            return
        for name, driver in tuple(self.drivers.items()):
            if not self._inventories[name] and not driver.preparation.checkpoint.prepared:
                del self.drivers[name], self._inventories[name]
                driver.left.set()

    async def _connect(self) -> None:
        """Find the way to the API server, however long it takes, and keep the client open."""
        assert self._client is not None
        if self._find_client is not None:
            self._client.set_result(await self._find_client())
            return
        pause, told = FIRST_PAUSE_S, ""
        while True:
            try:
                access = kubeconfig.find(self._kubeconfig)
                break
            except errors.AccessError as error:
                if str(error) != told:
                    told = str(error)
                    self._log.error("no_way_to_the_api_server", error=told, retry_every_s=ACCESS_RETRY_S)
                await asyncio.sleep(pause)
                pause = min(2 * pause, ACCESS_RETRY_S)
        async with Client(access, user_agent="fakehw-plugin") as client:
            self._client.set_result(client)
            await asyncio.Event().wait()
