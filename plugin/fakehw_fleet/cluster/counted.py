"""A client that counts what it asks the API server for: the fleet's load is a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubeapi.client import Client

if TYPE_CHECKING:
    from collections import Counter

    from kubeapi.access import Access
    from kubeapi.credentials import Credentials
    from kubeapi.resources import Object


class CountedClient(Client):
    """Counts requests by verb and resource into `counts`, which clients may share."""

    def __init__(
        self, access: Access, *, counts: Counter[tuple[str, str]], credentials: Credentials, **how: Any
    ) -> None:
        super().__init__(access, credentials=credentials, user_agent="fakehw-fleet", **how)
        self.counts = counts

    async def request(self, method: str, path: str, **how: Any) -> Object:
        """Send a request, and count it."""
        self.counts[method, kind_of(path)] += 1
        return await super().request(method, path, **how)


def kind_of(path: str) -> str:
    """Return the resource that a path is of, with its subresource: `pods/status`."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    return "/".join((parts[0], *parts[2:])) if parts else ""
