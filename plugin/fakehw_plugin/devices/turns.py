"""In which order offers are opened, if a rim has no room for all of them. Pure.

Every fake node has its first class before any has its second, and so on: a node with classes without end does not keep
out the others.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from fakehw_plugin.device import natural_key

if TYPE_CHECKING:
    from collections.abc import Collection

    from fakehw_plugin.offer import Offer
    from fakehw_plugin.tree.known import Changes


def in_turn(offers: Collection[Offer], changes: Changes) -> list[Offer]:
    """Return `offers` in the order of people and in turn by node; those without a device in `changes` come last."""
    classes: defaultdict[str, dict[Offer, str]] = defaultdict(dict)
    for offer in offers:
        for device in changes.get(offer, {}).values():
            if device is not None:
                classes[device.node].setdefault(offer, device.class_name)
    places: dict[Offer, tuple[int, object]] = {}
    for node in sorted(classes, key=natural_key, reverse=True):
        of_node = classes[node]
        for turn, offer in enumerate(sorted(of_node, key=lambda offer: natural_key(of_node[offer]))):
            place = turn, natural_key(node)
            if offer not in places or turn <= places[offer][0]:
                places[offer] = place
    last = len(offers), ()
    return sorted(offers, key=lambda offer: (places.get(offer, last), offer))
