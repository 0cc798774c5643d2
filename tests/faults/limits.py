"""The kernel's limits, really reached: in namespaces of the plugin's own, so that nobody else's are touched."""

from __future__ import annotations

import functools
import os
import resource
import signal
from pathlib import Path

from tests.faults.catalogue import fault
from tests.faults.scene import R1, R2, R3, Scene, playing

LIMITS = "Limits of the kernel"


def events_held() -> int:
    """How many events the kernel keeps for a reader that does not read."""
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


@fault(
    LIMITS, "the inotify queue overflows (plugin stopped, more changes than it holds)", "Correct at once after; warning, metric",
    set_up=functools.partial(playing, "--http", "127.0.0.1:0"),
)  # fmt: skip
async def overflow(one: Scene) -> None:
    since = len(one.plugin.log)
    one.plugin.process.send_signal(signal.SIGSTOP)
    names = [str(one.path("node2/dev3/2") / name) for name in ("x0", "x1")]
    Path(names[0]).touch()
    for number in range(events_held() * 6 // 10):
        os.rename(names[number % 2], names[1 - number % 2])  # noqa: PTH104  # two events, none like the one before
    for number in (1, 2):
        one.write(f"node2/dev3/{number}/health", "unhealthy lost\n")
    one.plugin.process.send_signal(signal.SIGCONT)
    await one.until(lambda: one.kubelet.devices(R3) == {
        "node2-dev3-1": "Unhealthy", "node2-dev3-2": "Unhealthy", "node2-dev3-3": "Healthy"})  # fmt: skip
    await one.plugin.logged("events_lost", since=since)
    assert await one.plugin.metric('fakehw_rescans_total{cause="overflow"}') > 0
    for number in (1, 2):
        one.write(f"node2/dev3/{number}/health", "healthy\n")
    await one.converged()


async def raise_limit(one: Scene, name: str, value: int) -> None:
    await one.shell(f"echo {value} > /proc/sys/user/{name}", inside=True)


@fault(
    LIMITS, "max_user_watches used up", "Read once a second instead; warning, metric; events again when raised",
    set_up=functools.partial(
        playing, "--http", "127.0.0.1:0", namespaces=True, before="echo 6 > /proc/sys/user/max_inotify_watches"
    ),
    needs_namespaces=True, tries=5,
)  # fmt: skip
async def watches(one: Scene) -> None:
    await raise_limit(one, "max_inotify_watches", 6)
    await one.plugin.logged("not_all_watched")
    await one.shell("mkdir tree/node2/dev3/9; echo healthy > tree/node2/dev3/9/health")
    await one.converged()
    await one.serves_others("node2/dev3/9")
    assert await one.plugin.metric("fakehw_watches_exhausted") == 1
    since = len(one.plugin.log)
    await raise_limit(one, "max_inotify_watches", 10_000)
    await one.plugin.logged("all_watched_again", since=since)
    await one.serves_others("node2/dev3/9")
    await one.shell("rm -r tree/node2/dev3/9")
    await one.converged()
    since = len(one.plugin.log)
    await raise_limit(one, "max_inotify_watches", 6)
    await one.shell("mkdir tree/node2/dev3/9; echo healthy > tree/node2/dev3/9/health")
    await one.plugin.logged("not_all_watched", since=since)
    await one.shell("rm -r tree/node2/dev3/9")
    await one.converged()


@fault(
    LIMITS, "max_user_instances used up", "Tree and kubelet looked at once a second; warning, metric; events when raised",
    set_up=functools.partial(
        playing, "--http", "127.0.0.1:0", namespaces=True, before="echo 0 > /proc/sys/user/max_inotify_instances"
    ),
    needs_namespaces=True, tries=1,
)  # fmt: skip
async def instances(one: Scene) -> None:
    await one.plugin.logged("not_all_watched")
    assert await one.plugin.metric("fakehw_watches_exhausted") == 1
    await one.serves_others()
    await one.kubelet.restart()
    await one.converged()
    since = len(one.plugin.log)
    await raise_limit(one, "max_inotify_instances", 100)
    await one.plugin.logged("all_watched_again", since=since)
    await one.serves_others()
    await one.converged()


@fault(
    LIMITS, "no file descriptor left (RLIMIT_NOFILE), through changes and a kubelet's restart",
    "The last state stands; all right within a second of the limit's end; warning, metric",
    set_up=functools.partial(playing, "--http", "127.0.0.1:0"), tries=5,
)  # fmt: skip
async def descriptors(one: Scene) -> None:
    since = len(one.plugin.log)
    before = resource.prlimit(one.plugin.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(one.plugin.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        one.write("node2/dev3/2/health", "unhealthy while nothing can be opened\n")
        await one.shell("mkdir tree/node2/dev3/9; echo healthy > tree/node2/dev3/9/health")
        await one.plugin.logged("not_all_watched", since=since)
        # Nothing that was healthy became unhealthy because we could not look.
        assert set(one.kubelet.devices(R3).values()) == {"Healthy"}, one.kubelet.devices(R3)
        await one.kubelet.restart()
    finally:
        resource.prlimit(one.plugin.pid, resource.RLIMIT_NOFILE, before)
    await one.converged()
    assert one.kubelet.devices(R3)["node2-dev3-2"] == "Unhealthy"
    await one.plugin.logged("all_watched_again", since=since)
    assert await one.plugin.metric('fakehw_rescans_total{cause="limits"}') > 0
    await one.shell("rm -r tree/node2/dev3/9; echo healthy > tree/node2/dev3/2/health")
    await one.converged()
    await one.serves_others()


@fault(
    LIMITS, "more classes than file descriptors (hard limit of 190: five resources)",
    "Those that are served go on; the others are named, wait, and come in when one leaves", tries=3,
    set_up=functools.partial(playing, namespaces=True, before="ulimit -n 190"), needs_namespaces=True,
)  # fmt: skip
async def classes(one: Scene) -> None:
    since = len(one.plugin.log)
    await one.shell("for n in $(seq 10 29); do mkdir -p tree/a/dev$n/1; echo healthy > tree/a/dev$n/1/health; done")
    await one.plugin.logged("resources_not_served", since=since)
    extra = [f"myplugin.io/mydevice-{number}" for number in range(10, 30)]
    await one.until(lambda: sum(one.kubelet.live_streams(name) for name in extra) == 2)
    await one.serves_others()
    served = {name for name in extra if one.kubelet.live_streams(name)}
    for name in served:
        await one.shell(f"rm -r tree/a/dev{name.rpartition('-')[2]}")
    await one.until(lambda: sum(one.kubelet.live_streams(name) for name in set(extra) - served) == 2)
    await one.kubelet.restart()
    await one.until(lambda: all(one.kubelet.live_streams(name) for name in (R1, R2, R3)))
    await one.serves_others()
    await one.shell("rm -r tree/a")
    await one.converged()
