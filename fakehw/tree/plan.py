"""What a build has to do: a three-way comparison of what was applied, what is there and what is wanted. Pure.

As with kubectl apply, three sides tell whose a thing is. What a spec once brought and the new one does not name goes;
what the new one names comes, or is brought to its value; what a person added stays. Health belongs to whoever wrote it
last: it is brought to the spec's value only where it is still what the spec before said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from fakehw import layout
from fakehw.layout import TreePath
from fakehw.spec.topology import FakeClass, FakeDevice, FakeNode, Topology
from fakehw.tree.snapshot import FoundClass, FoundDevice, FoundNode, Snapshot, Unreadable, Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Action = Literal["added", "removed", "updated", "kept"]


@dataclass(frozen=True, slots=True)
class Add:
    """Make a node, class or device whole. `source` is the node, or the class that it, or the device, is of.

    A device is made when it is asked for: a plan may hold a million of them.
    """

    path: TreePath
    source: FakeNode | FakeClass

    @property
    def content(self) -> FakeNode | FakeClass | FakeDevice:
        """Return what is made."""
        if self.path.number is None or isinstance(self.source, FakeNode):
            return self.source
        return self.source.devices[self.path.number]

    def devices(self) -> Iterator[TreePath]:
        """Yield the devices that come."""
        if isinstance(self.source, FakeNode):
            yield from _devices_in(self.path.node, self.source.classes)
        elif self.path.number is None:
            yield from _devices_in(self.path.node, {self.source.name: self.source})
        else:
            yield self.path

    def __len__(self) -> int:
        """Return how many devices come."""
        if isinstance(self.source, FakeNode):
            return sum(len(fake_class.devices) for fake_class in self.source.classes.values())
        return len(self.source.devices) if self.path.number is None else 1


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a node, class or device away with all that is in it; `devices` says how many devices that is."""

    path: TreePath
    devices: tuple[TreePath, ...]


@dataclass(frozen=True, slots=True)
class SetValue:
    """Bring one attribute file to a value; `name` DEVICE_NODE makes a character device of the kind `value`."""

    path: TreePath
    name: str
    value: str
    was: str


@dataclass(frozen=True, slots=True)
class DropValue:
    """Take one attribute file away."""

    path: TreePath
    name: str
    was: str


