"""The slices that a driver has on a node, as far as the API server has said: in its watch, and in answers to writes.

Pure but for the clock: what is heard is put in, by whatever way it came, and the newest counts.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from fakehw_plugin.dra import names, plan
from kubeapi.follow import EventType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fakehw_plugin.dra.plan import Object, TaintKey
    from kubeapi.follow import Event


class StoredSlices:
    """All slices of `driver` on `node` by name, those of others too.

    `on_news` is called when others changed one, `on_lost` before that if it is gone.
    """

    def __init__(self, driver: str, node: str, *, on_news: Callable[[], None], on_lost: Callable[[str], None]) -> None:
        self.changed_by_others: list[float] = []
        """When others changed one that was known."""
        self._driver = driver
        self._node = node
        self._on_news = on_news
        self._on_lost = on_lost
        self._stored: dict[str, Object] = {}
        self._times: dict[str, dict[TaintKey, str]] = {}
        self._in_flight = ""
        self._waiting: list[Event] = []

    def __len__(self) -> int:
        return len(self._stored)

    def get(self, name: str) -> Object | None:
        """Return one, if it is there."""
        return self._stored.get(name)

    def ours(self) -> dict[str, Object]:
        """Return the slices that are called as ours. Others are let be: they may be of real devices."""
        driver, node = self._driver, self._node
        return {
            name: stored for name, stored in self._stored.items() if names.is_slice_name(name, driver=driver, node=node)
        }

    def rivals(self) -> set[str]:
        """Return the names of those that are not."""
        return self._stored.keys() - self.ours().keys()

    @property
    def is_taken(self) -> bool:
        """Tell whether somebody else serves a driver of this name on this node: it has slices, and we have none."""
        return bool(self._stored) and not self.ours()

    def times(self) -> dict[TaintKey, str]:
        """Return since when devices have their taints, those too whose slice somebody has deleted."""
        return {key: at for times in self._times.values() for key, at in times.items()}

    def remember(self, name: str, stored: Object) -> None:
        """Take note of what an answer says."""
        self._stored[name] = stored
        self._times[name] = plan.taint_times([stored])

    def forget(self, name: str, *, with_times: bool = False) -> None:
        """Take note that it is gone; `with_times` if it is meant to be, and its devices with it."""
        self._stored.pop(name, None)
        if with_times:
            self._times.pop(name, None)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Let events of this slice wait: that of our own write may come before its answer, and looks like another's."""
        self._in_flight, self._waiting = name, []
        try:
            yield
        finally:
            self._in_flight, waiting = "", self._waiting
            for event in waiting:
                self.take(event)

    def take(self, event: Event) -> None:
        """Take note of what the watch says of a slice."""
        name = event.object["metadata"]["name"]
        if name == self._in_flight:
            self._waiting.append(event)
            return
        known = self._stored.get(name)
        if known is not None and version(event.object) <= version(known):
            return  # our own write, or older than it
        if event.type is EventType.DELETED:
            if self._stored.pop(name, None) is not None:
                self._on_lost(name)
        else:
            if known is not None:
                self.changed_by_others.append(time.monotonic())
            self.remember(name, event.object)
        self._on_news()


def version(found: Object) -> int:
    """Return the resourceVersion as a number, which grows (KEP-5504); 0 where it is none."""
    text: Any = found["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else 0
