"""What is to be there after something was plugged in: the part of the applied spec that was named, or one device more.

Values only; the tree is brought to it by a plan, as in a build, and by what is kept of what was unplugged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fakehw import layout
from fakehw.errors import InputError
from fakehw.spec.topology import DeviceTemplate, FakeClass, FakeNode, Topology

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakehw.layout import TreePath
    from fakehw.tree.snapshot import Snapshot


def merged(parts: Sequence[Topology]) -> Topology:
    """Return one topology with all that the parts name."""
    nodes: dict[str, FakeNode] = {}
    for node in (node for part in parts for node in part.nodes.values()):
        known = nodes.setdefault(node.name, node)
        classes = dict(known.classes)
        for name, fake_class in node.classes.items():
            known_class = classes.get(name)
            if known_class is not None:
                fake_class = replace(fake_class, devices={**known_class.devices, **fake_class.devices})
            classes[name] = fake_class
        nodes[node.name] = replace(known, classes=classes)
    return Topology(nodes, {})


@dataclass(frozen=True, slots=True)
class Plugging:
    """What plugging goes by: the applied spec, the tree as it is, and whether new nodes and classes may be made."""

    spec: Topology | None
    actual: Snapshot
    may_create: bool = False

    def is_listed(self, path: TreePath) -> bool:
        """Tell whether the applied spec lists the node, class or device at `path`."""
        node = self.spec.nodes.get(path.node) if self.spec else None
        if node is None or path.class_name is None:
            return node is not None
        fake_class = node.classes.get(path.class_name)
        return fake_class is not None and (path.number is None or path.number in fake_class.devices)

    def part(self, path: TreePath) -> Topology:
        """Return the part of the spec at `path`; for a device that it does not list, one after its class.

        InputError where that would make a node or class that is not there: more often than not, the name was mistyped.
        """
        node = self.spec.nodes.get(path.node) if self.spec else None
        if path.class_name is None:
            if node is None:
                raise InputError(
                    f"{path}: is not a node of the applied spec: name a device, such as {path}/dev1/1 (PATH)"
                )
            return Topology({path.node: node}, {})
        fake_class = node.classes.get(path.class_name) if node else None
        if path.number is None:
            if fake_class is None:
                raise InputError(f"{path}: is not a class of the applied spec: name a device, such as {path}/1 (PATH)")
        else:
            self._require(path, node, fake_class)
            fake_class = self._class_of_one(path, fake_class)
        host = node.host if node else None
        return Topology({path.node: FakeNode(path.node, host, {fake_class.name: fake_class})}, {})

    def _require(self, path: TreePath, node: FakeNode | None, fake_class: FakeClass | None) -> None:
        if self.may_create:
            return
        if node is None and path.node not in self.actual.nodes:
            raise InputError(f"{path}: there is no node {path.node}: say --create to make it (PATH)")
        if fake_class is None and self.actual.find(replace(path, number=None)) is None:
            raise InputError(
                f"{path}: there is no class {path.class_name} in {path.node}: say --create to make it (PATH)"
            )

    def _class_of_one(self, path: TreePath, listed: FakeClass | None) -> FakeClass:
        assert path.class_name is not None
        assert path.number is not None
        domain = self.spec.document.get("domain", layout.DEFAULT_DOMAIN) if self.spec else layout.DEFAULT_DOMAIN
        resource = listed.resource if listed else layout.default_resource(path.class_name, domain)
        if resource is None and self.actual.find(replace(path, number=None)) is not None:
            resource = ""  # the class is there, and has its own; only the device is made
        if resource is None:
            raise InputError(
                f"{path}: class {path.class_name} must have a resource: add it to the spec and build (PATH)"
            )
        template = listed.template if listed else DeviceTemplate()
        device = listed.devices.get(path.number) if listed else None
        if device is None:
            device = template.make(path.node, path.class_name, path.number)
        settings = listed.settings if listed else {}
        return FakeClass(path.class_name, resource, {path.number: device}, template, settings)
