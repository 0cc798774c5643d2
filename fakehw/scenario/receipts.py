"""Receipts: did a change land everywhere, and when. Bookkeeping only; what was observed is handed in, with its time.

An observation settles the latest change of its device that it can be the effect of. What came before that one and was
not observed by then was passed over: the plugin joins changes that come close together, and a kubelet that is asked
every 20 ms may have been asked too late.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from fakehw.layout import TreePath
    from fakehw.scenario.timeline import Change

SLACK_S: Final = 0.0005
"""Between two clocks of one machine: a log line with microseconds, rounded."""

HEARD_S: Final = 1.0
"""For so long somebody who said something counts as there: changes that come close together are joined in silence."""

REMOVED: Final = "removed"

_COMPARED: Final = 200
"""Characters of a reason; the plugin cuts long ones."""


@dataclass(frozen=True, slots=True)
class State:
    """What the plugin says of a device: Healthy, Unhealthy or removed, and why."""

    health: str
    reason: str = ""

    def shows(self, wanted: State) -> bool:
        """Tell whether this is what `wanted` comes to: a device that a pod holds is not removed, but unplugged."""
        if wanted.health == REMOVED:
            return self.health == REMOVED or (self.health, self.reason) == ("Unhealthy", "unplugged")
        return self.health == wanted.health and self.reason[:_COMPARED] == wanted.reason[:_COMPARED]


@dataclass(slots=True)
class Hop:
    """One place where a change has to arrive, for all the devices that it makes a difference to."""

    expected: int = 0
    arrived: int = 0
    passed_over: int = 0
    missing: int = 0
    last_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether some device has not arrived and was not given up."""
        return self.arrived + self.passed_over + self.missing < self.expected


@dataclass(slots=True)
class Receipt:
    """What became of one change. Times are those of the wall clock, in seconds."""

    number: int
    change: Change
    written_at: float
    problem: str = ""
    seen: Hop = field(default_factory=Hop)
    """By the plugin."""
    landed: Hop = field(default_factory=Hop)
    """In the kubelet's allocatable."""
    in_slice: Hop = field(default_factory=Hop)
    """In a ResourceSlice that the API server has taken; of what is served by DRA, which no kubelet counts."""

    @property
    def is_complete(self) -> bool:
        """Tell whether nothing more is waited for."""
        return not self.seen.is_open and not self.landed.is_open and not self.in_slice.is_open

    def as_dict(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "number": self.number,
            "at_s": round(self.change.at_s, 6),
            "step": self.change.step,
            "act": self.change.act.value,
            "devices": [str(path) for path in self.change.paths],
            "name": self.change.name,
            "text": self.change.text,
            "written_at": self.written_at,
            "problem": self.problem,
            "seen": asdict(self.seen),
            "landed": asdict(self.landed),
            "in_slice": asdict(self.in_slice),
        }


@dataclass(slots=True)
class _Expected:
    receipt: Receipt
    hop: Hop
    state: State | bool | str


