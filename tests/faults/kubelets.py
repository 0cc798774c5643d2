"""Kubelets that are gone, refuse, hang, lie or die; and a plugin that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc

from fakekubelet import FakeKubelet, pod, stub_plugin
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import api_pb2_grpc as pluginapi_grpc
from tests.faults.catalogue import fault
from tests.faults.scene import DEADLINE_S, R2, R3, RESOURCES, Scene, playing, scene

KUBELET, PLUGIN = "Kubelet", "Plugin"
BACK = "Registered again, once for each resource"


async def in_order(one: Scene) -> None:
    """The kubelet has what the tree says, over one stream for each resource, on three sockets."""
    await one.converged()
    assert all(one.kubelet.live_streams(resource) == 1 for resource in RESOURCES)
    sockets = len(list(one.plugin_dir.glob("fakehw-*.sock")))
    assert sockets == 3, f"{sockets} sockets"


@fault(KUBELET, "restarts (deletes all sockets, as at every start)", BACK, tries=50)
async def restarts(one: Scene) -> None:
    before = len(one.kubelet.registrations)
    await one.kubelet.restart()
    await in_order(one)
    assert len(one.kubelet.registrations) == before + 3


@fault(KUBELET, "dies and leaves kubelet.sock; nobody listens for a while; a new one comes", BACK)
async def stale_socket(one: Scene) -> None:
    await one.kubelet.stop()
    one.write("node2/dev3/3/health", "unhealthy meanwhile\n")
    await one.plugin.logged("registration_ended")
    await one.kubelet.start()
    await in_order(one)
    one.write("node2/dev3/3/health", "healthy\n")
    await one.converged()


@fault(KUBELET, "the plugin's sockets are deleted under it", BACK)
async def sockets_deleted(one: Scene) -> None:
    before = len(one.kubelet.registrations)
    for path in one.plugin_dir.glob("fakehw-*.sock"):
        path.unlink()
    await one.until(lambda: len(one.kubelet.registrations) >= before + 3)
    await in_order(one)


@fault(KUBELET, "the whole directory is removed and made again with a new kubelet in it", BACK)
async def directory_replaced(one: Scene) -> None:
    await one.kubelet.stop()
    await one.shell("mv dp gone; rm -rf gone")
    await one.kubelet.start()
    await in_order(one)


@fault(
    KUBELET,
    "a registration is dropped while the kubelet lives (contract REG-13)",
    "Registered again after 2 s",
    tries=3,
)
async def stream_dropped(one: Scene) -> None:
    await one.kubelet.drop(R3)
    await in_order(one)


@fault(
    KUBELET, "a directory is mounted over the plugin's, with another kubelet in it, and taken off",
    "Registered with the other, then with the first again", tries=5, needs_namespaces=True,
    set_up=functools.partial(playing, namespaces=True),
)  # fmt: skip
async def directory_mounted_over(one: Scene) -> None:
    async with FakeKubelet(one.directory / "dp2", node_name="node") as other:
        await one.shell("mount --bind dp2 dp", inside=True)
        await other.wait_for(
            lambda: all(other.live_streams(resource) == 1 for resource in RESOURCES), timeout=DEADLINE_S
        )
        await one.shell("umount -l dp", inside=True)  # the plugin's sockets lie in it
        await in_order(one)
    await one.shell("rm -rf dp2")


Behavior = Callable[[pluginapi.RegisterRequest, grpc.aio.ServicerContext], Awaitable[pluginapi.Empty]]


class Registry(pluginapi_grpc.RegistrationServicer):
    """A kubelet's door and nothing behind it."""

    def __init__(self, behavior: Behavior) -> None:
        self.requests: list[pluginapi.RegisterRequest] = []
        self.news = asyncio.Condition()
        self._behavior = behavior

    async def Register(
        self, request: pluginapi.RegisterRequest, context: grpc.aio.ServicerContext
    ) -> pluginapi.Empty:  # fmt: skip
        async with self.news:
            self.requests.append(request)
            self.news.notify_all()
        return await self._behavior(request, context)