Step = Add | Remove | SetValue | DropValue


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a report."""

    action: Action
    path: TreePath
    detail: str = ""


@dataclass(slots=True)
class Plan:
    """Steps in the order in which they are taken; what is kept although no spec says so; what stands in the way."""

    steps: list[Step] = field(default_factory=list)
    kept: list[Line] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    """What stands in the way of a step, or refused it: a line each. The rest of the plan goes on."""
    unchanged: int = 0
    """Devices that no step touches."""
    makes_device_nodes: bool = True
    """Whether character devices can be made here; those that are there already stay in any case."""

    def lines(self) -> Iterator[Line]:
        """Yield what is done, one line for each device or empty class, changes of one device together."""
        updates: dict[TreePath, list[str]] = {}
        for step in self.steps:
            if isinstance(step, Add):
                yield from _added(step)
            elif isinstance(step, Remove):
                yield from (Line("removed", path) for path in step.devices or (step.path,))
            elif isinstance(step, SetValue):
                updates.setdefault(step.path, []).append(f"{step.name} {step.was or '(none)'} -> {step.value}")
            else:
                updates.setdefault(step.path, []).append(f"{step.name} {step.was or '(none)'} -> (none)")
        for path, changes in updates.items():
            yield Line("updated", path, ", ".join(changes))
        yield from self.kept

    def counts(self) -> dict[str, int]:
        """Return the number of devices added, removed, updated and unchanged, keyed by these words."""
        counts = {"added": 0, "removed": 0, "updated": 0, "unchanged": self.unchanged}
        updated = set()
        for step in self.steps:
            if isinstance(step, Add):
                counts["added"] += len(step)
            elif isinstance(step, Remove):
                counts["removed"] += len(step.devices)
            elif step.path.number is not None:
                updated.add(step.path)
        counts["updated"] = len(updated)
        return counts


def make_plan(
    wanted: Topology, *, applied: Sequence[Topology], actual: Snapshot, makes_device_nodes: bool = True
) -> Plan:
    """Compare the three sides. `applied` holds the last spec, and those whose builds did not come to their end."""
    plan = Plan(makes_device_nodes=makes_device_nodes)
    for name in sorted({*wanted.nodes, *actual.nodes}, key=layout.natural_key):
        before = [topology.nodes[name] for topology in applied if name in topology.nodes]
        node, found = wanted.nodes.get(name), actual.nodes.get(name)
        if node is None:
            assert found is not None
            _leave_node(plan, TreePath(name), found, before)
        elif _is_free(plan, TreePath(name), actual):
            if found is None:
                plan.steps.append(Add(TreePath(name), node))
            elif _is_one(plan, TreePath(name), "node", is_likely=bool(before) or found.is_likely):
                _compare_node(plan, TreePath(name), node, found, before, actual)
    return plan


def make_reset_plan(wanted: Topology, *, actual: Snapshot) -> Plan:
    """Replace every node: take away what is there and make what is wanted."""
    plan = Plan()
    for name in sorted({*wanted.nodes, *actual.nodes}, key=layout.natural_key):
        if name in actual.nodes:
            plan.steps.append(Remove(TreePath(name), tuple(_devices_in(name, actual.nodes[name].classes))))
        if name in wanted.nodes:
            plan.steps.append(Add(TreePath(name), wanted.nodes[name]))
    return plan


def _compare_node(
    plan: Plan, path: TreePath, node: FakeNode, found: FoundNode, before: Sequence[FakeNode], actual: Snapshot
) -> None:
    was_ours = any(old.host is not None for old in before)
    _compare_value(plan, path, layout.HOST, node.host, found.host, was_ours=was_ours)
    for name in sorted({*node.classes, *found.classes}, key=layout.natural_key):
        class_path = TreePath(path.node, name)
        old_classes = [old.classes[name] for old in before if name in old.classes]
        wanted, found_class = node.classes.get(name), found.classes.get(name)
        if wanted is None:
            assert found_class is not None
            _leave_class(plan, class_path, found_class, old_classes)
        elif _is_free(plan, class_path, actual):
            if found_class is None:
                plan.steps.append(Add(class_path, wanted))
            elif _is_one(plan, class_path, "class", is_likely=bool(old_classes) or found_class.is_likely(name)):
                _compare_class(plan, class_path, wanted, found_class, old_classes, actual)


def _compare_class(
    plan: Plan, path: TreePath, wanted: FakeClass, found: FoundClass, before: Sequence[FakeClass], actual: Snapshot
) -> None:
    _compare_value(plan, path, layout.RESOURCE, wanted.resource, found.resource, was_ours=True)
    for name in layout.SETTINGS:
        was_ours = any(name in old.settings for old in before)
        _compare_value(plan, path, name, wanted.settings.get(name), found.settings.get(name), was_ours=was_ours)
    for number in sorted({*wanted.devices, *found.devices}):
        device_path = TreePath(path.node, path.class_name, number)
        found_device = found.devices.get(number)
        if found_device is None:
            if _is_free(plan, device_path, actual):
                plan.steps.append(Add(device_path, wanted))
            continue
        old_devices = [old.devices[number] for old in before if number in old.devices]
        if number not in wanted.devices:
            _leave_device(plan, device_path, found_device, is_ours=bool(old_devices))
        elif _is_one(plan, device_path, "device", is_likely=bool(old_devices) or found.is_likely_device(number)):
            _compare_device(plan, device_path, wanted.devices[number], found_device, old_devices)


def _compare_device(
    plan: Plan, path: TreePath, wanted: FakeDevice, found: FoundDevice, before: Sequence[FakeDevice]
) -> None:
    steps = len(plan.steps)
    kept = []
    value = found.attributes.get(layout.HEALTH)
    if value is None or (
        value != wanted.health and any(old.health == value and old.health != wanted.health for old in before)
    ):
        plan.steps.append(SetValue(path, layout.HEALTH, wanted.health, _shown(value)))
    elif isinstance(value, Unreadable) or layout.parse_health(value) != layout.parse_health(wanted.health):
        kept.append(f"health {_shown(value)}")
    for name, text in wanted.attributes.items():
        if found.attributes.get(name) != text:
            plan.steps.append(SetValue(path, name, text, _shown(found.attributes.get(name))))
    for name, old_value in found.attributes.items():
        if name not in wanted.attributes and name != layout.HEALTH:
            if any(name in old.attributes for old in before):
                plan.steps.append(DropValue(path, name, _shown(old_value)))
            elif name != layout.DEVICE_NODE or wanted.device_node is None:
                kept.append(name)
    _compare_device_node(plan, path, wanted, found, before)
    if kept:
        plan.kept.append(Line("kept", path, ", ".join(kept) + " (by hand)"))
    plan.unchanged += len(plan.steps) == steps


def _compare_device_node(
    plan: Plan, path: TreePath, wanted: FakeDevice, found: FoundDevice, before: Sequence[FakeDevice]
) -> None:
    was = "{}:{}".format(*found.device_node) if found.device_node else ""
    if wanted.device_node is not None:
        if plan.makes_device_nodes and found.device_node != layout.DEVICE_NODES[wanted.device_node]:
            plan.steps.append(SetValue(path, layout.DEVICE_NODE, wanted.device_node, was))
    elif found.device_node and any(old.device_node for old in before):
        plan.steps.append(DropValue(path, layout.DEVICE_NODE, was))


def _compare_value(
    plan: Plan, path: TreePath, name: str, wanted: str | None, found: Value | None, *, was_ours: bool
) -> None:
    if wanted is not None and found != wanted:
        plan.steps.append(SetValue(path, name, wanted, _shown(found)))
    elif wanted is None and found is not None and was_ours:
        plan.steps.append(DropValue(path, name, _shown(found)))


def _leave_node(plan: Plan, path: TreePath, found: FoundNode, before: Sequence[FakeNode]) -> None:
    """Take away what a spec brought into a node that the new one does not name; what is no node is let be."""
    if not before and not found.is_likely:
        return
    part = Plan()
    for name, found_class in sorted(found.classes.items()):
        old_classes = [old.classes[name] for old in before if name in old.classes]
        _leave_class(part, TreePath(path.node, name), found_class, old_classes)
    foreign = next(found.all_foreign(), None)
    if before and not part.kept and foreign is None:
        plan.steps.append(Remove(path, tuple(_devices_in(path.node, found.classes))))
        return
    plan.steps += part.steps
    plan.kept += part.kept
    plan.unchanged += part.unchanged
    if not part.kept and found.is_likely:
        plan.kept.append(Line("kept", path, f"({foreign} in it is by hand)" if before else "(added by hand)"))


def _leave_class(plan: Plan, path: TreePath, found: FoundClass, before: Sequence[FakeClass]) -> None:
    """Take away what a spec brought into a class that the new one does not name; with a person's device it stays."""
    assert path.class_name is not None
    ours = {number for number in found.devices if any(number in old.devices for old in before)}
    foreign = next(found.all_foreign(), None)
    if before and ours == found.devices.keys() and foreign is None:
        plan.steps.append(Remove(path, tuple(_devices_in(path.node, {path.class_name: found}))))
        return
    for number, device in sorted(found.devices.items()):
        _leave_device(plan, TreePath(path.node, path.class_name, number), device, is_ours=number in ours)
    if not found.devices and found.is_likely(path.class_name):
        plan.kept.append(Line("kept", path, f"({foreign} in it is by hand)" if before else "(added by hand)"))


