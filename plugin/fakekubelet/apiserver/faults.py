"""Faults for an API server to play, and who meets them."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING

from fakekubelet.apiserver import api_error

if TYPE_CHECKING:
    from fakekubelet.apiserver.requests import Request


class Effect(enum.StrEnum):
    """What goes wrong."""

    ERROR = "error"
    """The answer is an error with the fault's `code`, and nothing is done."""
    SLOW = "slow"
    """The answer comes `delay_s` later than it could."""
    GONE = "gone"
    """A watch begins with 410 Expired, so that the client has to list again; a list is answered so too."""
    CUT = "cut"
    """The connection ends without an answer, and nothing is done."""
    LOST = "lost"
    """The request is done and its answer lost with the connection."""


@dataclasses.dataclass(slots=True)
class Fault:
    """What happens to the next requests that it concerns."""

    effect: Effect | str
    code: int = 500
    """With `ERROR`: the HTTP status."""
    delay_s: float = 0.0
    retry_after_s: int | None = None
    """With `ERROR`: the header and the detail that ask the client to wait."""
    verbs: frozenset[str] = frozenset()
    """`get list watch create update patch delete deletecollection`; empty: all."""
    resources: frozenset[str] = frozenset()
    """Plurals; empty: all."""
    times: int | None = 1
    """How many requests meet it; None: all until it is taken away."""
    met: int = 0
    """How many have."""

    def concerns(self, request: Request) -> bool:
        """Tell whether a request meets it."""
        return (
            (self.times is None or self.met < self.times)
            and (not self.verbs or request.verb in self.verbs)
            and (not self.resources or request.resource in self.resources)
        )

    def error(self) -> api_error.ApiError:
        """Return the answer of an `ERROR`."""
        reasons = {
            401: ("Unauthorized", "Unauthorized"),
            403: ("Forbidden", "forbidden: a fault that is played"),
            409: ("Conflict", "Operation cannot be fulfilled: a fault that is played"),
            429: ("TooManyRequests", "Too many requests, please try again later."),
            503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
        }
        reason, message = reasons.get(self.code, ("InternalError", "Internal error occurred: a fault that is played"))
        return api_error.ApiError(self.code, reason, message, retry_after_s=self.retry_after_s)


class Faults:
    """The faults that are being played, the oldest first."""

    def __init__(self) -> None:
        self._playing: list[Fault] = []

    def play(self, fault: Fault) -> Fault:
        """Begin one; returned for `stop`, and to see how often it was met."""
        fault.effect = Effect(fault.effect)
        self._playing.append(fault)
        return fault

    def stop(self, fault: Fault | None = None) -> None:
        """End one, or all."""
        self._playing = [] if fault is None else [other for other in self._playing if other is not fault]

    def meet(self, request: Request) -> Fault | None:
        """Return what happens to a request, and count it."""
        for fault in self._playing:
            if fault.concerns(request):
                fault.met += 1
                return fault
        return None
