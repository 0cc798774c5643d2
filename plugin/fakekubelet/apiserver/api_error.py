"""What an API server answers when it does not do what it was asked: a `Status` object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakekubelet.apiserver import field_errors
    from fakekubelet.apiserver.kinds import Kind


class ApiError(Exception):
    """A refusal with its HTTP status; `document` is the body."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        self._details = details or {}

    @property
    def document(self) -> dict[str, Any]:
        """Return the `Status`."""
        details = dict(self._details)
        if self.retry_after_s is not None:
            details["retryAfterSeconds"] = self.retry_after_s
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            **({"reason": self.reason} if self.reason else {}),
            **({"details": details} if details else {}),
            "code": self.code,
        }


def _of(kind: Kind, name: str) -> dict[str, Any]:
    return {"name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural}


def not_found(kind: Kind, name: str) -> ApiError:
    """Return what a missing object looks like."""
    return ApiError(404, "NotFound", f'{kind.resource} "{name}" not found', details=_of(kind, name))


def no_such_path() -> ApiError:
    """Return what a path looks like behind which there is nothing, such as a version that is not served."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(kind: Kind, name: str) -> ApiError:
    """Return what a second creation looks like."""
    return ApiError(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', details=_of(kind, name))


def conflict(kind: Kind, name: str, why: str) -> ApiError:
    """Return what a write looks like that is based on something old."""
    text = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return ApiError(409, "Conflict", text, details=_of(kind, name))


def bad_request(message: str) -> ApiError:
    """Return what a request looks like that cannot be understood."""
    return ApiError(400, "BadRequest", message)


def expired(message: str) -> ApiError:
    """Return what a resource version looks like that is no longer known."""
    return ApiError(410, "Expired", message)


def unauthorized() -> ApiError:
    """Return what a request without a valid token gets."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def joined(texts: Sequence[str]) -> str:
    """Return several errors as one, as Kubernetes does."""
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def precondition(kind: Kind, name: str, what: str, wanted: str, found: str) -> ApiError:
    """Return what a deletion looks like of something else than was meant; *what* is UID or ResourceVersion."""
    who = f"{kind.name}.{kind.group}" if kind.group else kind.name
    became = "deleted and then recreated" if what == "UID" else "modified"
    why = (
        f"the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). "
        f"The object might have been {became}"
    )
    text = f'Operation cannot be fulfilled on {who} "{name}": {why}'
    return ApiError(409, "Conflict", text, details=_of(kind, name))


def invalid(kind: Kind, name: str, errors: Sequence[field_errors.FieldError]) -> ApiError:
    """Return what an object looks like that breaks rules."""
    texts = list(dict.fromkeys(map(str, errors)))
    text = joined(texts)
    who = f"{kind.name}.{kind.group}" if kind.group else kind.name
    causes = [{"reason": error.type.name_in_causes, "message": error.body, "field": error.field} for error in errors]
    details = {**_of(kind, name), "kind": kind.name, "causes": causes}
    return ApiError(422, "Invalid", f'{who} "{name}" is invalid: {text}', details=details)
