"""What a running fleet can be told from outside: restart a kubelet, fall silent, speak again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from fakehw.errors import FakehwError
from fakehw_fleet.cluster.node import State

if TYPE_CHECKING:
    from collections.abc import Container

    from fakehw_fleet.cluster.fleet import ClusterFleet


KNOWN: Final = ("restart", "silence", "speak")


def check(order: dict[str, Any], nodes: Container[str]) -> list[str]:
    """Return the nodes that an order is for; FakehwError if it is none, or they are no nodes of the fleet."""
    if order.get("order") not in KNOWN:
        raise FakehwError(f"{order.get('order')!r}: is no order that this fleet knows")
    names = list(order.get("nodes") or [])
    for name in names:
        if name not in nodes:
            raise FakehwError(f"{name}: is no node of this fleet (NODE)")
    return names


class Orders:
    """Carries out what arrives at the control socket."""

    def __init__(self, fleet: ClusterFleet) -> None:
        self._fleet = fleet

    async def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked; FakehwError says why not."""
        names = check(order, self._fleet.nodes)
        for name in names:
            if self._fleet.nodes[name].state is State.GONE:
                raise FakehwError(f"{name}: its Node was deleted (NODE)")
        what = order["order"]
        if what == "restart":
            await asyncio.gather(*(self._fleet.restart(name) for name in names))
        elif what == "silence":
            for name in names:
                self._fleet.silence(name)
                if (for_s := order.get("for_s")) is not None:
                    asyncio.get_running_loop().call_later(for_s, self._fleet.speak, name)
        else:
            for name in names:
                self._fleet.speak(name)
        return {"nodes": names}
