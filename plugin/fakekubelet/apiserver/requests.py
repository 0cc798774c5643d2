"""What a request asks for, and the record of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fakekubelet.apiserver.kinds import Kind


@dataclasses.dataclass(slots=True)
class Request:
    """One request to an object or to many, as an authorizer sees it."""

    verb: str
    """`get list watch create update patch delete deletecollection`."""
    kind: Kind
    version: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    user_agent: str = ""
    user: str = ""
    """Who the token belongs to."""
    field_selector: str = ""
    at: float = 0.0
    """When it came, by `time.monotonic`."""
    code: int | None = None
    """The HTTP status; None while it is under way, or if the connection was cut."""
    error: str = ""
    """The message of an answer that is an error."""

    @property
    def resource(self) -> str:
        """Return the plural."""
        return self.kind.plural
