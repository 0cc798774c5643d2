"""What a running fleet can be told from outside: restart a kubelet, fall silent, speak again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fakehw.errors import FakehwError
from fakehw_fleet.cluster.node import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakehw_fleet.cluster.fleet import ClusterFleet


class Orders:
    """Carries out what arrives at the control socket."""

    def __init__(self, fleet: ClusterFleet) -> None:
        self._fleet = fleet

    async def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked; FakehwError says why not."""
        names = self._known(order.get("nodes") or [])
        what = order.get("order")
        if what == "restart":
            await asyncio.gather(*(self._fleet.restart(name) for name in names))
        elif what == "silence":
            for name in names:
                self._fleet.silence(name)
                if (for_s := order.get("for_s")) is not None:
                    asyncio.get_running_loop().call_later(for_s, self._fleet.speak, name)
        elif what == "speak":
            for name in names:
                self._fleet.speak(name)
        else:
            raise FakehwError(f"{what!r}: is no order that this fleet knows")
        return {"nodes": names}

    def _known(self, names: Sequence[str]) -> list[str]:
        for name in names:
            if name not in self._fleet.nodes:
                raise FakehwError(f"{name}: is no node of this fleet (NODE)")
            if self._fleet.nodes[name].state is State.GONE:
                raise FakehwError(f"{name}: its Node was deleted (NODE)")
        return list(names)
