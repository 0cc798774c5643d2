"""Hardware that does not exist: a tree of small text files, and the tools that build and change it.

    topology = fakehw.load_topology("topology.yaml")
    tree = fakehw.FakeTree("/tmp/fakehw")
    tree.build(topology)
    tree.set_health("node2/dev3/2", "unhealthy", reason="over temperature")

How the modules stand to each other: `cli` speaks to people, by a `command_line`; `tree` writes, by a `plan` and a
`stage`; `reading` reads; `spec` makes a `topology` from a `document`; `applied` remembers it; `layout` is what a tree
looks like (docs/tree.md).
"""

from __future__ import annotations

# All of it at once: a module imported later, under pyfakefs, would hold on to a file system that is gone.
from fakehw.errors import FakehwError, InputError, SpecError, TreeError
from fakehw.layout import Health, TreePath
from fakehw.spec.check import load_topology, make_topology
from fakehw.spec.topology import Topology
from fakehw.tree.writer import FakeTree

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
