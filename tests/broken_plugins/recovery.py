"""Faults in coming back and in going."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.broken_plugins.sound import LONELY_S, LOOK_S, Sound


class GivesUpWithoutAKubelet(Sound):
    breaks: ClassVar = {"waits-for-the-kubelet"}
    met = False

    async def register(self) -> None:
        await super().register()
        self.met = True

    async def refused(self) -> None:
        if not self.met:
            sys.exit("there is no kubelet")
        await super().refused()


class NeverRegistersAgain(Sound):
    """One fault in the code, and four in what is seen: whatever ends its registration ends it for good."""

    breaks: ClassVar = {
        "survives-kubelet-restart", "survives-replaced-socket", "survives-dropped-stream", "survives-absent-kubelet",
    }  # fmt: skip  # one list

    async def is_lost(self, identity: Any, lonely_s: float) -> bool:
        return False


class LooksAtItsOwnSocketOnly(Sound):
    """Its socket outlives a replaced kubelet.sock and a dropped stream, so it sees neither."""

    breaks: ClassVar = {"survives-replaced-socket", "survives-dropped-stream"}

    async def is_lost(self, identity: Any, lonely_s: float) -> bool:
        return not self.socket.exists()


class LooksAtTheKubeletsSocketOnly(Sound):
    breaks: ClassVar = {"survives-dropped-stream"}

    async def is_lost(self, identity: Any, lonely_s: float) -> bool:
        return self.identity() != identity


class TrustsItsOpenStream(Sound):
    """After a restart in which kubelet.sock alone changed it waits for a stream on the old registration."""

    breaks: ClassVar = {"survives-replaced-socket"}

    async def is_lost(self, identity: Any, lonely_s: float) -> bool:
        return not self.socket.exists() or (self.identity() == identity and lonely_s > LONELY_S)


class DiesWhenTheKubeletIsAway(Sound):
    breaks: ClassVar = {"survives-absent-kubelet"}
    met = False

    async def register(self) -> None:
        await super().register()
        self.met = True

    async def is_lost(self, identity: Any, lonely_s: float) -> bool:
        return not self.kubelet_listens() or await super().is_lost(identity, lonely_s)

    async def live_once(self) -> None:
        missing = 0
        while self.met and not self.kubelet_listens():
            missing += 1
            if missing * LOOK_S > 1.0:  # no restart takes as long, on whatever machine
                sys.exit("the kubelet went away")
            await asyncio.sleep(LOOK_S)
        await super().live_once()


class DeletesItselfOnAKubeletRestart(Sound):
    """Exits when its socket is deleted, as every kubelet does that starts, and counts on being started again."""

    breaks: ClassVar = {"survives-kubelet-restart", "survives-absent-kubelet"}

    async def is_lost(self, identity: Any, lonely_s: float) -> bool:
        if not self.socket.exists():
            sys.exit(1)
        now = self.identity()
        return now not in (None, identity) or (now == identity and lonely_s > LONELY_S)


class DoesNotStartBesideItsOldSocket(Sound):
    breaks: ClassVar = {"survives-kill"}

    def clear_stale(self) -> None:
        if list(self.directory.glob(f"{self.prefix}-*.sock")):
            sys.exit("another instance is running")


class LeavesStaleSockets(Sound):
    breaks: ClassVar = {"clears-stale-sockets"}

    def clear_stale(self) -> None:
        pass


class NumbersItsDevicesAnew(Sound):
    breaks: ClassVar = {"same-ids"}

    def prepare(self) -> None:
        super().prepare()
        self.ids = tuple(f"{one}-{self.socket.stem[-4:]}" for one in self.ids)


class IgnoresSIGTERM(Sound):
    breaks: ClassVar = {"stops-cleanly"}

    def prepare(self) -> None:
        super().prepare()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


class DiesOfSIGTERM(Sound):
    breaks: ClassVar = {"stops-cleanly"}

    def prepare(self) -> None:
        super().prepare()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


class EndsWithStatusOne(Sound):
    breaks: ClassVar = {"stops-cleanly"}
    exit_code = 1


class LeavesItsSocket(Sound):
    breaks: ClassVar = {"removes-sockets"}

    def prepare(self) -> None:
        super().prepare()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.leave)

    def leave(self) -> None:
        os._exit(0)


class EmptiesItsListWhenItEnds(Sound):
    breaks: ClassVar = {"no-empty-list"}
    last_words_s = 5.0  # on a slow machine 50 ms do not do for a look and a list

    async def ListAndWatch(self, request: Any, context: Any) -> AsyncIterator[pluginapi.ListAndWatchResponse]:
        async for one in super().ListAndWatch(request, context):
            yield one
        yield pluginapi.ListAndWatchResponse()


class KeepsALockFile(Sound):
    breaks: ClassVar = {"keeps-no-files"}

    def prepare(self) -> None:
        super().prepare()
        (self.directory / "sound.lock").touch()
