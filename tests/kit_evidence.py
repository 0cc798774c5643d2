"""What the conformance kit may have seen of a plugin, made by hand, and a kubelet through which it sees more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakekubelet.clock import RealClock
from fakekubelet.conformance.evidence import TIMED_OUT, Evidence, Exchange, Instance, Options
from fakekubelet.conformance.settings import Limits, Settings
from fakekubelet.conformance.verdict import Result, Verdict
from fakekubelet.kubelet.call_log import CallLog
from fakekubelet.kubelet.device import DeviceList
from fakekubelet.kubelet.registration import Registration
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

X, Y = "example.com/x", "example.com/y"
DIRECTORY = Path("/dp")
LATE = TIMED_OUT
DIED = "rpc error: code = Unavailable desc = gone"


def kept(text: str) -> Result:
    return Result(Verdict.KEPT, text)


def broken(text: str) -> Result:
    return Result(Verdict.BROKEN, text)


def unjudged(text: str) -> Result:
    return Result(Verdict.UNJUDGED, text)


def seen(*resources: str, limits: Limits | None = None, settings: Settings | None = None, **fields: Any) -> Evidence:
    """Return the evidence of a plugin of *resources* that the kit has started itself."""
    given = settings or Settings(command=("plugin",), plugin_dir=DIRECTORY, limits=limits or Limits())
    return Evidence(given, list(resources or [X]), **fields)


def life(
    *registrations: Registration, started: float = 0.0, arrived_s: dict[str, float] | None = None, **lists: Any
) -> Instance:
    """Return one life of the plugin; *lists* are those of X and Y by the letter."""
    names = {"x": X, "y": Y}
    received = {names[letter]: found for letter, found in lists.items()}
    return Instance(started, registrations=registrations, lists=received, arrived_s=arrived_s or {})


def registration(resource: str = X, **fields: Any) -> Registration:
    given = {"endpoint": "x.sock", "time": 1.0, "request_options": (False, False), **fields}
    return Registration(resource, **given)


def listed(*ids: str, **fields: Any) -> DeviceList:
    """Return a list of healthy devices; *health* has the words of others."""
    words = fields.pop("health", {})
    devices = {device_id: (words.get(device_id, "Healthy"), ()) for device_id in ids}
    return DeviceList(fields.pop("at", 1.0), devices, **fields)


def options(*, pre_start: bool = False, preferred: bool = False, took: float = 0.0) -> Options:
    return Options(pre_start, preferred, took)


def exchange(
    method: str, purpose: str, request: Any, reply: Any, error: str | None, took: float, resource: str
) -> Exchange:
    return Exchange(resource, method, purpose, request, None if error else reply, error, took)


def allocate(
    purpose: str = "first",
    *answers: pluginapi.ContainerAllocateResponse,
    empty: bool = False,
    error: str | None = None,
    took: float = 0.0,
    resource: str = X,
) -> Exchange:
    """Return an Allocate of one container; by default one plain answer, with *empty* none."""
    request = pluginapi.AllocateRequest(container_requests=[pluginapi.ContainerAllocateRequest(devices_ids=["a"])])
    given = [] if empty else answers or [pluginapi.ContainerAllocateResponse()]
    reply = pluginapi.AllocateResponse(container_responses=given)
    return exchange("Allocate", purpose, request, reply, error, took, resource)


def prefer(
    *chosen: str,
    purpose: str = "choice",
    available: str = "abc",
    must: str = "",
    size: int = 1,
    answers: int = 1,
    error: str | None = None,
    took: float = 0.0,
    resource: str = X,
) -> Exchange:
    """Return a GetPreferredAllocation, and what it chose."""
    asked = pluginapi.ContainerPreferredAllocationRequest(
        available_deviceIDs=available, must_include_deviceIDs=must, allocation_size=size
    )
    answer = pluginapi.ContainerPreferredAllocationResponse(deviceIDs=chosen)
    reply = pluginapi.PreferredAllocationResponse(container_responses=[answer] * answers)
    request = pluginapi.PreferredAllocationRequest(container_requests=[asked])
    return exchange("GetPreferredAllocation", purpose, request, reply, error, took, resource)


def pre_start(*, error: str | None = None, took: float = 0.0, resource: str = X) -> Exchange:
    request = pluginapi.PreStartContainerRequest(devices_ids=["a"])
    return exchange("PreStartContainer", "first", request, pluginapi.PreStartContainerResponse(), error, took, resource)


class Kubelet:
    """A kubelet that was told something; *script* is what happens while somebody waits."""

    def __init__(self, *registrations, script=(), **lists):
        self.registrations = list(registrations)
        self.lists = {X: lists.get("x", []), Y: lists.get("y", [])}
        self.streams = {}
        self.calls = CallLog(RealClock(), lambda: None)
        self.script = list(script)
        self.waited = []

    def history(self, resource):
        return self.lists.get(resource, [])

    def live_streams(self, resource):
        return self.streams.get(resource, 0)

    async def wait_for(self, predicate, *, timeout):
        self.waited.append(timeout)
        while not (value := predicate()):
            if not self.script:
                raise TimeoutError
            self.script.pop(0)(self)
        return value
