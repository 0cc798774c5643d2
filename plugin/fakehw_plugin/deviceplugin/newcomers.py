"""Sockets of other plugins that appear in the kubelet's directory while we look, and go again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


_SOCKETS: Final = ".sock"
"""What ends so, and is gone when it is looked at, was a socket; a kubelet makes files there too, and renames them."""


class Departure(NamedTuple):
    """A plugin came while we looked, and went; times on the monotonic clock."""

    arrived_at: float
    left_at: float


class Newcomers:
    """Knows who came after us into `directory`, as far as it is told what happens there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._own: set[str] = set()
        self._residents: set[str] | None = None
        """Sockets of other plugins that were there when we first looked; None before that."""
        self._arrived_at: dict[str, float] = {}
        self._departure: Departure | None = None
        self._departed = asyncio.Event()

    @property
    def present(self) -> Collection[str]:
        """Return the names of their sockets."""
        return self._arrived_at.keys()

    def claim(self, name: str) -> None:
        """Take note that this socket is our own, until it is gone."""
        self._own.add(name)

    def came(self, name: str) -> None:
        """Take note that a name has appeared."""
        if name == constants.KUBELET_SOCKET or name in self._own:
            return
        is_socket = self._is_socket(name)
        if is_socket or (is_socket is None and name.endswith(_SOCKETS)):
            self._arrived_at[name] = time.monotonic()
        if is_socket is None:  # so short a visit is one all the same
            self.went(name)

    def went(self, name: str) -> None:
        """Take note that a name is gone, or that nobody listens there any more."""
        self._own.discard(name)
        if self._residents is not None:
            self._residents.discard(name)
        if (arrived_at := self._arrived_at.pop(name, None)) is not None:
            before = self._departure.arrived_at if self._departure else 0.0
            self._departure = Departure(max(arrived_at, before), time.monotonic())
            self._departed.set()

    def take_stock(self) -> None:
        """Find out who is there, where events may have been missed."""
        try:
            names = set(os.listdir(self._directory)) - {constants.KUBELET_SOCKET}  # noqa: PTH208  # names, not paths
        except OSError:
            return
        self._own &= names
        others = {name for name in names - self._own if self._is_socket(name)}
        if self._residents is None:
            self._residents = others
        self._residents &= others
        for name in self._arrived_at.keys() - others:
            self.went(name)
        for name in others - self._residents - self._arrived_at.keys():
            self.came(name)

    def take_departure(self) -> Departure | None:
        """Return the last departure since this was last asked, or None."""
        self._departed.clear()
        departure, self._departure = self._departure, None
        return departure

    async def wait_departure(self, timeout_s: float) -> None:
        """Wait until one of them goes, for `timeout_s` seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._departed.wait()

    def _is_socket(self, name: str) -> bool | None:
        """Tell whether there is a socket of this name; None where nothing is there any more."""
        try:
            return stat.S_ISSOCK((self._directory / name).lstat().st_mode)
        except FileNotFoundError:
            return None
        except OSError:
            return False
