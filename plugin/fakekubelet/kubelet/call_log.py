"""What was said to a plugin: every RPC the kubelet makes, with request, answer and time.

A call is in the log from the moment it is made, so a test can count calls that are still open (ListAndWatch is open for
as long as the plugin lives). Errors are kept in the words of grpc-go, because that is how a kubelet reports them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf import message

    from fakekubelet import clock

DEADLINE_TEXT = "context deadline exceeded"


class RpcError(Exception):
    """An RPC to a plugin failed; the text is grpc-go's."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self.code = code
        self.details = details
        super().__init__(f"rpc error: code = {_go_name(code)} desc = {details}")

    @classmethod
    def of(cls, error: grpc.RpcError) -> RpcError:
        """Translate what grpcio raised."""
        assert isinstance(error, grpc.aio.AioRpcError)
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return cls.deadline()
        return cls(error.code(), error.details() or "")

    @classmethod
    def deadline(cls) -> RpcError:
        """Return what a passed deadline looks like."""
        return cls(grpc.StatusCode.DEADLINE_EXCEEDED, DEADLINE_TEXT)

    @classmethod
    def closing(cls) -> RpcError:
        """Return what a call looks like whose connection was closed under it."""
        return cls(grpc.StatusCode.CANCELLED, "grpc: the client connection is closing")


def _go_name(code: grpc.StatusCode) -> str:
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "OK" if code is grpc.StatusCode.OK else "".join(part.capitalize() for part in code.name.split("_"))


@dataclasses.dataclass(slots=True)
class Call:
    """One RPC to a plugin."""

    resource: str
    method: str
    request: message.Message
    at: float
    """When it was made, on the kubelet's clock."""
    reply: message.Message | None = None
    """The answer; for ListAndWatch the last message."""
    error: RpcError | None = None
    duration_s: float | None = None
    """None while the call is open."""

    @property
    def is_open(self) -> bool:
        """Tell whether the call is still under way."""
        return self.duration_s is None


class CallLog:
    """All calls of one kubelet in order, over restarts too."""

    def __init__(self, time_source: clock.Clock, ring: Callable[[], None]) -> None:
        self._clock = time_source
        self._ring = ring
        self.calls: list[Call] = []

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    def of(self, method: str, resource: str | None = None) -> list[Call]:
        """Return the calls of one RPC, of one resource or of all."""
        return [call for call in self.calls if call.method == method and resource in (None, call.resource)]

    def open(self, resource: str, method: str, request: message.Message) -> Call:
        """Note a call that is being made."""
        call = Call(resource, method, request, self._clock.time())
        self.calls.append(call)
        self._ring()
        return call

    def close(self, call: Call, *, reply: message.Message | None = None, error: RpcError | None = None) -> None:
        """Note how a call ended."""
        if reply is not None:
            call.reply = reply
        call.error = error
        call.duration_s = self._clock.time() - call.at
        self._ring()
