"""Where hands are: the pods of the DaemonSet fakehw-hand by node, and the nodes that lack one."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fakehw.errors import InputError, TreeError
from kubeapi.resources import NODES, PODS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kubeapi.client import Client

HAND: Final = "fakehw-hand"
PLUGIN: Final = "fakehw-plugin"
_NAME: Final = "app.kubernetes.io/name"


@dataclass(frozen=True, slots=True)
class Place:
    """A node with fake devices. `node` is empty for a tree on this machine."""

    node: str
    hand: str = ""
    """The pod; empty where there is none that runs."""
    plugin: str = ""
    problem: str = ""
    """Why it cannot be reached, as far as the API server knows."""


async def find(client: Client, namespace: str, *, patterns: Sequence[str] = (), selector: str = "") -> list[Place]:
    """Return the places on the nodes that are wanted, by name; InputError or TreeError where there is none."""
    pods = await client.list(PODS, namespace=namespace, label_selector=f"{_NAME} in ({HAND},{PLUGIN})")
    nodes = await client.list(NODES, label_selector=selector)
    conditions = {node["metadata"]["name"]: unready(node) for node in nodes["items"]}
    found = placed(pods["items"], conditions)
    if not found:
        raise TreeError(
            f"no pod of fakehw is in the namespace {namespace}{' on nodes ' + selector if selector else ''}: "
            "is it deployed there? (--namespace)"
        )
    if not any(place.hand for place in found):
        raise TreeError(f"no hand runs in the namespace {namespace}: kubectl fakehw hands puts one on each node")
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(place.node, pattern) for place in found):
            raise InputError(f"{pattern!r}: fits no node with fake devices (--node)")
    return [place for place in found if _is_wanted(place.node, patterns)]


def placed(pods: Iterable[dict[str, Any]], conditions: dict[str, str]) -> list[Place]:
    """Return the places of pods; `conditions` has the nodes that are wanted, and what is wrong with each."""
    hands: dict[str, str] = {}
    plugins: dict[str, str] = {}
    waiting: dict[str, str] = {}
    for pod in pods:
        node = pod["spec"].get("nodeName", "")
        name = pod["metadata"]["name"]
        if node not in conditions or pod["metadata"].get("deletionTimestamp"):
            continue
        if pod["metadata"]["labels"][_NAME] == PLUGIN:
            plugins[node] = name
        elif pod["status"].get("phase") == "Running":
            hands[node] = name
        else:
            waiting[node] = f"its hand {name} is {pod['status'].get('phase', 'not there yet')}"
    return [
        Place(
            node,
            hands.get(node, ""),
            plugins.get(node, ""),
            conditions[node] or ("" if node in hands else waiting.get(node, "it has no hand")),
        )
        for node in sorted({*hands, *plugins, *waiting})
    ]


def unready(node: dict[str, Any]) -> str:
    """Return why a node is not Ready; "" if it is."""
    for condition in node.get("status", {}).get("conditions", ()):
        if condition["type"] == "Ready" and condition["status"] != "True":
            return f"the node is not Ready ({condition.get('reason', '')})"
    return ""


def _is_wanted(node: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(node, pattern) for pattern in patterns)