@contextlib.asynccontextmanager
async def registry(one: Scene, behavior: Behavior) -> AsyncIterator[Registry]:
    """In the place of the kubelet for a while."""
    await one.kubelet.stop()
    servicer = Registry(behavior)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    pluginapi_grpc.add_RegistrationServicer_to_server(servicer, server)
    server.add_insecure_port(f"unix:{one.plugin_dir}/kubelet.sock")
    await server.start()
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield servicer
    finally:
        await server.stop(None)
        await one.kubelet.start()
    await in_order(one)


async def called(servicer: Registry, times: int = 3) -> None:
    async with servicer.news:
        await servicer.news.wait_for(lambda: len(servicer.requests) >= times)


ERRORS = (
    'requested API version "v1beta1" is not supported by kubelet. Supported version is ["v1"]',
    'the ResourceName "myplugin.io/mydevice-3" is invalid',
    "failed to dial device plugin: context deadline exceeded",
    "failed to get device plugin options: rpc error: code = Unavailable desc = error reading from server: EOF",
    "an error of the future, with \x00 and ü in it",
)


@fault(
    KUBELET,
    "Register fails, with each of the kubelet's texts and an unknown one",
    "Logged in its words, backed off, then registered",
    tries=3,
)
async def register_fails(one: Scene) -> None:
    for text in ERRORS:

        async def refuse(
            request: pluginapi.RegisterRequest, context: grpc.aio.ServicerContext, text: str = text
        ) -> pluginapi.Empty:
            await context.abort(grpc.StatusCode.UNKNOWN, text)

        since = len(one.plugin.log)
        async with registry(one, refuse) as servicer:
            await called(servicer)
            entry = await one.plugin.logged("registration_failed", since=since)
            assert text.split("\x00")[0] in entry["error"], entry


@fault(KUBELET, "Register hangs (a dial-back that never ends), then the kubelet is replaced", BACK, tries=5)
async def register_hangs(one: Scene) -> None:
    async def hang(*_: object) -> pluginapi.Empty:
        await asyncio.Event().wait()
        raise AssertionError

    async with registry(one, hang) as servicer:
        await called(servicer)
        # the tree is still followed meanwhile
        one.write("node2/dev3/3/health", "unhealthy meanwhile\n")
        await one.plugin.logged("device_changed")
    one.write("node2/dev3/3/health", "healthy\n")
    await one.converged()


@fault(
    KUBELET,
    "Register hangs and the plugin's sockets are deleted meanwhile",
    "Asked again at once, on new sockets",
    tries=5,
)
async def register_hangs_without_sockets(one: Scene) -> None:
    async def hang(*_: object) -> pluginapi.Empty:
        await asyncio.Event().wait()
        raise AssertionError

    async with registry(one, hang) as servicer:
        await called(servicer)
        for path in one.plugin_dir.glob("fakehw-*.sock"):
            path.unlink()
        async with asyncio.timeout(5):
            await called(servicer, times=6)


@fault(KUBELET, "Register succeeds and ListAndWatch is never called", "Tried again after 5 s, on a new socket", tries=1)
async def never_watched(one: Scene) -> None:
    async def accept(*_: object) -> pluginapi.Empty:
        return pluginapi.Empty()

    async with registry(one, accept) as servicer:
        await called(servicer, times=6)
        assert len({request.endpoint for request in servicer.requests}) == len(servicer.requests)


@contextlib.asynccontextmanager
async def connection(one: Scene, *options: tuple[str, object]) -> AsyncIterator[grpc.aio.Channel]:
    endpoint = next(path for path in one.plugin_dir.glob("fakehw-*.sock") if "mydevice-3" in path.name)
    local = ("grpc.use_local_subchannel_pool", 1)
    async with grpc.aio.insecure_channel(f"unix:{endpoint}", options=[local, *options]) as channel:
        yield channel


