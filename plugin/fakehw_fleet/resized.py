"""A topology with another number of nodes: its one range made longer or shorter. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fakehw.errors import InputError
from fakehw.spec import check, ranges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakehw.spec.topology import Topology


def resized(topology: Topology, nodes: int, *, source: str) -> Topology:
    """Return the topology with `nodes` nodes in its range; InputError if it has none, or several."""
    keys: Mapping[str, Any] = topology.document["nodes"]
    found = [key for key in keys if ranges.Names.parse(key).is_range]
    if len(found) != 1:
        problem = f"{source}: {len(found)} ranges of nodes: must have one, such as gpu-[1-4]"
        raise InputError(f"{problem}, for its number to be changed (--nodes)")
    (key,) = found
    names = ranges.Names.parse(key)
    assert names.first is not None
    width = max(names.width, len(str(names.first + nodes - 1)) if names.width else 0)
    first, last = f"{names.first:0{width}d}", f"{names.first + nodes - 1:0{width}d}"
    changed = {f"{names.prefix}[{first}-{last}]{names.suffix}" if one == key else one: keys[one] for one in keys}
    return check.make_topology({**topology.document, "nodes": changed}, source=source)
