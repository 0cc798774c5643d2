"""The two containers of the DaemonSet as its manifest starts them, only with their mounts elsewhere."""

from __future__ import annotations

import asyncio
import json
import sysconfig
from pathlib import Path

from fakekubelet import FakeKubelet
from hack import deployment

NODE = "kind-worker2"
SEED = {"myplugin.io/mydevice-1": 0, "myplugin.io/mydevice-2": 1, "myplugin.io/mydevice-3": 3}


class Host:
    """Directories that stand for those of a node; paths in commands and variables are led there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._places: dict[str, Path] = {}

    def mount(self, container: deployment.Container) -> None:
        for mount in container.mounts:
            place = self._places.setdefault(mount.path, self._root / str(len(self._places)))
            place.mkdir(exist_ok=True)
            for name, text in mount.files.items():
                (place / name).write_text(text)

    def lead(self, text: str) -> str:
        """Return `text` with the container's path at its start, if any, replaced by the directory that stands for it."""
        for path, place in sorted(self._places.items(), key=lambda item: -len(item[0])):
            if text == path or text.startswith(f"{path}/"):
                return f"{place}{text.removeprefix(path)}"
        return text

    async def start(self, container: deployment.Container, **changes: str) -> asyncio.subprocess.Process:
        program, *arguments = container.command
        return await asyncio.create_subprocess_exec(
            Path(sysconfig.get_path("scripts")) / program,
            *map(self.lead, arguments),
            env={name: self.lead(value) for name, value in {**container.env, **changes}.items()},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


async def said(process: asyncio.subprocess.Process, event: str) -> dict[str, object]:
    """Return the plugin's log line for `event`, reading up to it."""
    assert process.stderr is not None
    async with asyncio.timeout(10):
        while line := await process.stderr.readline():
            parsed: dict[str, object] = json.loads(line)
            if parsed["event"] == event:
                return parsed
    raise AssertionError(f"it ended without saying {event}")


async def asked(port: int, path: str) -> str:
    """Return the status line of a page."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return answer.partition("\r\n")[0]


async def test_the_manifests_commands_serve_the_seeds_devices_to_a_kubelet(short_dir: Path) -> None:
    containers = deployment.containers(deployment.plain(deployment.DEPLOY / "base"), node=NODE)
    host = Host(short_dir)
    for container in containers.values():
        host.mount(container)

    building = await host.start(containers["fakehw"])
    said_by_build = b"".join(await building.communicate()).decode()
    assert building.returncode == 0, said_by_build
    assert "devices: 4 added" in said_by_build, "node2 and nothing of kind-worker's"

    plugin_dir = Path(host.lead("/var/lib/kubelet/device-plugins"))
    resources_socket = Path(host.lead("/var/lib/kubelet/pod-resources/kubelet.sock"))
    async with FakeKubelet(plugin_dir, node_name=NODE, pod_resources_socket=resources_socket) as kubelet:
        # The port is any free one here; that the manifest's is the probes' is another test's claim.
        plugin = await host.start(containers["plugin"], FAKEHW_HTTP="127.0.0.1:0")
        try:
            await kubelet.wait_for(lambda: dict(kubelet.capacity) == SEED, timeout=10)
            health = Path(host.lead("/fakehw")) / "node2/dev3/2/health"
            health.write_text("unhealthy\n")
            await kubelet.wait_for(lambda: kubelet.allocatable["myplugin.io/mydevice-3"] == 2, timeout=10)

            port = int(str((await said(plugin, "web_serving"))["port"]))
            for _, path in containers["plugin"].probes.values():
                assert await asked(port, path) == "HTTP/1.1 200 OK"
        finally:
            plugin.terminate()
            await plugin.communicate()
    assert plugin.returncode == 0, "a pod that is deleted ends in peace"
