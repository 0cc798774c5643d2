"""What tests look for at drivers and on a node; most of it again and again, until it is so."""

from __future__ import annotations

import json
import zlib
from collections.abc import Awaitable, Callable

from tests.fidelity_dra.driver import StubDriver
from tests.fidelity_dra.node import Node, Object

Make = Callable[..., Awaitable[StubDriver]]
PREPARE, UNPREPARE = "NodePrepareResources", "NodeUnprepareResources"


def asked(driver: StubDriver, method: str, times: int = 1) -> Callable[[], Awaitable[bool]]:
    """Look whether a driver was asked for something so often."""
    return _look(lambda: len(driver.asked(method)) >= times)


def notified(driver: StubDriver, times: int = 1) -> Callable[[], Awaitable[bool]]:
    """Look whether a driver was told of its registration so often."""
    return _look(lambda: len(driver.notices) >= times)


def streams(driver: StubDriver, times: int) -> Callable[[], Awaitable[bool]]:
    """Look whether a driver was asked for health so often."""
    return _look(lambda: driver.streams >= times)


def _look(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return condition()

    return look


def healths(node: Node, pod: Object, *wanted: tuple[str, str]) -> Callable[[], Awaitable[bool]]:
    """Look whether a pod's status says this of its devices: health and message."""

    async def look() -> bool:
        found = [
            (resource["health"], resource.get("message", ""))
            for entry in await node.health(pod)
            for resource in entry["resources"]
        ]
        return found == list(wanted)

    return look


async def prints(node: Node, pod: Object, text: str) -> bool:
    """Look whether a pod has printed something."""
    return text in await node.logs(pod)


def checkpoint(node: Node) -> list[Object]:
    """Return what the kubelet has noted of claims."""
    content = json.loads(node.checkpoint.read_text())
    assert zlib.crc32(content["Data"].encode()) == content["Checksum"]
    return json.loads(content["Data"])["ClaimInfoStateList"] or []


def noted(node: Node, claim: Object) -> Object | None:
    """Return what it has noted of one."""
    return next((entry for entry in checkpoint(node) if entry["ClaimUID"] == claim["metadata"]["uid"]), None)