class Ledger:
    """All receipts of a run. `tell` is given each one when it is complete, in the order of the changes.

    `by_dra` are the IDs of the devices whose class is served by DRA.
    """

    def __init__(
        self,
        states: Mapping[str, State],
        *,
        has_plugin: bool,
        has_kubelet: bool,
        tell: Callable[[Receipt], None],
        by_dra: Collection[str] = (),
    ) -> None:
        self.receipts: list[Receipt] = []
        self._has_plugin = has_plugin
        self._has_kubelet = has_kubelet
        self._tell = tell
        self._by_dra = frozenset(by_dra)
        self._told = 0
        self._wanted = dict(states)
        """By device ID, after all changes so far."""
        self._seen = dict(states)
        self._landed = {device_id: state.health == "Healthy" for device_id, state in states.items()}
        self._in_slice = {device_id: state.health for device_id, state in states.items()}
        self._plugin_heard_at = self._kubelet_heard_at = -math.inf
        """When they last said anything at all: what nobody can have seen was not passed over."""
        self._waiting_seen: dict[str, list[_Expected]] = {}
        self._waiting_landed: dict[str, list[_Expected]] = {}
        self._waiting_in_slice: dict[str, list[_Expected]] = {}

    @property
    def is_waiting_to_land(self) -> bool:
        """Tell whether the kubelet is worth asking."""
        return bool(self._waiting_landed)

    @property
    def is_complete(self) -> bool:
        """Tell whether every receipt is."""
        return self._told == len(self.receipts)

    def enter(self, change: Change, written_at: float, wanted: Mapping[TreePath, State], problem: str = "") -> Receipt:
        """Take note of a change that was made; `wanted` is what its devices are to become."""
        receipt = Receipt(len(self.receipts) + 1, change, written_at, problem)
        for path, state in wanted.items():
            was = self._wanted.get(path.id, State(REMOVED))
            self._wanted[path.id] = state
            if self._has_plugin and was != state:
                self._expect(self._waiting_seen, path.id, _Expected(receipt, receipt.seen, state))
            is_healthy = state.health == "Healthy"
            if path.id in self._by_dra:
                if self._has_plugin and was.health != state.health:
                    self._expect(self._waiting_in_slice, path.id, _Expected(receipt, receipt.in_slice, state.health))
            elif self._has_kubelet and is_healthy != (was.health == "Healthy"):
                self._expect(self._waiting_landed, path.id, _Expected(receipt, receipt.landed, is_healthy))
        self.receipts.append(receipt)
        self._tell_complete()
        return receipt

    def hear_plugin(self, at: float) -> None:
        """Take note that the plugin said something, whatever it was: it is there."""
        self._plugin_heard_at = max(self._plugin_heard_at, at)

    def observe_plugin(self, at: float, device_id: str, state: State) -> None:
        """Take note of what the plugin said of a device."""
        self.hear_plugin(at)
        self._seen[device_id] = state
        self._settle(
            self._waiting_seen, device_id, at, lambda wanted: isinstance(wanted, State) and state.shows(wanted)
        )
        self._tell_complete()

    def observe_slice(self, at: float, device_id: str, health: str) -> None:
        """Take note that a slice was written that says a device is Healthy or Unhealthy, or has it removed."""
        self.hear_plugin(at)
        self._in_slice[device_id] = health
        self._settle(self._waiting_in_slice, device_id, at, lambda wanted: _is_shown(health, wanted))
        self._tell_complete()

    def observe_unnamed(self, at: float, count: int, resource_of: Callable[[str], bool]) -> None:
        """Take note that the plugin said so many devices changed, of those that fit, without naming them."""
        self.hear_plugin(at)
        for device_id in [device_id for device_id in self._waiting_seen if resource_of(device_id)][:count]:
            wanted = self._waiting_seen[device_id][-1].state
            assert isinstance(wanted, State)
            self._seen[device_id] = wanted
            self._settle(self._waiting_seen, device_id, at, wanted.__eq__)
        self._tell_complete()

    def observe_kubelet(
        self, asked_at: float, answered_at: float, allocatable: frozenset[str], *, is_whole: bool = True
    ) -> None:
        """Take note of the device IDs that kubelets had to give when they were asked, and told by `answered_at`.

        Unless the answer `is_whole`, some did not answer: then a device that is not in it may be theirs.
        """
        if is_whole:
            self._kubelet_heard_at = max(self._kubelet_heard_at, asked_at)
        for device_id in tuple(self._waiting_landed):
            is_there = device_id in allocatable
            if not is_there and not is_whole:
                continue
            self._landed[device_id] = is_there
            self._settle(self._waiting_landed, device_id, asked_at, is_there.__eq__, known_at=answered_at)
        self._tell_complete()

    def give_up(self, receipt: Receipt) -> None:
        """Stop waiting for a receipt: what has not arrived is missing.

        It was passed over if the end is as wanted, and whoever should have seen it was heard since, or just before.
        """
        for waiting, known, heard_at in (
            (self._waiting_seen, self._seen, self._plugin_heard_at),
            (self._waiting_landed, self._landed, self._kubelet_heard_at),
            (self._waiting_in_slice, self._in_slice, self._plugin_heard_at),
        ):
            for device_id in tuple(waiting):
                self._give_up(waiting, known, device_id, receipt, is_heard=heard_at + HEARD_S >= receipt.written_at)
        self._tell_complete()

    def _give_up(
        self,
        waiting: dict[str, list[_Expected]],
        known: Mapping[str, State | bool | str],
        device_id: str,
        receipt: Receipt,
        *,
        is_heard: bool,
    ) -> None:
        queue, now = waiting[device_id], known.get(device_id)
        last = queue[-1].state
        is_as_wanted = now.shows(last) if isinstance(now, State) and isinstance(last, State) else _is_shown(now, last)
        for expected in [expected for expected in queue if expected.receipt is receipt]:
            queue.remove(expected)
            if is_as_wanted and is_heard:
                expected.hop.passed_over += 1
            else:
                expected.hop.missing += 1
        if not queue:
            del waiting[device_id]

    @staticmethod
    def _expect(waiting: dict[str, list[_Expected]], device_id: str, expected: _Expected) -> None:
        expected.hop.expected += 1
        waiting.setdefault(device_id, []).append(expected)

    @staticmethod
    def _settle(
        waiting: dict[str, list[_Expected]],
        device_id: str,
        at: float,
        fits: Callable[[State | bool | str], bool],
        *,
        known_at: float | None = None,
    ) -> None:
        queue = waiting.get(device_id, [])
        found = [
            index
            for index, expected in enumerate(queue)
            if expected.receipt.written_at <= at + SLACK_S and fits(expected.state)
        ]
        if not found:
            return
        for expected in queue[: found[-1]]:
            expected.hop.passed_over += 1
        hop = queue[found[-1]].hop
        hop.arrived += 1
        known_at = at if known_at is None else known_at
        hop.last_at = max(known_at, hop.last_at or known_at)
        del queue[: found[-1] + 1]
        if not queue:
            del waiting[device_id]

    def _tell_complete(self) -> None:
        while self._told < len(self.receipts) and self.receipts[self._told].is_complete:
            self._told += 1
            self._tell(self.receipts[self._told - 1])


def _is_shown(found: object, wanted: object) -> bool:
    """Tell whether what is told of a device is what is wanted: one that is held is not removed, but unhealthy."""
    return found == wanted or (wanted == REMOVED and found == "Unhealthy")
