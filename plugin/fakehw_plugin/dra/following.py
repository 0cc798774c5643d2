"""How a publisher hears which slices a driver has on a node: by a watch of its own, unless others follow for many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from kubeapi.follow import Follow
from kubeapi.resources import RESOURCE_SLICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeapi import errors
    from kubeapi.client import Client
    from kubeapi.follow import Event

LONGEST_PAUSE_S: Final = 2.0


class Following(Protocol):
    """The slices of one driver on one node, followed; a kubeapi.follow.Follow, or a part of one for many nodes."""

    @property
    def is_synced(self) -> bool:
        """Tell whether all of them were told."""

    async def run(self) -> None:
        """Follow for ever."""


if TYPE_CHECKING:
    MakeFollowing = Callable[..., Following]
    """Called with a client, driver, node, `on_event` and `on_error`."""


def follow_slices(
    client: Client,
    driver: str,
    node: str,
    *,
    on_event: Callable[[Event], None],
    on_error: Callable[[errors.ApiError], None],
) -> Following:
    """Follow them by a watch of their own. A MakeFollowing."""
    return Follow(
        client,
        RESOURCE_SLICES,
        field_selector=f"spec.nodeName={node},spec.driver={driver}",
        on_event=on_event,
        on_error=on_error,
        longest_pause_s=LONGEST_PAUSE_S,
    )
