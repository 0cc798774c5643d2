#!/usr/bin/env python3
"""Run the image as the manifests say, without a cluster, against the fake kubelet: `make verify-image`.

Both containers get exactly the rendered user, capabilities, read-only root, seccomp profile, mounts, command and
environment. The plugin has to register what is in the tree, see a health flip through its read-only bind mount, and end
at once when told to. Needs root (the kubelet's directory is root's) and docker or podman with IMAGE built.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fakekubelet import FakeKubelet
from hack import deployment

NODE = "kind-worker2"
SEED = {"myplugin.io/mydevice-1": 0, "myplugin.io/mydevice-2": 1, "myplugin.io/mydevice-3": 3}
NAME = f"fakehw-verify-{os.getpid()}"
IMAGE = os.environ.get("IMAGE") or "fakehw:dev"


def engine() -> str:
    """Return the engine that answers; leave with one line where none does."""
    for name in filter(None, (os.environ.get("ENGINE"), "docker", "podman")):
        found = shutil.which(name)
        if found and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    sys.exit("verify-image: neither docker nor podman answers here, so nothing was checked")


def arguments(container: deployment.Container, host: Path) -> list[str]:
    """Return what makes an engine run `container` as the kubelet would, the node's directories being under `host`."""
    words = [f"--user={container.user}:{container.group}", f"--entrypoint={container.command[0]}", "--network=none"]
    words += [f"--cap-drop={one}" for one in container.drop] + [f"--cap-add={one}" for one in container.add]
    if container.read_only_root:
        words.append("--read-only")
    if not container.privilege_escalation:
        words.append("--security-opt=no-new-privileges")
    assert container.seccomp == "RuntimeDefault", "which is what engines do unless told otherwise"
    words += [f"--env={name}={value}" for name, value in container.env.items()]
    for mount in container.mounts:
        source = host / (mount.host_path or f"/configmap{mount.path}").lstrip("/")
        source.mkdir(parents=True, exist_ok=True)
        for name, text in mount.files.items():
            (source / name).write_text(text)
        words.append(f"--volume={source}:{mount.path}{':ro' if mount.read_only else ''}")
    return [*words, IMAGE, *container.command[1:]]


async def check(tool: str, host: Path) -> None:
    """Run both containers; AssertionError or TimeoutError says what went wrong."""
    folder = deployment.DEPLOY / "base"
    objects = deployment.rendered(folder) if deployment.have_kubectl() else deployment.plain(folder)
    containers = deployment.containers(objects, node=NODE)
    plugin_dir = host / "var/lib/kubelet/device-plugins"

    build = [tool, "run", "--rm", *arguments(containers["fakehw"], host)]
    done = await asyncio.to_thread(subprocess.run, build, capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr, end="")
    assert done.returncode == 0, "fakehw build failed"
    assert "devices: 4 added" in done.stdout + done.stderr

    async with FakeKubelet(
        plugin_dir, node_name=NODE, pod_resources_socket=host / "var/lib/kubelet/pod-resources/kubelet.sock"
    ) as kubelet:
        plugin_dir.chmod(0o750)
        serve = [tool, "run", "--detach", f"--name={NAME}", *arguments(containers["plugin"], host)]
        began = time.perf_counter()
        await asyncio.to_thread(subprocess.run, serve, check=True, capture_output=True)
        await kubelet.wait_for(lambda: dict(kubelet.capacity) == SEED, timeout=20)
        print(f"registered, {dict(kubelet.capacity)}, {time.perf_counter() - began:.2f} s after {tool} run")

        for word, expected in (("unhealthy", 2), ("healthy", 3)):
            began = time.perf_counter()
            (host / "fakehw/node2/dev3/2/health").write_text(f"{word}\n")
            await kubelet.wait_for(
                lambda expected=expected: kubelet.allocatable["myplugin.io/mydevice-3"] == expected, timeout=10
            )
            print(f"{word}: allocatable {expected}, {(time.perf_counter() - began) * 1000:.1f} ms after the write")

        began = time.perf_counter()
        await asyncio.to_thread(subprocess.run, [tool, "stop", NAME], check=True, capture_output=True)
        state = [tool, "inspect", "--format={{.State.ExitCode}}", NAME]
        code = (await asyncio.to_thread(subprocess.run, state, check=True, capture_output=True, text=True)).stdout
        left = sorted(path.name for path in plugin_dir.glob("fakehw-*"))
        print(
            f"stopped in {time.perf_counter() - began:.2f} s, exit code {code.strip()}, sockets left: {left or 'none'}"
        )
        assert (code.strip(), left) == ("0", [])


def main() -> None:
    """Run the check and clean up."""
    tool = engine()
    print(f"{tool}: {IMAGE} as deploy/base runs it")
    with tempfile.TemporaryDirectory(prefix="fhw-", dir="/tmp") as host:  # socket paths must be short
        try:
            asyncio.run(check(tool, Path(host)))
        finally:
            done = subprocess.run([tool, "logs", NAME], capture_output=True, text=True, check=False)
            if done.returncode == 0 and sys.exc_info()[0]:
                print(done.stdout + done.stderr)
            subprocess.run([tool, "rm", "--force", NAME], capture_output=True, check=False)
    print("the image does what the manifests ask of it")


if __name__ == "__main__":
    main()
