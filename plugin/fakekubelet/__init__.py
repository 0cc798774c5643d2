"""Test doubles for device plugins: a fake kubelet, and a small local cluster on it. Never imported by the plugin.

    async with fakekubelet.FakeKubelet(Path("/tmp/dp")) as kubelet:
        ...                                               # start any v1beta1 plugin on /tmp/dp
        await kubelet.wait_for(lambda: kubelet.allocatable.get("example.com/dongle") == 3)
        admitted = await kubelet.admit(pod.simple("mine", {"example.com/dongle": 1}))

The modules mirror the kubelet's own and cite the contract (docs/kubelet-contract.md); kubelet.py puts them together,
and docs/fake-kubelet.md says what is emulated and what is not. They import nothing of the plugin but its wire API, so
that a mistake cannot hide on both sides.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fakekubelet.clock import ManualClock, RealClock
    from fakekubelet.kubelet.kubelet import FakeKubelet, Mode

__all__ = ["FakeKubelet", "ManualClock", "Mode", "RealClock"]

_HOMES: Final = {
    "FakeKubelet": "kubelet.kubelet",
    "ManualClock": "clock",
    "Mode": "kubelet.kubelet",
    "RealClock": "clock",
}


def __getattr__(name: str) -> Any:  # a class, loaded when it is first asked for
    # Every run of pytest loads this package, by its fixtures' entry point, and few need gRPC.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
