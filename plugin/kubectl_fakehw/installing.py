"""The hands' DaemonSet, made after the plugin's: the same image, nodes, tree, account and SELinux options.

So it fits wherever the plugin does, whatever overlay or chart that came from.
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any, Final

from fakehw.errors import TreeError
from kubeapi import errors
from kubeapi.resources import DAEMON_SETS
from kubectl_fakehw.places import HAND, PLUGIN

if TYPE_CHECKING:
    from kubeapi.client import Client
    from kubeapi.resources import Object

_SAME: Final = (
    "affinity",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "imagePullSecrets",
    "nodeSelector",
    "serviceAccountName",
    "tolerations",
)
_COMMAND: Final = ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 3600 & wait $!; done"]
_LOOK_EVERY_S: Final = 0.5


async def install(client: Client, namespace: str, *, timeout_s: float) -> int:
    """Put a hand on each node that has a plugin, and wait for them; return how many there are."""
    try:
        plugin = await client.get(DAEMON_SETS, PLUGIN, namespace=namespace)
    except errors.NotFoundError:
        raise TreeError(f"no DaemonSet {PLUGIN} is in the namespace {namespace}: is it deployed there?") from None
    wanted = hand_like(plugin)
    try:
        await client.create(DAEMON_SETS, wanted, namespace=namespace)
    except errors.ConflictError:
        present = await client.get(DAEMON_SETS, HAND, namespace=namespace)
        wanted["metadata"]["resourceVersion"] = present["metadata"]["resourceVersion"]
        await client.update(DAEMON_SETS, wanted)
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                status = (await client.get(DAEMON_SETS, HAND, namespace=namespace)).get("status", {})
                number: int = status.get("desiredNumberScheduled", 0)
                if number and status.get("numberReady") == number == status.get("updatedNumberScheduled"):
                    return number
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        ready = f"{status.get('numberReady', 0)} of {status.get('desiredNumberScheduled', 0)}"
        raise TreeError(f"{ready} hands are ready after {timeout_s:g} s: kubectl -n {namespace} get pods") from None


async def remove(client: Client, namespace: str) -> None:
    """Take the hands away."""
    try:
        await client.delete(DAEMON_SETS, HAND, namespace=namespace, propagation="Foreground")
    except errors.NotFoundError:
        return


def hand_like(plugin: Object) -> Object:
    """Return the DaemonSet of the hands that fits the plugin's."""
    spec: dict[str, Any] = plugin["spec"]["template"]["spec"]
    (container,) = (one for one in spec["containers"] if one["name"] == "plugin")
    (tree,) = (volume for volume in spec["volumes"] if volume["name"] == "tree")
    labels = {"app.kubernetes.io/name": HAND}
    security = copy.deepcopy(spec.get("securityContext", {}))
    if level := container.get("securityContext", {}).get("seLinuxOptions", {}).get("level"):
        security["seLinuxOptions"] = {"level": level}
    pod = {name: copy.deepcopy(spec[name]) for name in _SAME if name in spec}
    return {
        "metadata": {
            "name": HAND,
            "namespace": plugin["metadata"]["namespace"],
            "labels": {**labels, "app.kubernetes.io/part-of": "fakehw"},
        },
        "spec": {
            "selector": {"matchLabels": labels},
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    **pod,
                    "terminationGracePeriodSeconds": 5,
                    "securityContext": security,
                    "containers": [
                        {
                            "name": "hand",
                            "image": container["image"],
                            "imagePullPolicy": container.get("imagePullPolicy", "IfNotPresent"),
                            "command": _COMMAND,
                            "workingDir": "/fakehw",
                            "env": [{"name": "FAKEHW_ROOT", "value": "/fakehw"}],
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"memory": "128Mi"}},
                            "volumeMounts": [{"name": "tree", "mountPath": "/fakehw"}],
                        }
                    ],
                    "volumes": [copy.deepcopy(tree)],
                },
            },
        },
    }
