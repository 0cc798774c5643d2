"""Hardware that does not exist: a tree of small text files, and the tools that build and change it.

    topology = fakehw.load_topology("topology.yaml")
    tree = fakehw.FakeTree("/tmp/fakehw")
    tree.build(topology)
    tree.set_health("node2/dev3/2", "unhealthy", reason="over temperature")

How the modules stand to each other: `cli` speaks to people; `tree` writes, by a `plan` and a `stage`; `reading` reads;
`spec` makes a `topology` from a `document`; `applied` remembers it; `layout` is what a tree looks like (docs/tree.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fakehw.errors import FakehwError, InputError, SpecError, TreeError
from fakehw.layout import Health, TreePath
from fakehw.topology import Topology
from fakehw.tree import FakeTree

if TYPE_CHECKING:
    from fakehw.spec import load_topology, make_topology

__all__ = [
    "FakeTree",
    "FakehwError",
    "Health",
    "InputError",
    "SpecError",
    "Topology",
    "TreeError",
    "TreePath",
    "load_topology",
    "make_topology",
]


def __getattr__(name: str) -> Any:  # a module attribute is of any type
    """Import what needs jsonschema when it is asked for: it takes longer to import than a health flip takes."""
    if name in ("load_topology", "make_topology"):
        from fakehw import spec

        return getattr(spec, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