@fault(KUBELET, "ListAndWatch is opened a second time", "Both streams see every state; the first goes on")
async def opened_twice(one: Scene) -> None:
    async with connection(one) as channel, asyncio.timeout(DEADLINE_S):
        stream = pluginapi_grpc.DevicePluginStub(channel).ListAndWatch(pluginapi.Empty())
        assert len((await stream.read()).devices) == 3
        one.write("node2/dev3/2/health", "unhealthy\n")
        assert {device.ID: device.health for device in (await stream.read()).devices}["node2-dev3-2"] == "Unhealthy"
        await one.until(lambda: one.kubelet.devices(R3)["node2-dev3-2"] == "Unhealthy")
        stream.cancel()
    one.write("node2/dev3/2/health", "healthy\n")
    await in_order(one)


@fault(
    KUBELET, "reads its stream slowly: nothing for 300 changes of a list of 150 KB, then all",
    "At most a few old lists, then the latest; memory bounded", tries=3,
    set_up=functools.partial(playing, paths=["node2/dev3/1", *(f"node2/dev3/{n}" for n in range(1, 5001))]),
)  # fmt: skip
async def slow_reader(one: Scene) -> str:
    before = (await one.gauge()).rss_mib
    async with connection(one) as channel, asyncio.timeout(120):
        stream = pluginapi_grpc.DevicePluginStub(channel).ListAndWatch(pluginapi.Empty())
        await stream.read()
        for number in range(300):
            one.write("node2/dev3/2/health", f"{'un' * (number % 2 == 0)}healthy\n")
            seen = len(one.kubelet.history(R3))
            await one.until(lambda seen=seen: len(one.kubelet.history(R3)) > seen)
        one.write("node2/dev3/7/health", "unhealthy at last\n")
        await one.until(lambda: one.kubelet.devices(R3)["node2-dev3-7"] == "Unhealthy")
        grown = (await one.gauge()).rss_mib - before
        lists = 0
        while True:
            lists += 1
            health = {device.ID: device.health for device in (await stream.read()).devices}
            if health["node2-dev3-7"] == "Unhealthy":
                break
        stream.cancel()
    one.write("node2/dev3/7/health", "healthy\n")
    await one.converged()
    assert lists < 50, f"{lists} lists were kept for a reader that did not read"
    assert grown < 64, f"{grown:.0f} MiB more"
    return f"{lists} lists waited, {grown:.1f} MiB more"


@fault(KUBELET, "dies in the middle of an Allocate call", "No trace; registered with the next one")
async def dies_in_allocate(one: Scene) -> None:
    admitting = asyncio.create_task(one.kubelet.admit(pod.simple("mine", {R3: 2})))
    await asyncio.sleep(0)
    await one.kubelet.stop()
    admitting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await admitting
    await one.kubelet.start()
    for admitted in list(one.kubelet.pods):
        await one.kubelet.remove(admitted)
    await in_order(one)


@contextlib.asynccontextmanager
async def with_pod_resources() -> AsyncIterator[Scene]:
    async with scene() as one:
        pods = one.directory / "pr.sock"
        await one.kubelet.stop()
        one.kubelet.pod_resources_socket = pods
        await one.kubelet.start()
        async with one.running("--pod-resources", str(pods), "--vanished-grace", "3600"):
            await one.warm()
            yield one


@fault(
    PLUGIN,
    "a device that a pod holds is unplugged (PodResources answers)",
    "Unhealthy while it is held, gone once it is free",
    set_up=with_pod_resources,
    tries=3,
)
async def held(one: Scene) -> None:
    admitted = await one.kubelet.admit(pod.simple("mine", {R2: 1}))
    assert one.kubelet.allocated(R2) == {"node2-dev2-1"}
    await one.shell("mv tree/node2/dev2/1 tree/.aside; mv tree/node2/dev3/3 tree/.free")
    await one.until(lambda: one.kubelet.devices(R2) == {"node2-dev2-1": "Unhealthy"})
    await one.until(lambda: "node2-dev3-3" not in one.kubelet.devices(R3))
    await one.serves_others()
    assert one.kubelet.devices(R2) == {"node2-dev2-1": "Unhealthy"}
    await one.kubelet.remove(admitted)
    await one.until(lambda: one.kubelet.devices(R2) == {})
    await one.shell("mv tree/.aside tree/node2/dev2/1; mv tree/.free tree/node2/dev3/3")
    await in_order(one)


