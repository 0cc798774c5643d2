"""One DRA driver on one node: its pool, its slices at the API server, its socket for the kubelet.

What needs the API server (slices, claims that are prepared for the first time) and what needs none (registration,
health, claims that are prepared already) go on side by side: one can be away for hours without the other noticing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from typing import TYPE_CHECKING, Any, Final

from fakehw_plugin import endpoint, errors, logs
from fakehw_plugin.dra.claim import ClaimError
from fakehw_plugin.dra.following import follow_slices
from fakehw_plugin.dra.pool import DevicePool
from fakehw_plugin.dra.preparation import Preparation
from fakehw_plugin.dra.publisher import Publisher
from fakehw_plugin.dra.servicer import DraServicer
from kubeapi import errors as api_errors
from kubeapi.resources import RESOURCE_CLAIMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from fakehw_plugin import rpc_faults
    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.dra.claim import Reference
    from fakehw_plugin.dra.following import MakeFollowing
    from kubeapi.client import Client

LOOK_EVERY_S: Final = 1.0
"""Between two looks whether our socket is still where the kubelet found it."""

FIRST_LOOK_S: Final = 1.0
"""How long a registration waits to know which slices there are; it needs no API server."""

FIRST_BACKOFF_S: Final = 0.1
LAST_BACKOFF_S: Final = 30.0

READ_CLAIM_S: Final = 15.0
"""How long a claim is asked for; the kubelet waits for 45 s (contract DRA-10), and tries again."""

RESEND_AFTER_S: Final = (0.0, 0.2, 1.0)
"""When health is sent again after another instance has gone: the kubelet forgets it then (contract DRA-HEALTH-5)."""


class Driver:
    """Serves `pool` while `run` runs. `on_held` is called when the devices that claims hold have changed.

    With `class_paths`, which finds the directories of a driver's classes, the faults that are written there are played.
    """

    def __init__(
        self,
        name: str,
        *,
        node: str,
        registry_dir: Path,
        state_dir: Path,
        cdi_dir: Path,
        root: Path,
        host_root: Path,
        telemetry: Telemetry,
        on_held: Callable[[], None],
        class_paths: Callable[[str], Iterable[str]] | None = None,
        follow: MakeFollowing = follow_slices,
    ) -> None:
        self.name = name
        self.is_registered = False
        self._log = logs.get_logger(driver=name)
        self.pool = DevicePool(driver=name, node=node)
        self._client: Client | None = None
        self._registry_dir = registry_dir
        self._state_dir = state_dir / name
        self._telemetry = telemetry
        self._class_paths = class_paths
        self._follow = follow
        self.preparation = Preparation(
            driver=name,
            pool=node,
            devices=self.pool.devices,
            read_claim=self._read_claim,
            state_dir=self._state_dir,
            cdi_dir=cdi_dir,
            root=str(root),
            host_root=str(host_root),
            on_held=on_held,
            log=self._log,
        )
        self.publisher: Publisher | None = None
        self.left = asyncio.Event()
        """Set when no class is served by it any more, and no claim is prepared."""

    @property
    def is_ready(self) -> bool:
        """Tell whether a kubelet has taken the registration and the API server has the slices."""
        return self.is_registered and self.publisher is not None and self.publisher.is_published

    @property
    def state(self) -> str:
        """Return in words what is missing, for whoever asks why it is not ready."""
        registered = "registered" if self.is_registered else "not registered by a kubelet"
        published = (
            "published" if self.publisher is not None and self.publisher.is_published else "slices not published"
        )
        return f"{registered}, {published}"

    async def run(self, client: Client) -> None:
        """Serve for ever."""
        self._client = client
        publisher = self.publisher = Publisher(
            client, self.pool, telemetry=self._telemetry, log=self._log, follow=self._follow
        )
        backoff = FIRST_BACKOFF_S
        while not self.preparation.is_open:
            self._log.warning("state_not_ready", path=str(self._state_dir), retry_in_s=backoff)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF_S)
            self.preparation.open()
        async with asyncio.TaskGroup() as group:
            group.create_task(publisher.run(), name=f"publisher of {self.name}")
            group.create_task(self._serve(), name=f"socket of {self.name}")

    async def _serve(self) -> None:
        """Have a socket in the kubelet's registry, for ever."""
        backoff = FIRST_BACKOFF_S
        await self._wait_for_the_name()
        while True:
            servicer = DraServicer(
                self.pool,
                self.preparation,
                telemetry=self._telemetry,
                log=self._log,
                on_registered=self._note_registered,
                faults=None if self._class_paths is None else self._faults(self._class_paths),
            )
            try:
                async with endpoint.Endpoint(self._registry_dir, self.name, servicer) as serving:
                    self._log.info("driver_serving", endpoint=serving.name)
                    backoff = FIRST_BACKOFF_S
                    await self._watch_over(serving)
                self._log.warning("socket_lost", endpoint=serving.name)
            except errors.EndpointError as error:
                delay = backoff * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, guards nothing
                self._log.warning("driver_not_serving", error=str(error), retry_in_s=round(delay, 2))
                await asyncio.sleep(delay)
                backoff = min(backoff * 2, LAST_BACKOFF_S)
            finally:
                self.is_registered = False

    async def _wait_for_the_name(self) -> None:
        """Do not come between a kubelet and another driver of this name, of devices that may be real."""
        assert self.publisher is not None
        if self.preparation.checkpoint.prepared:
            return  # we have served it before
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_S):
                await self.publisher.has_looked.wait()
        await self.publisher.name_is_free.wait()

    async def _watch_over(self, serving: endpoint.Endpoint[DraServicer]) -> None:
        """Return once our socket is gone; meanwhile, mind instances of ours that come and go."""
        others = self._others(serving)
        while serving.is_in_place():
            await asyncio.sleep(LOOK_EVERY_S)
            was, others = others, self._others(serving)
            if was - others:
                for delay in RESEND_AFTER_S:
                    await asyncio.sleep(delay)
                    serving.servicer.resend()

    def _faults(self, class_paths: Callable[[str], Iterable[str]]) -> rpc_faults.Faults:
        from fakehw_plugin import rpc_faults  # not in the time of a start without it

        return rpc_faults.Faults(
            self.name,
            class_paths=functools.partial(class_paths, self.name),
            telemetry=self._telemetry,
            log=self._log,
        )

    def _others(self, serving: endpoint.Endpoint[DraServicer]) -> set[str]:
        with contextlib.suppress(OSError):
            return {name for name in endpoint.names(self._registry_dir, self.name) if name != serving.name}
        return set()

    def _note_registered(self, is_registered: bool, error: str) -> None:
        self.is_registered = is_registered
        if is_registered:
            self._log.info("registered", devices=len(self.pool.devices))
            if self.publisher is not None:
                self.publisher.look()
        else:
            self._log.warning("registration_failed", error=error)

    async def _read_claim(self, reference: Reference) -> dict[str, Any] | None:
        assert self._client is not None
        try:
            return await self._client.get(
                RESOURCE_CLAIMS, reference.name, namespace=reference.namespace, retry_for_s=READ_CLAIM_S
            )
        except api_errors.NotFoundError:
            return None
        except (api_errors.ApiError, ValueError) as error:
            raise ClaimError(f"claim {reference} cannot be read: {error}") from error
