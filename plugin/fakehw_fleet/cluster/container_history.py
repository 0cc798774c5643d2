"""How containers of a pod fared before, as far as the cluster was told: read when their processes have gone. Pure."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from fakekubelet.kubelet.pod_status import Ended

if TYPE_CHECKING:
    from fakekubelet.kubelet.pod_status import AdmittedPod

Object = dict[str, Any]


def kept(status: Object) -> list[Object]:
    """Return what is remembered of a pod's container statuses."""
    found = []
    for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = one.get("state") or {}
        found.append(
            {
                "name": one["name"],
                "restartCount": one.get("restartCount") or 0,
                "running": state.get("running"),
                "ended": state.get("terminated") or (one.get("lastState") or {}).get("terminated"),
            }
        )
    return found


def restore(found: Object, admitted: AdmittedPod) -> None:
    """Write into an adopted pod what its containers did before."""
    for was in found["status"].get("containers", []):
        status = admitted.containers.get(was["name"])
        if status is None:
            continue
        ended = was["ended"]
        status.is_running = was["running"] is not None
        status.starts = was["restartCount"] + (1 if status.is_running or ended else 0)
        if status.is_running:
            status.started_at = _moment(was["running"].get("startedAt"))
        if ended:
            status.ended = Ended(
                int(ended.get("exitCode") or 0), _moment(ended.get("startedAt")), _moment(ended.get("finishedAt")),
                ended.get("message") or "",
            )  # fmt: skip  # how, when, why


def _moment(text: str | None) -> float:
    """Return seconds since the epoch."""
    return datetime.datetime.fromisoformat(text).timestamp() if text else 0.0