def _leave_device(plan: Plan, path: TreePath, found: FoundDevice, *, is_ours: bool) -> None:
    """Take away a device that a spec brought, unless there is something in it that no device has."""
    if is_ours and not found.foreign:
        plan.steps.append(Remove(path, (path,)))
        return
    plan.kept.append(Line("kept", path, f"({found.foreign[0]} in it is by hand)" if is_ours else "(added by hand)"))
    plan.unchanged += 1


def _is_free(plan: Plan, path: TreePath, actual: Snapshot) -> bool:
    if path not in actual.obstacles:
        return True
    plan.conflicts.append(f"{path}: is {actual.obstacles[path]}: is passed over: must be a directory or nothing")
    return False


def _is_one(plan: Plan, path: TreePath, kind: str, *, is_likely: bool) -> bool:
    """Tell whether a directory may be written to: not if no spec brought it and it looks like somebody's own."""
    if not is_likely:
        plan.conflicts.append(f"{path}: does not look like a {kind} of a fake tree: is passed over")
    return is_likely


def _devices_in(node: str, classes: Mapping[str, FoundClass | FakeClass]) -> Iterator[TreePath]:
    for name in sorted(classes, key=layout.natural_key):
        for number in sorted(classes[name].devices):
            yield TreePath(node, name, number)


def _added(step: Add) -> Iterator[Line]:
    if step.path.number is not None:
        yield Line("added", step.path)
        return
    classes = step.source.classes if isinstance(step.source, FakeNode) else {step.source.name: step.source}
    if not classes:
        yield Line("added", step.path, "(no classes)")
    for name in sorted(classes, key=layout.natural_key):
        if not classes[name].devices:
            yield Line("added", TreePath(step.path.node, name), "(no devices)")
        yield from (Line("added", path) for path in _devices_in(step.path.node, {name: classes[name]}))


def _shown(value: Value | None) -> str:
    return (
        "" if value is None else f"({value.reason})" if isinstance(value, Unreadable) else layout.one_line(value)[:60]
    )
