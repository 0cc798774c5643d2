"""The containers of a fleet's pods as processes of this machine, where that was asked for (`--run`).

Each is its container's command, with the variables that the pod was given; what it prints is in a file, as the kubelet
keeps it: a file of 10 MiB and the one before, which go with the pod.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from typing import TYPE_CHECKING, Final

from fakehw_fleet.cluster import commands, container_history, pods
from fakekubelet.cluster.pod_run import PodRun
from fakekubelet.cluster.process import MOST_KEPT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from fakehw_fleet.cluster.node import FleetNode, PodRecord
    from fakehw_fleet.cluster.pods import PodKey
    from fakekubelet.cluster.guard import Guard
    from kubeapi.resources import Object

PODS: Final = "pods"
"""Where their output is in the state directory."""
EXIT_GRACE_S: Final = 1.0
"""What processes get to end when the fleet ends."""
FORCED_GRACE_S: Final = 2.0
"""What they get whose pod is not there any more (kubelet.go:minimumGracePeriodInSeconds)."""
_LONGEST_NAME: Final = 200


class Processes:
    """Makes the run of each pod. `directory` is where their output goes, `again` is asked to look at a pod anew."""

    def __init__(self, directory: Path, guard: Guard, *, again: Callable[[PodKey], None]) -> None:
        self.directory = directory
        self._guard = guard
        self._again = again

    def begin(self, one: FleetNode, found: Object, record: PodRecord) -> None:
        """Run a pod that was admitted, or one whose processes were another fleet's, which has gone."""
        key = pods.key_of(found)
        containers = [*found["spec"]["initContainers"], *found["spec"]["containers"]]
        if record.is_adopted:
            container_history.restore(found, record.admitted)
        else:
            for container in containers:
                record.notes += commands.remarks(container)
        directory = self.directory / directory_name(key, record.uid)
        record.run = PodRun(
            one.kubelet,
            record.admitted,
            outputs={container["name"]: Output(directory / f"{container['name']}.log").add for container in containers},
            env={name: claimed.env for name, claimed in record.by_claims.items()},
            ring=lambda: self._again(key),
            note=lambda _, reason, message: record.notes.append((reason, message)),
            time_source=one.kubelet.clock,
            guard=self._guard,
            goes_on=record.is_adopted,
        )
        record.run.start()

    def forget(self, key: PodKey, uid: str) -> None:
        """Remove what a pod has printed that is not there any more."""
        shutil.rmtree(self.directory / directory_name(key, uid), ignore_errors=True)

    def keep_only(self, there: Iterable[Object]) -> None:
        """Remove what pods of a life before have printed, but for those that are there."""
        names = {directory_name(pods.key_of(found), found["metadata"]["uid"]) for found in there}
        for path in self.directory.glob("*"):
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)


class Output:
    """A file that takes what a container prints. What the disk does not take is lost, and stops nobody."""

    def __init__(self, path: Path, *, most: int = MOST_KEPT) -> None:
        self.path = path
        self._most = most

    def add(self, chunk: bytes) -> None:
        """Add to the file; where that would make it too long, it is the one before."""
        with contextlib.suppress(OSError), self._opened() as stream:
            if stream.tell() and stream.tell() + len(chunk) > self._most:
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
                with self._opened() as next_one:
                    next_one.write(chunk)
            else:
                stream.write(chunk)

    def _opened(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.path.open("ab", buffering=0)


def directory_name(key: PodKey, uid: str) -> str:
    """Return the name of a pod's directory: namespace, name, UID as the kubelet has it, if that is not too long."""
    whole = "_".join((*key, uid)).replace("/", "_")
    if len(whole) <= _LONGEST_NAME:
        return whole
    return f"{whole[:120]}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"


async def end_all(records: Sequence[PodRecord], grace_s: float) -> None:
    """End the processes of all these pods at once."""
    await asyncio.gather(*(record.run.stop(grace_s) for record in records if record.run is not None))
