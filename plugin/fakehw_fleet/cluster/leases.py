"""The heartbeats of all nodes, as kubelets send them, in a lane of connections that nothing else waits in."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

from fakehw_fleet.cluster import objects
from kubeapi import errors
from kubeapi.resources import LEASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeapi.client import Client
    from kubeapi.resources import Object

EVERY_S: Final = 10.0
"""The kubelet's own: a quarter of the lease."""

CONNECTIONS: Final = 24
TIMEOUT_S: Final = 10.0
RETRY_S: Final = 1.0
LATE_S: Final = 0.75 * objects.LEASE_S
"""After such a gap the controller may have taken the node for lost, and only a new status heals that."""


class Leases:
    """Keeps the leases of nodes, each in a task of `group`. `client` is a lane; `on_late` hears whose came late."""

    def __init__(
        self,
        client: Client,
        group: asyncio.TaskGroup,
        *,
        on_late: Callable[[str], None],
        on_error: Callable[[Exception], None],
        every_s: float = EVERY_S,
    ) -> None:
        self._client = client
        self._group = group
        self._on_late = on_late
        self._on_error = on_error
        self._every_s = every_s
        self._gate = asyncio.Semaphore(CONNECTIONS)
        """A request's time begins when it has a connection, not while a thousand others are before it."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def keep(self, name: str, node_uid: str) -> None:
        """Renew the lease of a node from now on."""
        self.drop(name)
        self._tasks[name] = self._group.create_task(self._keep(name, node_uid), name=f"lease of {name}")

    def drop(self, name: str) -> None:
        """Renew it no more."""
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    def drop_all(self) -> None:
        """Renew none any more."""
        for name in tuple(self._tasks):
            self.drop(name)

    async def _keep(self, name: str, node_uid: str) -> None:
        held: Object | None = None
        last = time.monotonic()
        is_first = True
        while True:
            due = time.monotonic() + (self._every_s * (random.random() if is_first else 1.0))  # noqa: S311  # spreads load
            try:
                async with self._gate:
                    held = await self._renew(name, node_uid, held)
            except errors.ApiError as error:
                self._on_error(error)
                if not isinstance(error, errors.UnavailableError):
                    held = None  # whatever it is, what is known of it is not true any more
                await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))  # noqa: S311  # spreads load
                continue
            now = time.monotonic()
            if now - last > LATE_S:
                self._on_late(name)
            last, is_first = now, False
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _renew(self, name: str, node_uid: str, held: Object | None) -> Object:
        """Renew the lease, or take over the one that is there, or make one."""
        wanted = objects.lease(name, node_uid=node_uid, now=time.time())
        if held is None:
            try:
                return _kept(await self._client.create(LEASES, wanted, namespace=objects.LEASE_NAMESPACE))
            except errors.ConflictError:
                found = await self._client.get(LEASES, name, namespace=objects.LEASE_NAMESPACE)
                if not objects.is_lease_of(found, name):
                    raise errors.ConflictError(409, "Foreign", f"lease {name} is another's: left alone") from None
                held = _kept(found)
        wanted["metadata"]["resourceVersion"] = held["metadata"]["resourceVersion"]
        try:
            return _kept(await self._client.update(LEASES, wanted))
        except errors.NotFoundError:  # collected with the Node of a life before
            return _kept(await self._client.create(LEASES, wanted_anew(wanted), namespace=objects.LEASE_NAMESPACE))


def wanted_anew(wanted: Object) -> Object:
    """Return a lease without the version of one that is gone."""
    metadata = {key: value for key, value in wanted["metadata"].items() if key != "resourceVersion"}
    return {**wanted, "metadata": metadata}


def _kept(found: Object) -> Object:
    """Return what the next renewal needs of a lease."""
    return {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}}
