"""Hardware that does not exist: a tree of small text files, and the tools that build and change it.

    topology = fakehw.load_topology("topology.yaml")
    tree = fakehw.FakeTree("/tmp/fakehw")
    tree.build(topology)
    tree.set_health("node2/dev3/2", "unhealthy", reason="over temperature")

The rooms, each of which knows only those below it:

    cli          the command: its list of commands, exit codes
    commands/    one module a command: flags, words, which room does it
    scenario/    timed faults: a script becomes a timeline, a player plays it, receipts say what came of it
    view/        for whoever looks on: list, events, top, by a follower of the tree
    tree/        the tree on disk: snapshot, plan, stage, writer; `applied` remembers what was built
    spec/        a topology from YAML, checked
    parser       what the parsers of all commands share; output is how they print
    layout       what a tree looks like (docs/tree.md); errors, durations, resource_name, inotify
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
