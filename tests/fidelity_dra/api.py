"""An API server by plain HTTP: what it answers, word for word, with what is different each time made the same."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from kubeapi.credentials import Credentials, Presented

Object = dict[str, Any]
GROUP = "/apis/resource.k8s.io/v1"
SLICES, CLASSES = f"{GROUP}/resourceslices", f"{GROUP}/deviceclasses"
WATCH_S = 20.0
MANY = 10
"""A list that is longer is compared by its length and its first item."""

_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_STRUCT = re.compile(r"Invalid value: \{.*\}: ")
"""What a real server shows of an object that is wrong as a whole is a Go structure."""
_COMPILER = re.compile(r"compilation failed: .*", re.DOTALL)
_RECORD = re.compile(r"\(\d+\)")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


_MASKS = (
    (_STRUCT, "Invalid value: OBJECT: "), (_COMPILER, "compilation failed: WHY"), (_RECORD, "(RV)"), (_UID, "UID"),
    (_TIME, "TIME"),
)  # fmt: skip  # a table


class Api:
    """One API server."""

    def __init__(self, url: str, presented: Presented | None, namespace: str, tag: str) -> None:
        self.namespace = namespace
        self.tag = tag
        """Part of the names of all objects that a question makes: what is there of others is not looked at."""
        self._url = url
        headers = dict(presented.headers) if presented else {}
        connector = aiohttp.TCPConnector(ssl=presented.ssl) if presented else None
        self.http = aiohttp.ClientSession(url, headers=headers, connector=connector)
        self._made: list[str] = []
        self.warnings: list[str] = []

    @classmethod
    async def at(cls, access: Any, namespace: str, tag: str) -> Api:
        """Return the one that *access* names."""
        return cls(access.server, await Credentials(access).current(), namespace, tag)

    async def make_namespace(self) -> None:
        """Make the namespace, if it is not there; it stays."""
        await self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        self._made.clear()

    @property
    def claims(self) -> str:
        return f"{GROUP}/namespaces/{self.namespace}/resourceclaims"

    @property
    def templates(self) -> str:
        return f"{GROUP}/namespaces/{self.namespace}/resourceclaimtemplates"

    @property
    def pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def name(self, what: str) -> str:
        """Return a name that nobody else has."""
        return f"{self.tag}-{what}"

    async def ask(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **params: str
    ) -> tuple[int, Any]:
        """Return the status and the document, or the text if it is none."""
        content: Any = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if content is not None and len(content) > 2**20:
            content = io.BytesIO(content)
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        async with self.http.request(method, path, data=content, headers=headers, params=params) as response:
            self.warnings = response.headers.getall("Warning", [])
            text = await response.text()
            with contextlib.suppress(ValueError):
                document = json.loads(text)
                if method == "POST" and response.status == 201 and "metadata" in document and "dryRun" not in params:
                    self._made.append(f"{path}/{document['metadata'].get('name', '')}")
                return response.status, document
            return response.status, text

    async def said(self, method: str, path: str, body: Any = None, **how: Any) -> Any:
        """Return what is to be compared: the whole of an error, `ok` and the object otherwise."""
        code, document = await self.ask(method, path, body, **how)
        if not isinstance(document, dict) or document.get("kind") != "Status" or document.get("status") == "Success":
            return {"code": code, "object": self.plain(document)}
        details = document.get("details") or {}
        causes = [f"{cause.get('reason')} {cause.get('field', '')}" for cause in details.get("causes") or []]
        said: Object = {"code": code, "reason": document.get("reason", ""), "message": document.get("message", "")}
        if causes:
            said["causes"] = causes
        return self.plain(said)

    async def make(self, path: str, body: Object) -> Object:
        """Create an object that is in order."""
        code, document = await self.ask("POST", path, body)
        assert code == 201, document
        return document  # type: ignore[no-any-return]

    async def watched(self, path: str, until: int, **params: str) -> list[Object]:
        """Return the first *until* events of a watch, fewer if it ends before; bookmarks in between count."""
        events: list[Object] = []
        async with contextlib.aclosing(self.watch(path, **params)) as stream:
            async for event in stream:
                events.append(event)
                if len(events) >= until:
                    break
        return events

    async def watch(self, path: str, **params: str) -> AsyncIterator[Object]:
        """Give the events of a watch until it ends."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=WATCH_S)
        async with self.http.get(path, params={"watch": "1", **params}, timeout=timeout) as response:
            if response.status != 200:
                yield {"type": "HTTP", "object": json.loads(await response.text()), "code": response.status}
                return
            with contextlib.suppress(asyncio.TimeoutError):
                async for line in response.content:
                    yield json.loads(line)

    def plain(self, value: Any) -> Any:
        """Make the same what is different each time: UIDs, times, versions, names."""
        if isinstance(value, dict):
            return {
                key: "RV" if key == "resourceVersion" and item not in ("", "0") else self.plain(item)
                for key, item in value.items()
                if key not in ("managedFields", "selfLink")
            }
        if isinstance(value, list):
            if len(value) > MANY:
                return [f"{len(value)} of them", self.plain(value[0])]
            return [self.plain(item) for item in value]
        if isinstance(value, str):
            text = value.replace(self.tag, "TAG").replace(self.namespace, "NAMESPACE")
            for pattern, word in _MASKS:
                text = pattern.sub(word, text)
            return text
        return value

    async def close(self) -> None:
        """Remove what was made."""
        for path in reversed(self._made):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await self.ask("DELETE", path, {"gracePeriodSeconds": 0})
        await self.http.close()
