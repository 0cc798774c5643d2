"""A pod that sees all processes of one node: it kills the plugin at a step, and plays what a reboot leaves.

Nothing of fakehw needs such a pod. A test does: what a kill at the worst moment does can only be seen by killing then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from lightkube.models.core_v1 import (
    Container,
    HostPathVolumeSource,
    PodSpec,
    SecurityContext,
    Toleration,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from tests.e2e import cluster as eyes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

IMAGE = os.environ.get("IMAGE") or "fakehw:dev"
KUBELET_ROOT = os.environ.get("KUBELET_ROOT") or "/var/lib/kubelet"
NAME = "node-shell"

STEPS = {
    # What is waited for: directory, what happens to which file there, and what it means for the claim.
    "claim read, nothing written": ("state", "OPEN", "serialize.lock"),
    "checkpoint half-written": ("state/claims", "CREATE", ".tmp"),
    "checkpoint written": ("state/claims", "MOVED_TO", ".json"),
    "CDI file half-written": ("cdi", "CREATE", ".tmp"),
    "CDI file written, no answer yet": ("cdi", "MOVED_TO", ".json"),
}
STEPS_BACK = {
    "unprepare began": ("state", "OPEN", "serialize.lock"),
    "CDI file removed": ("cdi", "DELETE", ".json"),
    "checkpoint removed, no answer yet": ("state/claims", "DELETE", ".json"),
}

FIND = """
import os, pathlib, signal, sys, time
def of(uid, word):
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if uid in (proc / "cgroup").read_text().replace("_", "-") and word in (proc / "cmdline").read_text():
                yield int(proc.name)
        except OSError:
            pass
"""
KILL_AT = (
    FIND
    + """
import json, inotify_simple
try:  # on a busy machine too the kill is to come before the next step
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
except OSError:
    pass
uid, directory, event, ending, claims = sys.argv[1:]
pids = list(of(uid, "fakehw-plugin"))
watch = inotify_simple.INotify()
watch.add_watch(directory, getattr(inotify_simple.flags, event))
print("watching", flush=True)
while not any(found.name.endswith(ending) for found in watch.read(timeout=60000) or sys.exit("it never came")):
    pass
for pid in pids:
    os.kill(pid, signal.SIGKILL)
while any(os.path.exists(f"/proc/{pid}/exe") for pid in pids):
    time.sleep(0.001)
print(json.dumps(sorted(path.name for of in (claims, "/cdi") for path in pathlib.Path(of).iterdir())))
"""
)
KILL_ALL = (
    FIND
    + """
found = list(of(sys.argv[1], ""))
for pid in found:
    os.kill(pid, signal.SIGKILL)
print(len(found))
"""
)


class NodeShell:
    """The pod, on a node."""

    def __init__(self, cluster: eyes.Cluster, driver: str) -> None:
        self._cluster = cluster
        self._driver = driver

    async def python(self, script: str, *arguments: str) -> str:
        """Run a script there and return what it printed."""
        done = await self._cluster.client.exec(
            NAME, namespace=eyes.NAMESPACE, command=["python3", "-c", script, *arguments],
            stdout=True, stderr=True, timeout=60,
        )  # fmt: skip
        assert done.exit_code == 0, f"{done.stdout}{done.stderr}"
        return str(done.stdout)

    @contextlib.asynccontextmanager
    async def killing(self, uid: str, step: tuple[str, str, str]) -> AsyncIterator[list[str]]:
        """SIGKILL the plugin in the pod `uid` when `step` is seen in the block; gives the files that were there then."""
        directory, event, ending = step
        process = await asyncio.create_subprocess_exec(
            "kubectl", "exec", "-n", eyes.NAMESPACE, NAME, "--", "python3", "-c", KILL_AT,
            uid, self._place(directory), event, ending, self._place("state/claims"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        found: list[str] = []
        first = await asyncio.wait_for(process.stdout.readline(), 30)
        assert first == b"watching\n", (first + (await process.communicate())[1]).decode()
        yield found
        out, error = await asyncio.wait_for(process.communicate(), 90)
        assert process.returncode == 0, error.decode()
        found += json.loads(out)

    async def files(self) -> list[str]:
        """Return the names of claims' checkpoints and CDI files that are there."""
        script = "import json, sys, os; print(json.dumps([name for of in sys.argv[1:] for name in os.listdir(of)]))"
        names: list[str] = json.loads(await self.python(script, self._place("state/claims"), "/cdi"))
        return sorted(name for name in names if name.endswith((".json", ".tmp")))

    def _place(self, directory: str) -> str:
        """Return where a directory of STEPS is in the pod."""
        return f"/{directory}".replace("/state", f"/state/{self._driver}")


@contextlib.asynccontextmanager
async def on(cluster: eyes.Cluster, node: str, driver: str) -> AsyncIterator[NodeShell]:
    """Run the pod on a node for a block."""
    mounts = {"state": f"{KUBELET_ROOT}/plugins/fakehw", "cdi": "/var/run/cdi"}
    main: dict[str, Any] = {
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 3600 & wait $!; done"],
    }
    pod = Pod(
        metadata=ObjectMeta(name=NAME, namespace=eyes.NAMESPACE),
        spec=PodSpec(
            nodeName=node,
            hostPID=True,
            terminationGracePeriodSeconds=1,
            tolerations=[Toleration(operator="Exists")],
            containers=[
                Container(
                    **main,
                    securityContext=SecurityContext(runAsUser=0, privileged=True),
                    volumeMounts=[VolumeMount(name=name, mountPath=f"/{name}") for name in mounts],
                )
            ],
            volumes=[Volume(name=name, hostPath=HostPathVolumeSource(path=path)) for name, path in mounts.items()],
        ),
    )
    await cluster.client.create(pod)
    try:
        async with cluster.pod(NAME) as seen:
            await seen.until(eyes.runs, timeout=60)
        yield NodeShell(cluster, driver)
    finally:
        await cluster.client.delete(Pod, NAME, namespace=eyes.NAMESPACE, grace_period=0)
