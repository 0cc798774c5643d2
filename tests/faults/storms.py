"""More changes than anybody can follow: the last state must be right at once, and nobody be starved."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import subprocess
import sys
import time
from typing import Final

from tests.faults import reading
from tests.faults.catalogue import fault
from tests.faults.scene import R3, Scene, playing

STORM: Final = "Storms"
CONVERGENCE_S: Final = 0.25
"""From the last write to the kubelet's list, on a machine with nothing else to do."""


def in_time(took_s: float) -> str:
    """Say how long it took; AssertionError if that is too long, even with so many others on the machine's cores."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    crowd = max(1.0, load / cores)
    text = f"{max(took_s, 0) * 1000:.0f} ms after the last write"
    assert took_s < CONVERGENCE_S * crowd, f"{text}, with a load of {load:.0f}"
    return text if crowd < 2 else f"{text} (with a load of {load:.0f} on {cores} cores)"


WRITER: Final = """
import os, random, sys, time
paths, rate, seconds, dice = sys.argv[4:], int(sys.argv[1]), float(sys.argv[2]), random.Random(int(sys.argv[3]))
began, written = time.monotonic(), 0
while (passed := time.monotonic() - began) < seconds:
    while written < passed * rate and time.monotonic() - began < seconds:
        fd = os.open(dice.choice(paths), os.O_WRONLY | os.O_TRUNC)
        os.write(fd, dice.choice((b"healthy\\n", b"unhealthy in a storm\\n")))
        os.close(fd)
        written += 1
    time.sleep(0.0005)
print(written, time.monotonic(), time.monotonic() - began)
"""


async def storm(one: Scene, *, seconds: float, rate: int = 10_000) -> str:
    before = await one.gauge()
    lists = len(one.kubelet.history(R3))
    paths = [str(one.path(f"node2/dev3/{number}/health")) for number in range(1, 101)]
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(rate), str(seconds), str(random.randrange(1 << 30)), *paths,
        stdout=subprocess.PIPE,
    )  # fmt: skip  # one process
    output, _ = await writer.communicate()
    written, last, elapsed = int(output.split()[0]), float(output.split()[1]), float(output.split()[2])
    wanted = {one_id: entry[0] for one_id, entry in reading.read(one.root)[R3].items()}
    await one.until(lambda: one.kubelet.devices(R3) == wanted)
    took = one.kubelet.history(R3)[-1].at - last
    after = await one.gauge()
    sent = len(one.kubelet.history(R3)) - lists
    cpu = (after.cpu_s - before.cpu_s) / elapsed
    right = in_time(took)
    assert after.rss_mib - before.rss_mib < 32, (before, after)
    return (
        f"{written / elapsed:,.0f} writes/s, {sent / elapsed:.0f} lists/s, right {right}, "
        f"{cpu * 100:.0f} % of a core, RSS {before.rss_mib:.1f} → {after.rss_mib:.1f} MiB"
    )


HUNDRED = functools.partial(playing, paths=["node2/dev1/", *(f"node2/dev3/{number}" for number in range(1, 101))])


@fault(
    STORM,
    "up to 10,000 health writes a second, of 100 devices, for 30 s",
    "Right within 250 ms of the last write",
    set_up=HUNDRED,
    tries=1,
)
async def long_storm(one: Scene) -> str:
    return await storm(one, seconds=30)


@fault(
    STORM,
    "up to 10,000 health writes a second, of 100 devices, for 2 s",
    "Right within 250 ms of the last write",
    set_up=HUNDRED,
    tries=5,
)
async def short_storm(one: Scene) -> str:
    return await storm(one, seconds=2)


@fault(
    STORM, "1,000 devices flipped at once", "Right within 250 ms of the last write, in a few lists", tries=10,
    set_up=functools.partial(playing, paths=["node2/dev1/", *(f"node2/dev3/{number}" for number in range(1, 1001))]),
)  # fmt: skip
async def flipped(one: Scene) -> str:
    figure = ""
    for word in ("unhealthy", "healthy"):
        lists = len(one.kubelet.history(R3))
        fds = [os.open(one.path(f"node2/dev3/{number}/health"), os.O_WRONLY | os.O_TRUNC) for number in range(1, 1001)]
        for fd in fds:
            os.write(fd, f"{word}\n".encode())
            os.close(fd)
        last = time.monotonic()
        await one.until(lambda word=word: set(one.kubelet.devices(R3).values()) == {word.capitalize()})
        took = one.kubelet.history(R3)[-1].at - last
        sent = len(one.kubelet.history(R3)) - lists
        figure = f"right {in_time(took)}, {sent} lists"
        assert sent < 100, sent
    return figure
