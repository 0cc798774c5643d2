"""HTTP to requests: paths, bodies, tokens, faults, answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from fakekubelet.apiserver import api_error, conversion, kinds, patches, protobuf_body, schema, watching
from fakekubelet.apiserver.faults import Effect, Fault
from fakekubelet.apiserver.requests import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fakekubelet.apiserver.server import ApiServer
    from fakekubelet.apiserver.store import Stored

MAX_BODY: Final = 3 * 1024 * 1024
"""What a real server reads of a request."""
_JSON_TYPES: Final = frozenset(
    {"application/json", "application/octet-stream", patches.JSON, patches.MERGE, patches.STRATEGIC, *patches.APPLY}
)  # a body that says no type counts as JSON
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_OTHERS: Final = frozenset({"/healthz", "/livez", "/readyz"})


class Routes:
    """The one handler of all paths."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._watches: set[watching.Watch] = set()
        self._warnings: list[str] = []
        """About the request that is being written; nothing waits between that and its answer."""
        self._warns_of_unknown = True

    def cut_watches(self) -> None:
        """End all watches; clients come back and go on from where they were."""
        for watch in list(self._watches):
            watch.cut()

    @property
    def open_watches(self) -> int:
        """Return how many watches there are."""
        return len(self._watches)

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Answer a request."""
        try:
            return await self._answer(http)
        except api_error.ApiError as error:
            return _error(error)

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        user = self._authenticate(http)
        if http.path in _OTHERS:
            return web.Response(text="ok")
        document = self._server.discovery.document(http.path) if http.method == "GET" else None
        if document is not None:
            return web.json_response(document)
        request = self._request(http)
        request.user = user
        self._server.note(request)
        try:
            response = await self._with_faults(http, request)
            if response is not None:
                request.code = response.status
        except api_error.ApiError as error:
            request.code, request.error = error.code, error.message
            raise
        finally:
            self._server.changes.ring()
        return _cut(http) if response is None else response

    def _authenticate(self, http: web.Request) -> str:
        tokens = self._server.tokens
        if not tokens:
            return ""
        scheme, _, token = http.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in tokens:
            raise api_error.unauthorized()
        return tokens[token]

    async def _with_faults(self, http: web.Request, request: Request) -> web.StreamResponse | None:
        """Return the answer; None for a connection that is to end without one."""
        fault = self._server.faults.meet(request)
        if fault is None:
            return await self._serve(http, request, None)
        if fault.effect is Effect.ERROR:
            raise fault.error()
        if fault.effect is Effect.SLOW:
            await asyncio.sleep(fault.delay_s)
        if fault.effect is Effect.CUT:
            return None
        response = await self._serve(http, request, fault)
        return None if fault.effect is Effect.LOST else response

    # -- what is asked ------------------------------------------------------------------------------------------------

    def _request(self, http: web.Request) -> Request:
        parts = http.path.strip("/").split("/")
        if parts[0] == "api":
            parts.insert(1, "")  # the group without a name
        if parts[0] not in ("api", "apis") or len(parts) < 4:
            raise api_error.no_such_path()
        _, group, version, *rest = parts
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        served = {kind.plural: kind for kind in self._server.discovery.kinds_in(group, version)}
        kind = served.get(rest[0])
        name, subresource = ([*rest[1:], "", ""])[:2]
        if kind is None or len(rest) > 3 or not _has(kind, subresource):
            raise api_error.no_such_path()
        return Request(
            _verb(http, name, is_sub=bool(subresource)),
            kind,
            version,
            namespace,
            name,
            subresource,
            user_agent=http.headers.get("User-Agent", ""),
            field_selector=http.query.get("fieldSelector", ""),
            at=time.monotonic(),
        )

    async def _serve(self, http: web.Request, request: Request, fault: Fault | None) -> web.StreamResponse:
        is_gone = fault is not None and fault.effect is Effect.GONE
        if request.verb in ("list", "watch"):
            return await self._list_or_watch(http, request, is_gone=is_gone)
        if request.verb == "get":
            revision = http.query.get("resourceVersion", "")
            if revision.isdecimal():
                self._server.registry.store.reach(int(revision))
            stored = self._server.registry.get(request.kind, request.name, request.namespace)
            return _json(stored.encoded(request.version))
        body, duplicates = await _body(http)
        if request.verb == "deletecollection":
            return self._delete_collection(http, request, body)
        if request.verb == "delete":
            return self._delete(http, request, body)
        if body is None and request.verb in ("create", "update"):
            body = {}  # `null`, which is an object without anything to Go
        return self._write(http, request, body, duplicates)

    async def _list_or_watch(self, http: web.Request, request: Request, *, is_gone: bool) -> web.StreamResponse:
        objects = self._server.registry.store
        chosen = watching.selection(request.kind, request.version, request.namespace, request.name, http.query)
        expired = api_error.expired(f"too old resource version: {chosen.resource_version or 0} ({objects.revision})")
        if request.verb == "list":
            if is_gone:
                raise expired
            return _json(watching.listed(objects, chosen))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        request.code = 200
        watch = watching.Watch(objects, chosen, bookmark_period_s=self._server.bookmark_period_s)
        self._watches.add(watch)
        self._server.changes.ring()
        try:
            async with contextlib.aclosing(watch.lines()) as lines:
                async for line in lines:
                    if not response.prepared:
                        await response.prepare(http)
                    if is_gone:
                        await response.write(watching.error_line(expired))
                        break
                    if line:
                        await response.write(line)
            await response.write_eof()
        except ConnectionError:
            pass  # the client has gone
        finally:
            self._watches.discard(watch)
            self._server.changes.ring()
        return response

    # -- writing ------------------------------------------------------------------------------------------------------

    def _write(self, http: web.Request, request: Request, body: Any, duplicates: list[str]) -> web.Response:
        registry, kind, version = self._server.registry, request.kind, request.version
        dry_run = http.query.get("dryRun") == "All"
        content_type = http.content_type
        if request.verb == "patch":
            if content_type in patches.APPLY and not http.query.get("fieldManager"):
                text = "fieldManager: Required value: is required for apply patch"
                raise api_error.ApiError(422, "Invalid", f'PatchOptions.meta.k8s.io "" is invalid: {text}')
            stored, is_new = registry.patch(
                kind, request.name, content_type, body, request.namespace,
                subresource=request.subresource, dry_run=dry_run, version=version,
            )  # fmt: skip
            return self._written(request, stored, is_new=is_new)
        if not isinstance(body, dict):
            raise api_error.bad_request("the body must be an object")
        if request.subresource == "binding":
            target = (body.get("target") or {}).get("name", "")
            registry.bind(request.namespace, request.name, target)
            return web.json_response(_success(), status=201)
        if request.subresource == "eviction":
            options = body.get("deleteOptions") or {}
            registry.delete(kind, request.name, request.namespace, grace_s=options.get("gracePeriodSeconds"))
            return web.json_response(_success(), status=201)
        self._same_kind(request, body)
        document = conversion.to_stored(version, kind.name, body)
        self._validate_fields(http, request, document, duplicates)
        if request.verb == "create":
            return self._written(
                request, registry.create(kind, document, request.namespace, dry_run=dry_run), is_new=True
            )
        stored, is_new = registry.update(
            kind, request.name, document, request.namespace, subresource=request.subresource, dry_run=dry_run
        )
        return self._written(request, stored, is_new=is_new)

    def _validate_fields(
        self, http: web.Request, request: Request, document: dict[str, Any], duplicates: list[str]
    ) -> None:
        """Do with fields that are there twice or that nobody knows what the client wants (`fieldValidation`)."""
        wanted = http.query.get("fieldValidation", "Warn")
        name = request.kind.name
        twice = [f'duplicate field "{path}"' for path in duplicates]
        self._warnings = twice if wanted == "Warn" else []
        if wanted == "Strict":
            _, unknown = schema.fit(name, request.version, document)
            if twice or unknown:
                text = f"strict decoding error: {', '.join((*twice, *unknown))}"
                raise api_error.bad_request(
                    f'{name} in version "{request.version}" cannot be handled as a {name}: {text}'
                )
        self._warns_of_unknown = wanted == "Warn"

    def _same_kind(self, request: Request, body: dict[str, Any]) -> None:
        kind = request.kind
        wanted = f"{kind.group}/{request.version}" if kind.group else request.version
        given, name = body.get("apiVersion", wanted), body.get("kind", kind.name)
        if (given, name) != (wanted, kind.name):
            text = f"{name} in version {given!r} cannot be handled as a {kind.name} of {wanted}"
            raise api_error.bad_request(text.replace("'", '"'))

    def _written(self, request: Request, stored: Stored, *, is_new: bool) -> web.Response:
        response = _json(stored.encoded(request.version), status=201 if is_new else 200)
        unknown = self._server.registry.warnings if self._warns_of_unknown else []
        for warning in (*self._warnings, *unknown):
            text = warning.replace("\\", "\\\\").replace('"', '\\"')
            response.headers.add("Warning", f'299 - "{text}"')
        return response

    def _delete(self, http: web.Request, request: Request, options: Any) -> web.Response:
        stored, is_gone = self._server.registry.delete(
            request.kind,
            request.name,
            request.namespace,
            grace_s=_grace_s(http, options),
            preconditions=options.get("preconditions") if isinstance(options, dict) else None,
            dry_run=http.query.get("dryRun") == "All",
        )
        if is_gone and request.kind.name != "Pod" and request.kind.group != kinds.RESOURCE_GROUP:
            metadata = stored.document["metadata"]
            details = {"name": metadata["name"], "kind": request.kind.plural, "uid": metadata["uid"]}
            if request.kind.group:
                details["group"] = request.kind.group
            return web.json_response({**_success(), "details": details})
        return _json(stored.encoded(request.version))

    def _delete_collection(self, http: web.Request, request: Request, options: Any) -> web.Response:
        registry = self._server.registry
        chosen = watching.selection(request.kind, request.version, request.namespace, "", http.query)
        deleted = []
        for stored in registry.store.all(request.kind, request.namespace):
            if chosen.takes(stored):
                namespace, name = stored.key
                last, _ = registry.delete(request.kind, name, namespace, grace_s=_grace_s(http, options))
                deleted.append(last.as_item(request.version))
        group = f"{request.kind.group}/{request.version}" if request.kind.group else request.version
        head = {
            "kind": f"{request.kind.name}List",
            "apiVersion": group,
            "metadata": {"resourceVersion": str(registry.store.revision)},
        }
        return _json(json.dumps(head)[:-1].encode() + b',"items":[' + b",".join(deleted) + b"]}")


def _verb(http: web.Request, name: str, *, is_sub: bool) -> str:
    is_watch = http.query.get("watch") in ("1", "true")
    names = {
        "GET": "watch" if is_watch else "get" if name else "list",
        "HEAD": "get" if name else "list",
        "POST": "create",
        "PUT": "update",
        "PATCH": "patch",
        "DELETE": "delete" if name else "deletecollection",
    }
    verb = names.get(http.method)
    if (
        verb is None
        or (http.method in ("PUT", "PATCH") and not name)
        or (http.method == "POST" and name and not is_sub)
    ):
        text = "the server does not allow this method on the requested resource"
        raise api_error.ApiError(405, "MethodNotAllowed", text)
    return verb


def _has(kind: kinds.Kind, subresource: str) -> bool:
    if subresource == "status":
        return kind.has_status
    return not subresource or (kind.name == "Pod" and subresource in ("binding", "eviction"))


async def _body(http: web.Request) -> tuple[Any, list[str]]:
    """Return what the body says, and the paths of the fields that are there twice."""
    try:
        content = await http.read()
    except web.HTTPRequestEntityTooLarge as error:
        text = f"Request entity too large: limit is {MAX_BODY}"
        raise api_error.ApiError(413, "RequestEntityTooLarge", text) from error
    if not content:
        if http.method in ("POST", "PUT", "PATCH"):
            raise api_error.bad_request("the body is empty: EOF")
        return {}, []
    if http.content_type == protobuf_body.CONTENT_TYPE:
        try:
            return protobuf_body.decode(content), []
        except protobuf_body.UndecodableError as error:
            raise api_error.bad_request(f"the request body cannot be decoded: {error}") from error
    if http.content_type not in _JSON_TYPES:
        text = "the body of the request was in an unknown format - accepted media types include: application/json"
        raise api_error.ApiError(415, "UnsupportedMediaType", f"{text}, {protobuf_body.CONTENT_TYPE}")
    try:
        twice: list[_Object] = []
        document = json.loads(content, object_pairs_hook=lambda pairs: _object(pairs, twice))
        if _SURROGATE.search(content):
            document = _well_formed(document)
        return document, list(_duplicates(document)) if twice else []
    except (ValueError, RecursionError) as error:
        raise api_error.bad_request(f"the request body is not JSON: {error}") from error


def _well_formed(value: Any) -> Any:
    """Return JSON without halves of surrogate pairs, for which Go puts a replacement character."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_well_formed(item) for item in value]
    if isinstance(value, dict):
        return {_well_formed(key): _well_formed(item) for key, item in value.items()}
    return value


class _Object(dict[str, Any]):
    """A JSON object in which something stood twice; the last one counts, as in Go."""

    twice: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]], found: list[_Object]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    made = _Object(pairs)
    names = [name for name, _ in pairs]
    made.twice = tuple(name for name in plain if names.count(name) > 1)
    found.append(made)
    return made


def _duplicates(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _duplicates(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name in getattr(value, "twice", ()):
            yield f"{path}.{name}".removeprefix(".")
        for name, item in value.items():
            yield from _duplicates(item, f"{path}.{name}".removeprefix("."))


def _grace_s(http: web.Request, options: Any) -> float | None:
    given = http.query.get("gracePeriodSeconds")
    if given is None and isinstance(options, dict):
        given = options.get("gracePeriodSeconds")
    return None if given is None else float(given)


def _success() -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


def _json(content: bytes, *, status: int = 200) -> web.Response:
    return web.Response(body=content, status=status, content_type="application/json")


def _error(error: api_error.ApiError) -> web.Response:
    response = web.json_response(error.document, status=error.code)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def _cut(http: web.Request) -> web.Response:
    if http.transport is not None:
        http.transport.abort()
    return web.Response(status=500)
