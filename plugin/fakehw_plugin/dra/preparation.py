"""Preparing claims for containers and taking that back: what of a claim is whose, and in which order it is written.

    read the claim   check it and its devices   checkpoint   CDI file   answer        prepare
    remove the CDI file   forget the checkpoint   answer                             unprepare

A kill between any two steps leaves what the kubelet's next call finishes: it repeats a call until it is answered
(contract DRA-14, DRA-15). Two instances of a rolling update take turns by a lock on a file (contract DRA-REG-9).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Any, Final

from fakehw_plugin import allocation
from fakehw_plugin.dra import cdi, claim, durable
from fakehw_plugin.dra.checkpoint import Checkpoint, Prepared, PreparedDevice
from fakehw_plugin.tree import attributes, descent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from fakehw_plugin.device import Device
    from fakehw_plugin.dra.claim import Claim, Reference
    from fakehw_plugin.logs import Logger

LOCK_FILE: Final = "serialize.lock"
LOCK_TIMEOUT_S: Final = 30.0
"""The kubelet waits for 45 s; another instance needs milliseconds."""

_LOCK_RETRY_S: Final = 0.005


class Preparation:
    """Prepares and unprepares the claims of one driver.

    `devices` are those of the pool, by name; `read_claim` asks the API server (None: there is no such claim); `on_held`
    is called when the devices that claims hold have changed.
    """

    def __init__(
        self,
        *,
        driver: str,
        pool: str,
        devices: Mapping[str, Device],
        read_claim: Callable[[Reference], Awaitable[dict[str, Any] | None]],
        state_dir: Path,
        cdi_dir: Path,
        root: str,
        host_root: str,
        on_held: Callable[[], None],
        log: Logger,
    ) -> None:
        self.checkpoint = Checkpoint(state_dir / "claims", on_damage=self._tell_damage)
        self.is_open = False
        self._is_swept = False
        self._driver = driver
        self._pool = pool
        self._devices = devices
        self._read_claim = read_claim
        self._state_dir = state_dir
        self._cdi_dir = cdi_dir
        self._root = root
        self._host_root = host_root
        self._on_held = on_held
        self._log = log
        self._lock = asyncio.Lock()

    def open(self) -> None:
        """Read what was prepared before; `is_open` tells whether that was possible."""
        try:
            self.checkpoint.load()
        except OSError as error:
            self._log.warning("checkpoint_unreadable", path=str(self._state_dir), reason=str(error))
        else:
            self.is_open = True
            self._on_held()

    async def prepare(self, reference: Reference) -> Prepared:
        """Prepare a claim, or again; ClaimError says why it cannot be."""
        if not cdi.is_usable(reference.uid):
            raise claim.ClaimError(f"{reference.uid!r} is no UID of a claim")
        found = self.checkpoint.prepared.get(reference.uid)
        allocated = None if found is not None else await self._allocated(reference)
        async with self._serialized():
            self.checkpoint.load_if_changed()
            found = self.checkpoint.prepared.get(reference.uid)
            try:
                if found is None:
                    # Unprepared by another instance in this moment: then it has not been read.
                    found = await self._choose(reference, allocated or await self._allocated(reference))
                    if found.devices:
                        self.checkpoint.put(found)
                        self._on_held()
                if found.devices:
                    cdi.write(self._cdi_dir, self._driver, reference.uid, self._spec(found))
            except OSError as error:
                raise claim.ClaimError(f"claim {reference} cannot be written down: {error}") from error
        return found

    async def unprepare(self, reference: Reference) -> None:
        """Take back what was prepared, if anything was; ClaimError where that cannot be done now."""
        if not cdi.is_usable(reference.uid):
            return  # we never prepare such a claim
        async with self._serialized():
            try:
                cdi.remove(self._cdi_dir, self._driver, reference.uid)
                self.checkpoint.remove(reference.uid)
            except OSError as error:
                raise claim.ClaimError(f"claim {reference} cannot be taken back: {error}") from error
        self._on_held()

    def cdi_ids(self, prepared: Prepared, device: PreparedDevice) -> list[str]:
        """Return the names by which the runtime finds what a container gets."""
        return [cdi.device_id(self._driver, prepared.claim.uid, cdi_name(device))]

    async def _allocated(self, reference: Reference) -> Claim:
        found = await self._read_claim(reference)
        if found is None:
            raise claim.ClaimError(f"claim {reference} does not exist")
        return claim.parse(found, reference, driver=self._driver, pool=self._pool)

    async def _choose(self, reference: Reference, allocated: Claim) -> Prepared:
        """Return what a claim gets; ClaimError if one of its devices cannot be given."""
        held = self.checkpoint.holders()
        devices: dict[str, Device] = {}
        for result in allocated.results:
            device = self._devices.get(result.device)
            if device is None:
                raise claim.ClaimError(f"device {result.device} is not offered by {self._driver} on this node")
            holder = held.get(result.device)
            if holder is not None and not result.is_admin and not await self._is_stale(holder, result.device):
                raise claim.ClaimError(f"device {result.device} is held by claim {holder}")
            self._look_at(device)
            devices[result.device] = device
        variables = self._variables(allocated, devices)
        return Prepared(
            reference,
            self._pool,
            tuple(
                PreparedDevice(
                    result.request,
                    result.device,
                    devices[result.device].id,
                    devices[result.device].path,
                    variables[result.request, result.device],
                    devices[result.device].has_device_node,
                    result.share_id,
                    result.is_admin,
                )
                for result in allocated.results
            ),
        )

    def _look_at(self, device: Device) -> None:
        try:
            is_real = descent.is_real_device(self._root, device)
        except attributes.StarvedError as error:
            raise claim.ClaimError(f"device {device.id} cannot be looked at: {error}") from error
        if not is_real:
            raise claim.ClaimError(f"device {device.id}: its directory or its node is gone")

    @staticmethod
    def _variables(allocated: Claim, devices: Mapping[str, Device]) -> dict[tuple[str, str], str]:
        """Return the name of the variable of each request's device.

        They count from 0 in what one container is given: a request, where the scheduler made the claim for a pod's
        containers; else the claim, two requests of which may be for one container.
        """
        groups: dict[str, list[tuple[str, str]]] = {}
        for result in allocated.results:
            groups.setdefault(result.request if allocated.is_extended else "", []).append(
                (result.request, result.device)
            )
        found = {}
        for members in groups.values():
            names = {devices[name].id: (request, name) for request, name in members}
            for device, variable in allocation.variables([devices[name] for _, name in members]):
                found[names[device.id]] = variable
        return found

    async def _is_stale(self, holder: Reference, device: str) -> bool:
        """Tell whether `holder` lost the device though nobody told us to unprepare it; then it is forgotten."""
        found = await self._read_claim(holder)
        try:
            if found is not None:
                results = claim.parse(found, holder, driver=self._driver, pool=self._pool).results
                if any(result.device == device for result in results):
                    return False
        except claim.ClaimError:
            pass  # replaced, or not allocated any more
        self._log.warning("stale_claim_forgotten", claim=str(holder), uid=holder.uid, device=device)
        cdi.remove(self._cdi_dir, self._driver, holder.uid)
        self.checkpoint.remove(holder.uid)
        return True

    def _spec(self, prepared: Prepared) -> dict[str, Any]:
        return cdi.spec(self._driver, prepared.claim.uid, self._grants(prepared.devices))

    def _grants(self, devices: Iterable[PreparedDevice]) -> list[tuple[str, allocation.Allocation]]:
        return [
            (
                cdi_name(device),
                allocation.grant(
                    device.path, device.variable, has_device_node=device.has_device_node, host_root=self._host_root
                ),
            )
            for device in devices
        ]

    @contextlib.asynccontextmanager
    async def _serialized(self) -> AsyncIterator[None]:
        """Keep other calls and other instances out; ClaimError where that cannot be had."""
        async with self._lock:
            try:
                fd = os.open(self._state_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise claim.ClaimError(f"{self._state_dir / LOCK_FILE}: {error.strerror}") from error
            try:
                await self._take(fd)
                self._sweep()
                yield
            finally:
                os.close(fd)

    async def _take(self, fd: int) -> None:
        try:
            async with asyncio.timeout(LOCK_TIMEOUT_S):
                while True:
                    try:
                        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        await asyncio.sleep(_LOCK_RETRY_S)
                    else:
                        return
        except TimeoutError:
            raise claim.ClaimError(f"{LOCK_FILE} is held by another instance") from None

    def _sweep(self) -> None:
        """Remove what a process that was killed left half-written; only now that no other instance can be writing."""
        if not self._is_swept:
            self._is_swept = True
            durable.sweep(self._state_dir / "claims")
            durable.sweep(self._cdi_dir, cdi.path(self._cdi_dir, driver=self._driver, uid="").stem)

    def _tell_damage(self, path: str, reason: str) -> None:
        self._log.error("checkpoint_unreadable", path=path, reason=reason)


def cdi_name(device: PreparedDevice) -> str:
    """Return the last part of a device's CDI name: unique in a claim, where an admin may have a device twice."""
    return f"{device.device}-{device.request}" if device.is_admin else device.device