@fault(
    PLUGIN, "a device is unplugged and nobody can be asked who holds it", "Unhealthy for the grace period, then gone",
    set_up=functools.partial(playing, "--vanished-grace", "0.3"), tries=5,
)  # fmt: skip
async def nobody_to_ask(one: Scene) -> None:
    lists = len(one.kubelet.history(R3))
    await one.shell("mv tree/node2/dev3/3 tree/.aside")
    await one.until(lambda: "node2-dev3-3" not in one.kubelet.devices(R3))
    seen = [update.devices.get("node2-dev3-3", ("gone", ()))[0] for update in one.kubelet.history(R3)[lists:]]
    assert seen[0] == "Unhealthy", seen
    assert seen[-1] == "gone", seen
    await one.shell("mv tree/.aside tree/node2/dev3/3")
    await one.converged()


@fault(
    KUBELET, "another plugin registers a resource of ours, and ends (contract REG-12)",
    "Left to it while it serves; then registered again", set_up=with_pod_resources, tries=10,
)  # fmt: skip
async def displaced(one: Scene) -> None:
    async with stub_plugin.StubPlugin(one.plugin_dir, R3, stub_plugin.devices("other-1")) as other:
        await other.register()
        await one.until(lambda: "other-1" in one.kubelet.devices(R3))
    await in_order(one)
    await one.serves_others()


@fault(
    PLUGIN,
    "SIGKILL at a random moment, and a new one, while the tree changes",
    BACK + "; no socket, task or descriptor more",
    tries=500,
    set_up=scene,
)
async def killed(one: Scene) -> str:
    dice: random.Random = one.__dict__.setdefault("dice", random.Random(5))
    figures: list[tuple[int, int, float]] = one.__dict__.setdefault("figures", [])
    async with one.running() as plugin:
        # Anything from before it can read its flags to long after it serves.
        moment = dice.choice(["start", "start", "registered", "served"])
        if moment == "start":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(dice.uniform(0, 0.4)):
                    await plugin.process.wait()
        else:
            await one.converged()
        if moment == "served":
            one.write("node2/dev3/2/health", f"{dice.choice(['', 'un'])}healthy\n")
        if len(figures) % 10 == 0:
            one.write("node2/dev3/2/health", "healthy\n")
            await one.warm()
            await in_order(one)
            gauge = await one.gauge()
            with contextlib.suppress(TimeoutError):  # what is loaded late may still be on its way, on a busy machine
                async with asyncio.timeout(DEADLINE_S):
                    while figures and (len(gauge.tasks), gauge.fds) != figures[0][:2]:
                        gauge = await one.gauge()
            figures.append((len(gauge.tasks), gauge.fds, gauge.rss_mib))
        else:
            figures.append(figures[-1])
        plugin.process.kill()
        await plugin.process.wait()
    assert {figure[:2] for figure in figures} == {figures[0][:2]}, figures
    assert len(list(one.plugin_dir.glob("fakehw-*.sock"))) <= 6, "sockets of the dead are not cleared away"
    first, last = figures[0], figures[-1]
    return f"tasks {first[0]} → {last[0]}, descriptors {first[1]} → {last[1]}, RSS {first[2]:.1f} → {last[2]:.1f} MiB"


@fault(
    PLUGIN, "kubelet restarts, 500 times, one plugin", BACK + "; no socket, task, descriptor or memory more", tries=500
)
async def endured(one: Scene) -> str:
    figures: list[tuple[int, int, float]] = one.__dict__.setdefault("figures", [])
    await one.kubelet.restart()
    await in_order(one)
    gauge = await one.gauge()
    figures.append((len(gauge.tasks), gauge.fds, gauge.rss_mib))
    first, last = figures[min(20, len(figures) - 1)], figures[-1]
    assert last[0] <= first[0] + 6, (first, last)
    assert last[1] <= first[1] + 6, (first, last)
    assert last[2] <= first[2] + 16, (first, last)
    return f"tasks {first[0]} → {last[0]}, descriptors {first[1]} → {last[1]}, RSS {first[2]:.1f} → {last[2]:.1f} MiB"
