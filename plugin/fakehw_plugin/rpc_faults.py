"""Faults of the protocol by file, for testing what stands above a plugin: kubelets, schedulers, operators.

    CLASS/rpc/allocate    delay 2s | error UNAVAILABLE some text | hang

Off unless --rpc-faults is given, and told with a warning each time that one is played. A file is looked at when its
call comes, and again every 100 ms while a call hangs or a stream is open, so that taking the file away ends the fault.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import grpc

from fakehw_plugin import errors
from fakehw_plugin.tree import attributes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable

    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.logs import Logger

    Context = grpc.aio.ServicerContext[Any, Any]
    Unary = Callable[[Any, Context], Coroutine[Any, Any, Any]]
    Stream = Callable[[bytes, Context], AsyncIterator[bytes]]

DIRECTORY: Final = "rpc"
REGISTER: Final = "register"
LIST_AND_WATCH: Final = "list_and_watch"
NODE_WATCH_RESOURCES: Final = "node_watch_resources"
FILES: Final = {
    "Register": REGISTER,
    "GetDevicePluginOptions": "get_device_plugin_options",
    "ListAndWatch": LIST_AND_WATCH,
    "GetPreferredAllocation": "get_preferred_allocation",
    "Allocate": "allocate",
    "PreStartContainer": "pre_start_container",
    "GetInfo": "get_info",
    "NodePrepareResources": "node_prepare_resources",
    "NodeUnprepareResources": "node_unprepare_resources",
    "NodeWatchResources": NODE_WATCH_RESOURCES,
}
"""The file of each call: of the device plugin API and, from GetInfo on, of DRA."""

STREAMS: Final = (LIST_AND_WATCH, NODE_WATCH_RESOURCES)
LOOK_EVERY_S: Final = 0.1
MAX_DELAY_S: Final = 3600.0

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


class Kind(StrEnum):
    """What a fault does to a call."""

    DELAY = "delay"
    ERROR = "error"
    HANG = "hang"
    DROP = "drop"
    """End a stream after its first list, without an error."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What a file says."""

    kind: Kind
    delay_s: float = 0.0
    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    text: str = ""

    @classmethod
    def parse(cls, value: str, *, method: str) -> Fault:
        """Return what `value` says about the file `method`; ValueError says the rule it breaks."""
        words = attributes.one_line(value).split(" ", 2)
        if words == ["hang"]:
            return cls(Kind.HANG)
        if words == ["drop"] and method in STREAMS:
            return cls(Kind.DROP)
        if words[0] == "delay" and len(words) == 2:  # a word and a duration
            match = _DURATION.fullmatch(words[1])
            seconds = float(match[1]) * _UNITS[match[2]] if match else math.inf
            if seconds <= MAX_DELAY_S:
                return cls(Kind.DELAY, delay_s=seconds)
        if words[0] == "error" and len(words) > 1 and words[1] in grpc.StatusCode.__members__ and words[1] != "OK":
            return cls(Kind.ERROR, code=grpc.StatusCode[words[1]], text=words[2] if len(words) > 2 else "")
        drop = ", drop" if method in STREAMS else ""
        raise ValueError(f"must be delay 2s (ms, s or m), error CODE text, hang{drop}")


class Faults:
    """The faults of one resource or DRA driver: those of the first of its classes that has a file for the call."""

    def __init__(
        self, served: str, *, class_paths: Callable[[], Iterable[str]], telemetry: Telemetry, log: Logger
    ) -> None:
        self._served = served
        self._class_paths = class_paths
        self._telemetry = telemetry
        self._log = log
        self._complained: set[tuple[str, str]] = set()

    def look(self, method: str) -> Fault | None:
        """Return the fault of a call at this moment, if it has one."""
        for path in self._class_paths():
            value = self._read(path, method)
            if not value:
                continue
            try:
                return Fault.parse(value, method=method)
            except ValueError as error:
                if (method, value) not in self._complained and len(self._complained) < 100:
                    self._complained.add((method, value))
                    where, value = f"{path}/{DIRECTORY}/{method}", attributes.one_line(value)[:80]
                    self._log.warning("rpc_fault_ignored", path=where, value=value, reason=str(error))
        return None

    def unary(self, name: str, call: Unary) -> Unary:
        """Return `call` with its faults before it."""
        method = FILES[name]

        async def faulty(request: Any, context: Context) -> Any:
            fault = await self._wait(method)
            if fault is not None:
                await context.abort(fault.code, fault.text)
            return await call(request, context)

        return faulty

    def stream(self, name: str, call: Stream) -> Stream:
        """Return the stream `call` with its faults: before each list, and at any time while it is open."""
        method = FILES[name]

        async def faulty(request: bytes, context: Context) -> AsyncIterator[bytes]:
            lists = call(request, context)
            upcoming: asyncio.Task[bytes] | None = None
            sent = 0
            try:
                while True:
                    if upcoming is None:
                        upcoming = asyncio.ensure_future(anext(lists))
                    done, _ = await asyncio.wait({upcoming}, timeout=LOOK_EVERY_S)
                    fault = self.look(method)
                    if fault is not None and fault.kind is Kind.DROP and sent:
                        self._tell(method, fault)
                        return
                    if done or (fault is not None and fault.kind is Kind.ERROR):
                        fault = await self._wait(method)
                        if fault is not None:
                            await context.abort(fault.code, fault.text)
                    if done:
                        yield upcoming.result()
                        sent += 1
                        upcoming = None
            except StopAsyncIteration:
                return
            finally:
                if upcoming is not None:
                    upcoming.cancel()
                    await asyncio.wait({upcoming})
                await lists.aclose()  # type: ignore[attr-defined]  # it is an async generator

        return faulty

    async def before_register(self) -> None:
        """Play the faults of Register; RegistrationError for an error."""
        fault = await self._wait(REGISTER)
        if fault is not None:
            raise errors.RegistrationError(f"{fault.code.name}: {fault.text} (rpc fault)")

    async def _wait(self, method: str) -> Fault | None:
        """Wait for as long as a delay says, or a hang stands; return an error that is to be raised."""
        fault = self.look(method)
        if fault is None or fault.kind is Kind.DROP:
            return None
        self._tell(method, fault)
        if fault.kind is Kind.ERROR:
            return fault
        await asyncio.sleep(fault.delay_s)
        while fault is not None and fault.kind is Kind.HANG:
            await asyncio.sleep(LOOK_EVERY_S)
            fault = self.look(method)
        return None

    def _tell(self, method: str, fault: Fault) -> None:
        self._telemetry.rpc_faults[self._served, method] += 1
        self._log.warning("rpc_fault", method=method, fault=fault.kind.value, delay_s=fault.delay_s, text=fault.text)

    @staticmethod
    def _read(class_path: str, method: str) -> str:
        try:
            class_fd = attributes.open_directory(class_path)
            try:
                fd = attributes.open_directory(DIRECTORY, dir_fd=class_fd)
            finally:
                os.close(class_fd)
        except OSError:
            return ""
        try:
            return attributes.read(method, dir_fd=fd)
        except attributes.MissingAttributeError:
            return ""
        except attributes.AttributeFileError as error:
            return f"({error})"
        finally:
            os.close(fd)
