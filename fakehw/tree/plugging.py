"""What is to be there after something was plugged in: the part of the applied spec that was named, or one device more.

Values only; the tree is brought to it by a plan, as in a build.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fakehw import layout
from fakehw.errors import InputError
from fakehw.spec.topology import DeviceTemplate, FakeClass, FakeNode, Topology

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakehw.layout import TreePath


def merged(parts: Sequence[Topology]) -> Topology:
    """Return one topology with all that the parts name."""
    nodes: dict[str, FakeNode] = {}
    for node in (node for part in parts for node in part.nodes.values()):
        known = nodes.setdefault(node.name, node)
        classes = dict(known.classes)
        for name, fake_class in node.classes.items():
            devices = {**(classes[name].devices if name in classes else {}), **fake_class.devices}
            classes[name] = replace(fake_class, devices=devices)
        nodes[node.name] = replace(known, classes=classes)
    return Topology(nodes, {})


def part_to_plug(path: TreePath, topology: Topology | None) -> Topology:
    """Return the part of the applied spec at `path`; for a device that it does not list, one after its class."""
    node = topology.nodes.get(path.node) if topology else None
    if path.class_name is None:
        if node is None:
            raise InputError(f"{path}: is not a node of the applied spec: name a device, such as {path}/dev1/1 (PATH)")
        return Topology({path.node: node}, {})
    fake_class = node.classes.get(path.class_name) if node else None
    if path.number is None:
        if fake_class is None:
            raise InputError(f"{path}: is not a class of the applied spec: name a device, such as {path}/1 (PATH)")
    else:
        fake_class = _class_of_one(path, fake_class, topology)
    host = node.host if node else None
    return Topology({path.node: FakeNode(path.node, host, {fake_class.name: fake_class})}, {})


def _class_of_one(path: TreePath, listed: FakeClass | None, topology: Topology | None) -> FakeClass:
    assert path.class_name is not None
    assert path.number is not None
    domain = topology.document.get("domain", layout.DEFAULT_DOMAIN) if topology else layout.DEFAULT_DOMAIN
    resource = listed.resource if listed else layout.default_resource(path.class_name, domain)
    if resource is None:
        raise InputError(f"{path}: class {path.class_name} must have a resource: add it to the spec and build (PATH)")
    template = listed.template if listed else DeviceTemplate()
    device = listed.devices.get(path.number) if listed else None
    if device is None:
        device = template.make(path.node, path.class_name, path.number)
    return FakeClass(path.class_name, resource, {path.number: device}, template)
