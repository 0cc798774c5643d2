"""What can go wrong between us and an API server, by what a caller would do about it.

ApiError
├── AccessError      no way to the server: a kubeconfig, token or certificate that cannot be used
├── UnavailableError no answer, or one that asks to come back later: tried again, here and by the caller
└── StatusError      the server's own answer, with its reason
    ├── BadRequestError (400, 422)   ├── UnauthorizedError (401)  ├── ForbiddenError (403)
    ├── NotFoundError (404)          ├── ConflictError (409)      └── GoneError (410)
"""

from __future__ import annotations

from typing import Any, Final


class ApiError(Exception):
    """Base of all errors of this package."""


class AccessError(ApiError):
    """The way to the server cannot be used; the text names the file or command and what is wrong with it."""


class UnavailableError(ApiError):
    """The server did not answer, broke off, or has too much to do (429, 5xx)."""

    def __init__(
        self, message: str, *, code: int | None = None, retry_after_s: float | None = None, may_have_acted: bool = True
    ) -> None:
        super().__init__(message)
        self.code = code
        """The HTTP status, None where there was no answer at all."""
        self.retry_after_s = retry_after_s
        self.may_have_acted = may_have_acted
        """False where the request surely had no effect, so that any may be sent again."""


class StatusError(ApiError):
    """The server's answer is no success; `message` are its own words."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(f"{message} ({code} {reason})" if reason else f"{message} ({code})")
        self.code = code
        self.reason = reason
        """The server's word for it, such as AlreadyExists or Expired; empty where it gave none."""
        self.message = message
        self.details = details or {}


class BadRequestError(StatusError):
    """The server does not take what was sent: 400, or 422 where its validation refuses an object."""


class UnauthorizedError(StatusError):
    """The server does not know who we are, even with a token that was read anew."""


class ForbiddenError(StatusError):
    """The server knows us and does not let us."""


class NotFoundError(StatusError):
    """There is no such object, or no such resource on this server."""


class ConflictError(StatusError):
    """The object is not what the caller thought: changed since (Conflict), or there already (AlreadyExists)."""

    @property
    def already_exists(self) -> bool:
        """Tell a name that is taken from an object that has changed."""
        return self.reason == "AlreadyExists"


class GoneError(StatusError):
    """The server no longer knows that resourceVersion: list again."""


_BY_CODE: Final[dict[int, type[StatusError]]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: BadRequestError,
}
_LATER: Final = (408, 429, 500, 502, 503, 504)
"""Answers of a server, or of what stands before it, that has no answer now."""


def from_status(status: dict[str, Any], *, code: int, retry_after: str | None = None) -> ApiError:
    """Return the error that a Status object stands for; `retry_after` is the header, seconds as a rule."""
    details = status.get("details") if isinstance(status.get("details"), dict) else {}
    message = str(status.get("message") or f"HTTP status {code}")
    reason = str(status.get("reason") or "")
    if code in _LATER:
        seconds = retry_after if retry_after is not None else (details or {}).get("retryAfterSeconds")
        try:
            after = None if seconds is None else max(0.0, float(seconds))
        except (TypeError, ValueError):
            after = None
        return UnavailableError(f"{message} ({code})", code=code, retry_after_s=after, may_have_acted=code != 429)
    return _BY_CODE.get(code, StatusError)(code, reason, message, details)
