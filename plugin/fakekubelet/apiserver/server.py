"""An API server on a port of this machine, for as long as its context is open.

    async with server.ApiServer("1.36") as api:
        api.write_kubeconfig(path)                     # start any driver with KUBECONFIG=path
        await api.wait_for(lambda: api.all("resourceslices"))

Plain HTTP on 127.0.0.1. Nothing runs before the context is entered.
"""

from __future__ import annotations

import asyncio
import collections
import json
import socket
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from aiohttp import web

from fakekubelet import changes
from fakekubelet.apiserver import discovery, faults, kinds, registry, routes, watching

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from fakekubelet.apiserver.kinds import Kind
    from fakekubelet.apiserver.requests import Request

T = TypeVar("T")
_REMEMBERED: Final = 10_000


class ApiServer:
    """The API server of one cluster."""

    def __init__(
        self,
        release: str = "1.36",
        *,
        feature_gates: Mapping[str, bool] | None = None,
        older_versions: bool = False,
        tokens: Mapping[str, str] | None = None,
        bookmark_period_s: float = watching.BOOKMARK_PERIOD_S,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Describe one; *tokens* maps each valid token to its user, and without any everybody is let in.

        With *older_versions* resource.k8s.io is served in its beta versions too. Port 0 means any free one, which
        stays the same over `stop` and `start`. ValueError for a release or a gate that is not known.
        """
        self.registry = registry.Registry(release, feature_gates=feature_gates)
        self.faults = faults.Faults()
        self.tokens = dict(tokens or {})
        """Valid tokens and their users; may be changed while it runs."""
        self.changes = changes.Changes()
        self.requests: collections.deque[Request] = collections.deque(maxlen=_REMEMBERED)
        """What was asked for, the newest last."""
        self.bookmark_period_s = bookmark_period_s
        taint_rules = "DRADeviceTaintRules" in self.registry.gates
        versions = kinds.group_versions(release, more=older_versions, taint_rules=taint_rules)
        self.discovery = discovery.Discovery(release, versions, taint_rules=taint_rules)
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._routes = routes.Routes(self)
        for kind in kinds.KINDS:
            self.registry.store.listen(kind, lambda _: self.changes.ring())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; what was stored before a `stop` is still there. OSError if the port is taken."""
        if self._runner is not None:
            raise RuntimeError("the API server is already up")
        app = web.Application(client_max_size=routes.MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._routes.handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        listener = socket.create_server((self._host, self._port), backlog=1024)
        self._port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening and end what is under way, watches included; nothing if it is down."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        self._routes.cut_watches()
        await asyncio.sleep(0)  # so that they end as they should
        await runner.cleanup()

    # -- where it is --------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://{self._host}:{self._port}"

    def kubeconfig(self, token: str | None = None) -> str:
        """Return a kubeconfig, which is JSON and so YAML too; by default with the first of the tokens."""
        if token is None:
            token = next(iter(self.tokens), "")
        user = {"token": token} if token else {}
        context = {"cluster": "fake", "user": "fake"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": user}],
            "contexts": [{"name": "fake", "context": context}],
            "current-context": "fake",
        }
        return json.dumps(document, indent=2) + "\n"

    def write_kubeconfig(self, path: Path, token: str | None = None) -> None:
        """Write a kubeconfig for a driver that is to be started."""
        path.write_text(self.kubeconfig(token))

    @property
    def is_up(self) -> bool:
        """Tell whether it listens."""
        return self._runner is not None

    # -- what it holds ------------------------------------------------------------------------------------------------

    def all(self, plural: str, namespace: str | None = None) -> list[dict[str, Any]]:
        """Return the documents of a kind, by name; they must not be changed."""
        return [stored.document for stored in self.registry.store.all(kinds.of_plural(plural), namespace)]

    def find(self, plural: str, name: str, namespace: str = "default") -> dict[str, Any] | None:
        """Return one document, if it is there; it must not be changed."""
        kind = kinds.of_plural(plural)
        stored = self.registry.store.get(kind, (namespace if kind.is_namespaced else "", name))
        return None if stored is None else stored.document

    def create(self, document: Mapping[str, Any], namespace: str = "") -> dict[str, Any]:
        """Create an object as a client would that may do everything; ApiError if it is refused."""
        return self.registry.create(self._kind_of(document), dict(document), namespace).document

    def update(self, document: Mapping[str, Any], *, subresource: str = "") -> dict[str, Any]:
        """Replace an object, or its status."""
        kind, metadata = self._kind_of(document), document["metadata"]
        stored, _ = self.registry.update(
            kind, metadata["name"], dict(document), metadata.get("namespace", "default"), subresource=subresource
        )
        return stored.document

    def delete(self, plural: str, name: str, namespace: str = "default", *, grace_s: float | None = None) -> None:
        """Delete an object, or mark it for that."""
        self.registry.delete(kinds.of_plural(plural), name, namespace, grace_s=grace_s)

    def _kind_of(self, document: Mapping[str, Any]) -> Kind:
        group = document.get("apiVersion", "v1").rpartition("/")[0]
        kind = kinds.BY_NAME.get((group, document.get("kind", "")))
        if kind is None:
            raise ValueError(f"no such kind here: {document.get('apiVersion')} {document.get('kind')}")
        return kind

    # -- what happens to it -------------------------------------------------------------------------------------------

    @property
    def open_watches(self) -> int:
        """Return how many clients watch."""
        return self._routes.open_watches

    def cut_watches(self) -> None:
        """End all watches; clients go on from where they were."""
        self._routes.cut_watches()

    def forget_history(self) -> None:
        """Forget what has happened: a client that resumes from before gets 410 and must list again."""
        self.registry.store.forget_history()

    def note(self, request: Request) -> None:
        """Remember a request."""
        self.requests.append(request)
        self.changes.ring()

    def asked(self, verb: str, plural: str) -> list[Request]:
        """Return the requests with a verb for a resource, the newest last."""
        return [request for request in self.requests if request.verb == verb and request.resource == plural]

    async def wait_for(self, predicate: Callable[[], T], *, timeout: float = 5.0) -> T:
        """Return the first true value of *predicate*, evaluated at every request and change; then TimeoutError."""
        return await self.changes.wait_for(predicate, timeout_s=timeout, describe=self.describe)

    def describe(self) -> str:
        """Return what it holds and what was asked last."""
        lines = []
        for kind in kinds.KINDS:
            names = ["/".join(filter(None, stored.key)) for stored in self.registry.store.all(kind)]
            if names:
                lines.append(f"{kind.plural}: {', '.join(names[:20])}")
        for request in list(self.requests)[-10:]:
            what = "/".join(filter(None, (request.resource, request.namespace, request.name, request.subresource)))
            lines.append(f"{request.verb} {what}: {request.code or 'open'} {request.error}".rstrip())
        return "\n".join(lines) or "nothing is stored and nothing was asked"
