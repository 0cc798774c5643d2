"""From outages of servers to a fault log of fake devices. Which device it was nobody wrote down: chance decides.

Pure: the same outages, nodes and seed give the same log.
"""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fakehw import layout
from fakehw.scenario.fault_log import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fakehw.spec.topology import FakeNode

PARTS: Final = {
    "gpu": ("gpu", "tpu", "fpga", "npu", "accel"),
    "nic": ("nic", "rdma", "hca", "net", "ib"),
    "node": (),
}
"""What may break, and words in the names of classes of such devices. Where a node has none, any device will do."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A server, or a part of it, is out from one moment to another, both in seconds from the start."""

    begins_s: float
    ends_s: float
    server: str
    part: str
    reason: str
    devices: int = 1
    """How many devices of the part it takes at once."""


def devices_of(node: FakeNode, part: str) -> list[str]:
    """Return the devices of a node that may stand for a part, as CLASS/NUMBER."""
    words = PARTS[part]
    fitting = [
        fake_class
        for fake_class in node.classes.values()
        if any(word in text for word in words for text in (fake_class.name, fake_class.resource.partition("/")[2]))
    ]
    return [
        f"{fake_class.name}/{number}"
        for fake_class in fitting or node.classes.values()
        for number in fake_class.devices
    ]


def place(outages: Iterable[Outage], nodes: dict[str, FakeNode], *, seed: int, whole_nodes: bool) -> Iterator[Row]:
    """Yield the rows of a log, in the order of time; `nodes` says which node stands for which server.

    A device that is out already is not chosen as long as another is there; it is mended when its last outage ends.
    """
    source = random.Random(f"place/{seed}")  # noqa: S311  # repeatable on purpose, guards nothing
    active: dict[tuple[str, str], int] = {}
    endings: list[tuple[float, int, str, tuple[str, ...]]] = []
    count = itertools.count()

    def end_until(moment: float) -> Iterator[Row]:
        while endings and endings[0][0] <= moment:
            at_s, _, node, devices = heapq.heappop(endings)
            for device in devices:
                active[node, device] -= 1
                if not active[node, device]:
                    yield Row(at_s, node, device, "mend")

    for outage in sorted(outages, key=lambda outage: outage.begins_s):
        yield from end_until(outage.begins_s)
        node = nodes[outage.server]
        devices = _choose(node, outage, active, source, whole_nodes=whole_nodes)
        for device in devices:
            active[node.name, device] = active.get((node.name, device), 0) + 1
            yield Row(outage.begins_s, node.name, device, "break", outage.reason)
        heapq.heappush(endings, (outage.ends_s, next(count), node.name, devices))
    yield from end_until(float("inf"))


def _choose(
    node: FakeNode, outage: Outage, active: dict[tuple[str, str], int], source: random.Random, *, whole_nodes: bool
) -> tuple[str, ...]:
    if whole_nodes:
        return ("",)
    fitting = devices_of(node, outage.part)
    free = [device for device in fitting if not active.get((node.name, device))] or fitting
    return tuple(source.sample(free, min(outage.devices, len(free))))


def assign(servers: Sequence[str], nodes: Sequence[str], *, seed: int) -> dict[str, str]:
    """Return a node for each server, each another one, by chance."""
    source = random.Random(f"assign/{seed}")  # noqa: S311  # repeatable on purpose, guards nothing
    return dict(zip(servers, source.sample(list(nodes), len(servers)), strict=True))


def reason_of(*words: str) -> str:
    """Return a reason of at most 200 characters, each word once."""
    return layout.one_line(": ".join(dict.fromkeys(word for word in words if word)))[:200]
