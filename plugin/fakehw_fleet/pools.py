"""The DRA pools of all nodes of a tree, for those who publish them without kubelets."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from fakehw_fleet.plugins import QUIET_S, RECONCILE_S
from fakehw_plugin.devices.inventories import Inventories
from fakehw_plugin.devices.pump import Pump
from fakehw_plugin.devices.telemetry import Telemetry
from fakehw_plugin.dra import plan
from fakehw_plugin.dra.pool import DevicePool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from fakehw_plugin.offer import Offer
    from fakehw_plugin.tree.known import Changes


class Pools(Inventories):
    """Kept as the tree at `root` has them, while its `pump` runs. `on_pool` hears of each that is new.

    To the pump it stands in for the inventories of one node. `owners` says whose a fake node is.
    """

    def __init__(
        self,
        root: Path,
        owners: Mapping[str, str],
        *,
        domain: str,
        on_pool: Callable[[DevicePool], None] = lambda _: None,
    ) -> None:
        self.counts = Telemetry()
        super().__init__({}, vanished_grace_s=0.0, telemetry=self.counts)
        self.by_node: dict[tuple[str, str], DevicePool] = {}
        """By node and driver."""
        self.is_read = asyncio.Event()
        """Set when the whole tree was read once."""
        self.pump = Pump(
            root, self, host="", domain=domain, reconcile_s=RECONCILE_S, quiet_s=QUIET_S, telemetry=self.counts
        )
        self._owners = owners
        self._on_pool = on_pool

    async def take(self, offers: set[Offer], changes: Changes, *, at: float | None) -> bool:
        """Write down what the pump read of classes by DRA."""
        touched: set[DevicePool] = set()
        for offer in offers:
            for path in self.pump.scanner.class_paths(offer) if offer.driver else ():
                with contextlib.suppress(KeyError):  # a fake node that somebody added by hand is nobody's
                    touched.add(self._pool(self._owners[path.rsplit("/", 2)[1]], offer.driver))
        changed = False
        for offer, devices in changes.items():
            for device_id, device in devices.items() if offer.driver else ():
                owner = self._owners.get(device_id.rsplit("-", 2)[0])  # neither class nor number has a dash
                if owner is None:
                    continue
                pool = self._pool(owner, offer.driver)
                pool.put(device) if device is not None else pool.remove(device_id)
                touched.add(pool)
                changed = True
        for pool in touched if changed or not self.is_read.is_set() else ():
            pool.publish(at=at)
        self.is_read.set()
        return changed

    def _pool(self, node: str, driver: str) -> DevicePool:
        if (node, driver) not in self.by_node:
            pool = self.by_node[node, driver] = DevicePool(driver=driver, node=node)
            self._on_pool(pool)
        return self.by_node[node, driver]


async def read(root: Path, owners: Mapping[str, str], *, domain: str) -> list[DevicePool]:
    """Read the pools of a tree once, in the order of nodes and drivers."""
    pools = Pools(root, owners, domain=domain)
    pumping = asyncio.create_task(pools.pump.run())
    reading = asyncio.create_task(pools.is_read.wait())
    await asyncio.wait([pumping, reading], return_when=asyncio.FIRST_COMPLETED)
    for task in (pumping, reading):
        task.cancel()
    await asyncio.gather(pumping, reading, return_exceptions=True)
    return [pool for _, pool in sorted(pools.by_node.items())]


def slices(pool: DevicePool) -> Iterator[dict[str, Any]]:
    """Give the ResourceSlices of a pool as they are made first, without an owner: the Node has no UID yet."""
    writes = plan.plan(plan.Pool(pool.driver, pool.node, ""), pool.wanted(), {}, times={})
    for made in writes.create:
        yield {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", **made}
