"""Test doubles for device plugins: a fake kubelet, and a small local cluster on it. Never imported by the plugin.

    async with fakekubelet.FakeKubelet(Path("/tmp/dp")) as kubelet:
        ...                                               # start any v1beta1 plugin on /tmp/dp
        await kubelet.wait_for(lambda: kubelet.allocatable.get("example.com/dongle") == 3)
        admitted = await kubelet.admit(fakekubelet.pod.simple("mine", {"example.com/dongle": 1}))

    kubelet/       a kubelet, in modules that mirror the kubelet's own and cite the contract (docs/kubelet-contract.md)
    cluster/       nodes, a scheduler's queue, pods as local processes
    conformance/   does a plugin keep the contract? the command `fakehw-conformance`
    blocking       all of it for code without an event loop
    fake_node      a node on a clock that stands still
    stub_plugin    the other side: a plugin whose every answer is a parameter
    pod, clock, changes   manifests; time; waiting for a state

docs/fake-kubelet.md says what is emulated and what is not. Nothing here imports anything of the plugin but its wire
API, so that a mistake cannot hide on both sides. The fixtures for pytest are a package of their own,
`pytest_fakekubelet`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fakekubelet import pod
    from fakekubelet.blocking import Blocking
    from fakekubelet.clock import ManualClock, RealClock
    from fakekubelet.cluster.cluster import LocalCluster
    from fakekubelet.fake_dra_node import FakeDraNode
    from fakekubelet.fake_node import FakeNode
    from fakekubelet.kubelet.kubelet import FakeKubelet
    from fakekubelet.kubelet.mode import Mode
    from fakekubelet.stub_plugin import StubPlugin

__all__ = [
    "Blocking", "FakeDraNode", "FakeKubelet", "FakeNode", "LocalCluster", "ManualClock", "Mode", "RealClock",
    "StubPlugin", "pod",
]  # fmt: skip  # one list

_HOMES: Final = {
    "Blocking": "blocking",
    "FakeDraNode": "fake_dra_node",
    "FakeKubelet": "kubelet.kubelet",
    "FakeNode": "fake_node",
    "LocalCluster": "cluster.cluster",
    "ManualClock": "clock",
    "Mode": "kubelet.mode",
    "RealClock": "clock",
    "StubPlugin": "stub_plugin",
}


def __getattr__(name: str) -> Any:  # loaded when it is first asked for: few need all of it, and gRPC takes its time
    if name == "pod":
        return importlib.import_module(f"{__name__}.pod")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
