"""Events of pods that a kubelet refuses or cannot start, as the kubelet sends them: once, and lost if that fails."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fakehw_fleet.cluster.objects import stamp
from kubeapi import errors
from kubeapi.resources import CORE_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeapi.client import Client
    from kubeapi.resources import Object


class Events:
    """Sends warnings about pods. `on_error` hears of those that did not arrive; a kubelet does not mind either."""

    def __init__(self, client: Client, *, on_error: Callable[[Exception], None]) -> None:
        self._client = client
        self._on_error = on_error

    async def warn(self, found: Object, node: str, reason: str, message: str) -> None:
        """Tell what is wrong with a pod."""
        body = warning(found, node, reason, message, now=time.time(), nonce=f"{time.time_ns():x}")
        try:
            await self._client.create(CORE_EVENTS, body, namespace=body["metadata"]["namespace"])
        except errors.ApiError as error:
            self._on_error(error)


def warning(found: Object, node: str, reason: str, message: str, *, now: float, nonce: str) -> dict[str, Any]:
    """Return such an event; `nonce` makes its name one of its own."""
    metadata = found["metadata"]
    return {
        "metadata": {"name": f"{metadata['name']}.{nonce}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            **{key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion") if key in metadata},
        },
        "type": "Warning",
        "reason": reason,
        "message": message,
        "source": {"component": "kubelet", "host": node},
        "reportingComponent": "kubelet",
        "reportingInstance": node,
        "firstTimestamp": stamp(now),
        "lastTimestamp": stamp(now),
        "count": 1,
    }
