"""What a DRA driver is tested on, made by hand: a bench on which a test plays the driver, and a clock that it moves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fakekubelet.clock import RealClock
from fakekubelet.conformance.dra.evidence import Entry, Evidence, Exchange, Prepared
from fakekubelet.conformance.dra.settings import Limits, Settings
from fakekubelet.kubelet.call_log import CallLog

DRIVER = "gpu.example.com"
LIMITS = Limits(
    start_s=7.5, stop_s=4.5, publish_s=2.5, change_s=3.5, reply_s=1.5, recovery_s=6.5, republish_s=8.5, quiet_s=5.5
)


def taint(key: str = "sick", effect: str = "NoExecute") -> dict[str, Any]:
    return {"taints": [{"key": key, "effect": effect}]}


class Bench:
    """Like the kit's own; everything that is done goes into `log`."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(
            **{"command": ("driver",), "root": Path("/r"), "cdi_dir": Path("/c"), "limits": LIMITS, **settings}
        )
        self.limits = self.settings.limits
        self.seen = Evidence(self.settings, DRIVER)
        self.log: list[Any] = []
        self.now = 100.0
        self.script: list[Any] = []
        """What happens while somebody waits, one step after the other."""
        self.hooks: dict[str, Any] = {}
        """What a shell command does."""
        self.driver = Driver(self)
        self.slices = Slices(self)
        self.health = Health(self)
        self.claims = Claims(self)
        self.onlooker = SimpleNamespace(until=self.until, wake=lambda: None)
        self.is_usable, self.client = True, "the client"
        self.comes = {"registered": True, "usable": True, "revived": True}
        self.kubelet = SimpleNamespace(
            calls=CallLog(RealClock(), lambda: None),
            start=self._does("kubelet starts"),
            stop=self._does("kubelet stops"),
        )
        self.api = SimpleNamespace(forget_history=self._notes("forget history"), cut_watches=self._notes("cut watches"))
        self.dra = SimpleNamespace(
            cdi=SimpleNamespace(specs=lambda: ([], []), inject=lambda ids: f"edits of {','.join(ids)}"), arrivals=[],
            forget_boot=self._notes("forget boot"), drivers=SimpleNamespace(wiped=[], is_usable=lambda name: self.is_usable),
        )  # fmt: skip  # the kubelet's half

    def _does(self, what: str) -> Any:
        async def do() -> None:
            self.log.append(what)
            self.happens(what)

        return do

    def _notes(self, what: str) -> Any:
        return lambda: self.log.append(what)

    def happens(self, what: str) -> None:
        """Let pass what a test has given for *what*."""
        self.hooks.get(what, lambda: None)()

    def progress(self, what: str) -> None:
        self.log.append(f"- {what}")

    def time(self) -> SimpleNamespace:
        return SimpleNamespace(monotonic=lambda: self.now)

    async def until(self, condition: Any, limit_s: float) -> bool:
        self.log.append(f"until {limit_s:g}")
        while not condition():
            if not self.script:
                return False
            self.script.pop(0)()
        return True

    async def run_hook(self, command: str, settings: Any) -> None:
        assert settings is self.settings
        self.log.append(command)
        self.now += 0.25
        self.happens(command)

    async def registered(self, since: float, limit_s: float) -> bool:
        self.log.append(f"registered since {since:g} within {limit_s:g}")
        return self.comes["registered"]

    async def becomes_usable(self) -> bool:
        self.log.append("becomes usable")
        return self.comes["usable"]

    async def revive(self) -> bool:
        self.log.append("revive")
        return self.comes["revived"]

    async def look_on(self, situation: str) -> None:
        self.log.append(f"look on {situation}")


class Driver:
    """The driver's process."""

    def __init__(self, bench: Bench, name: str = "driver") -> None:
        self.bench, self.name = bench, name
        self.is_running, self.exit_code, self.ends_in_time = True, None, True
        self.around = self.on_exit = None

    async def start(self) -> None:
        self.bench.log.append(f"{self.name} starts")
        self.is_running = True
        self.bench.happens(f"{self.name} starts")

    async def kill(self) -> None:
        self.bench.log.append(f"{self.name} killed")
        self.is_running = False
        self.bench.happens(f"{self.name} killed")

    async def terminate(self, timeout_s: float) -> bool:
        self.bench.log.append(f"{self.name} terminated within {timeout_s:g}")
        self.is_running = False
        self.bench.now += 0.75
        self.bench.happens(f"{self.name} terminated")
        return self.ends_in_time

    async def close(self) -> None:
        self.bench.log.append(f"{self.name} closed")


class Slices:
    """The slices, as devices by pool and name."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.now: dict[tuple[str, str], dict[str, Any]] = {}
        self.names, self.deleted, self.writes, self.is_wiping, self.wrong = ["s1"], [], 0, False, ""

    def devices(self) -> dict[tuple[str, str], dict[str, Any]]:
        return dict(self.now)

    def all(self) -> list[dict[str, Any]]:
        return [{"metadata": {"name": name}} for name in self.names]

    def problem(self) -> str:
        return self.wrong

    def wipe(self) -> None:
        self.bench.log.append("wipe")
        self.now, self.names = {}, []
        self.bench.happens("wipe")


class Health:
    """Health messages: when, and device to state."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.said: list[tuple[float, Any]] = []

    def messages(self, since: float = 0.0) -> list[tuple[float, Any]]:
        return [(at, message) for at, message in self.said if at >= since]

    def of(self, key: tuple[str, str], since: float = 0.0) -> int | None:
        found = self.messages(since)
        return found[-1][1].get(key) if found else None


class Claims:
    """Makes claims, c1 and so on."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.made = bench, 0

    def make(self, devices: Any, **named: Any) -> dict[str, Any]:
        self.made += 1
        name = f"c{self.made}"
        self.bench.log.append(("make", name, list(devices), named))
        return {"metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"}}

    def delete(self, claim: dict[str, Any]) -> None:
        self.bench.log.append(("delete", claim["metadata"]["name"]))


def answered(purpose: str, *devices: tuple[str, str], error: str = "", ids: tuple[str, ...] = ("v/c=d",)) -> Exchange:
    """Return a call that was answered with devices."""
    prepared = tuple(Prepared(pool, name, (), ids) for pool, name in devices)
    return Exchange(purpose, "NodePrepareResources", ("u",), {"u": Entry(error, prepared)})
