"""What a build has to do: the arithmetic of three sides, without a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fakehw
from fakehw import layout
from fakehw.layout import TreePath
from fakehw.spec.topology import FakeClass, FakeNode, Topology
from fakehw.tree.plan import Add, DropValue, Plan, Remove, SetValue, make_plan, make_reset_plan
from fakehw.tree.snapshot import FoundClass, FoundDevice, FoundNode, Snapshot, Unreadable

NODE, CLASS, ONE = TreePath("n"), TreePath("n", "dev1"), TreePath("n", "dev1", 1)
RESOURCE = "myplugin.io/mydevice-1"


def spec(count: int = 1, host: str | None = None, **fields: object) -> Topology:
    node = {"classes": {"dev1": {"count": count, **fields}}, **({"host": host} if host else {})}
    return fakehw.make_topology({"nodes": {"n": node}})


def found(*devices: FoundDevice, host: str | None = None, foreign: tuple[str, ...] = ()) -> Snapshot:
    of_class = FoundClass(RESOURCE, dict(enumerate(devices, start=1)), foreign)
    return Snapshot({"n": FoundNode(host, {"dev1": of_class})})


def device(health: str = "healthy", **attributes: str) -> FoundDevice:
    return FoundDevice({"health": health, **attributes})


NOTHING = fakehw.make_topology({"nodes": {}})


def steps(wanted: Topology, *applied: Topology, actual: Snapshot, **more: bool) -> list[object]:
    return make_plan(wanted, applied=applied, actual=actual, **more).steps


def test_what_is_missing_is_added_as_far_up_as_it_is() -> None:
    wanted = spec(2)
    node = wanted.nodes["n"]
    assert steps(wanted, actual=Snapshot()) == [Add(NODE, node)]
    assert steps(wanted, actual=Snapshot({"n": FoundNode()})) == [Add(CLASS, node.classes["dev1"])]
    (step,) = steps(wanted, actual=found(device()))
    assert isinstance(step, Add)
    assert (step.path, step.content) == (TreePath("n", "dev1", 2), node.classes["dev1"].devices[2])
    assert [len(Add(NODE, node)), len(Add(CLASS, node.classes["dev1"])), len(step)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("before", "is_there", "wanted", "expected"),
    [
        ([], "healthy", "healthy", "keeps"),
        ([], "unhealthy by hand", "healthy", "keeps"),  # a first build over a device made by hand
        (["healthy"], "healthy", "unhealthy late", "sets"),
        (["healthy"], "unhealthy by hand", "unhealthy late", "keeps"),
        (["unhealthy old"], "unhealthy old", "healthy", "sets"),
        (["unhealthy old"], "healthy", "healthy", "keeps"),
        (["healthy", "unhealthy begun"], "unhealthy begun", "healthy", "sets"),  # of a build that was killed
        (["healthy", "healthy"], "healthy", "healthy", "keeps"),
        (["healthy"], "Healthy", "healthy", "keeps"),
        ([], None, "healthy", "sets"),
    ],
)
def test_health_belongs_to_whoever_wrote_it_last(
    before: list[str], is_there: str | None, wanted: str, expected: str
) -> None:
    there = FoundDevice({} if is_there is None else {"health": is_there})
    made = steps(spec(health=wanted), *(spec(health=text) for text in before), actual=found(there))
    assert made == ([SetValue(ONE, "health", wanted, is_there or "")] if expected == "sets" else [])


def test_health_that_was_changed_by_hand_is_reported_as_kept_and_the_same_word_is_not() -> None:
    for text, is_kept in (("unhealthy mine", True), ("HEALTHY", False), ("healthy", False)):
        plan = make_plan(spec(), applied=[spec()], actual=found(device(text)))
        assert bool(plan.kept) == is_kept
        assert plan.unchanged == 1
    plan = make_plan(spec(), applied=[spec()], actual=found(FoundDevice({"health": Unreadable("is a FIFO")})))
    assert [line.detail for line in plan.kept] == ["health (is a FIFO) (by hand)"]


def test_attributes_come_change_and_go_and_those_of_a_person_stay() -> None:
    wanted = spec(attributes={"a": "2", "c": "3"})
    made = steps(wanted, spec(attributes={"a": "1", "b": "1"}), actual=found(device(a="1", b="1", mine="x")))
    assert made == [SetValue(ONE, "a", "2", "1"), SetValue(ONE, "c", "3", ""), DropValue(ONE, "b", "1")]
    assert steps(wanted, actual=found(device(a="2", c="3", b="1"))) == [], "b came with no spec"


@pytest.mark.parametrize(
    ("there", "before", "wanted", "may", "expected"),
    [
        (None, None, "zero", True, SetValue(ONE, "node", "zero", "")),
        (None, None, "zero", False, None),
        ((1, 5), "zero", "zero", True, None),
        ((1, 5), "zero", "null", True, SetValue(ONE, "node", "null", "1:5")),
        ((1, 5), "zero", "null", False, None),
        ((1, 5), "zero", None, True, DropValue(ONE, "node", "1:5")),
        ((1, 5), "zero", None, False, DropValue(ONE, "node", "1:5")),
        ((1, 5), None, None, True, None),
    ],
)
def test_character_devices(
    there: tuple[int, int] | None, before: str | None, wanted: str | None, may: bool, expected: object
) -> None:
    def of(kind: str | None) -> Topology:
        return spec() if kind is None else spec(device_node=kind)

    actual = found(FoundDevice({"health": "healthy"}, there))
    assert steps(of(wanted), of(before), actual=actual, makes_device_nodes=may) == ([expected] if expected else [])


def test_character_devices_are_made_unless_it_is_said_that_they_cannot_be() -> None:
    made = make_plan(spec(device_node="zero"), applied=(), actual=found(device()))
    assert made.steps == [SetValue(ONE, "node", "zero", "")]


@pytest.mark.parametrize(
    ("there", "before", "wanted", "expected"),
    [
        (None, None, "h", [SetValue(NODE, "host", "h", "")]),
        ("h", "h", "h", []),
        ("other", "h", "h", [SetValue(NODE, "host", "h", "other")]),
        ("h", "h", None, [DropValue(NODE, "host", "h")]),
        ("mine", None, None, []),
    ],
)
def test_hosts(there: str | None, before: str | None, wanted: str | None, expected: list[object]) -> None:
    assert steps(spec(host=wanted), spec(host=before), actual=found(device(), host=there)) == expected


def test_a_resource_is_always_the_specs() -> None:
    actual = Snapshot({"n": FoundNode(None, {"dev1": FoundClass("a.b/c", {1: device()})})})
    assert steps(spec(), actual=actual) == [SetValue(CLASS, "resource", RESOURCE, "a.b/c")]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_any_earlier_spec_brought_goes_however_many_of_them_were_not_finished(times: int) -> None:
    begun = [spec(number + 1) for number in range(times)]
    actual = found(*(device() for _ in range(times + 1)))  # and one by hand
    plan = make_plan(NOTHING, applied=begun, actual=actual)
    assert plan.steps == [Remove(TreePath("n", "dev1", n), (TreePath("n", "dev1", n),)) for n in range(1, times + 1)]
    assert [(line.path.number, line.detail) for line in plan.kept] == [(times + 1, "(added by hand)")]
    assert plan.unchanged == 1


def test_a_node_goes_whole_where_nothing_in_it_is_a_persons() -> None:
    assert steps(NOTHING, spec(2), actual=found(device(), device())) == [Remove(NODE, (ONE, TreePath("n", "dev1", 2)))]
    of_two = fakehw.make_topology({"nodes": {"n": {"classes": {"dev1": {"count": 1}, "dev2": {"count": 1}}}}})
    actual = Snapshot({"n": FoundNode(None, {name: FoundClass("a.b/c", {1: device()}) for name in ("dev1", "dev2")})})
    assert steps(spec(), of_two, actual=actual)[-1] == Remove(TreePath("n", "dev2"), (TreePath("n", "dev2", 1),))


@pytest.mark.parametrize("wanted", [NOTHING, spec(0), fakehw.make_topology({"nodes": {"n": {}}})])
@pytest.mark.parametrize("where", ["device", "class", "node"])
def test_nothing_goes_that_a_person_has_something_in(where: str, wanted: Topology) -> None:
    one = FoundDevice({"health": "healthy"}, None, ("notes.txt",) if where == "device" else ())
    of_class = FoundClass(RESOURCE, {1: one}, ("notes.txt",) if where == "class" else ())
    actual = Snapshot({"n": FoundNode(None, {"dev1": of_class}, ("notes.txt",) if where == "node" else ())})
    plan = make_plan(wanted, applied=[spec()], actual=actual)

    places = {"device": ONE, "class": CLASS, "node": NODE}
    removed = [step.path for step in plan.steps if isinstance(step, Remove)]
    assert not [path for path in removed if places[where].parts[: len(path.parts)] == path.parts]
    if where != "class" and wanted.nodes:
        return
    assert ("notes.txt" in "".join(line.detail for line in plan.kept)) or where == "class"


def test_what_stands_in_the_way_is_a_conflict_and_the_rest_goes_on() -> None:
    actual = found(device())
    actual.obstacles[TreePath("n", "dev1", 2)] = "a symbolic link"
    plan = make_plan(spec(3), applied=(), actual=actual)
    assert [step.path.number for step in plan.steps] == [3]
    assert plan.conflicts == ["/n/dev1/2: is a symbolic link: is passed over: must be a directory or nothing"]


def test_a_directory_that_is_no_node_is_not_spoken_of() -> None:
    actual = Snapshot({"photos": FoundNode(None, {"a": FoundClass(None, {1: FoundDevice({"x": "y"})})})})
    plan = make_plan(NOTHING, applied=(), actual=actual)
    assert (plan.steps, plan.kept) == ([], [])


def test_a_reset_replaces_every_node() -> None:
    plan = make_reset_plan(spec(2), actual=Snapshot({**found(device()).nodes, "other": FoundNode()}))
    assert [(type(step), step.path) for step in plan.steps] == [
        (Remove, NODE),
        (Add, NODE),
        (Remove, TreePath("other")),
    ]
    assert plan.counts() == {"added": 2, "removed": 1, "updated": 0, "unchanged": 0}


def test_a_report_has_a_line_for_each_device_and_one_for_what_is_empty() -> None:
    wanted = fakehw.make_topology({"nodes": {"a": {}, "b": {"classes": {"dev1": {"count": 0}, "dev2": {"count": 2}}}}})
    plan = make_plan(wanted, applied=(), actual=Snapshot())
    assert [(line.action, str(line.path), line.detail) for line in plan.lines()] == [
        ("added", "/a", "(no classes)"),
        ("added", "/b/dev1", "(no devices)"),
        ("added", "/b/dev2/1", ""),
        ("added", "/b/dev2/2", ""),
    ]
    plan = make_plan(spec(attributes={"a": "1"}, numa_node=0), applied=(), actual=found(device(a="0")))
    assert [(line.action, line.detail) for line in plan.lines()] == [("updated", "a 0 -> 1, numa_node (none) -> 0")]
    assert plan.counts() == {"added": 0, "removed": 0, "updated": 1, "unchanged": 0}


# Whole plans: every step, every line and every number of it.


def many(nodes: dict[str, dict[str, dict[str, object]]], hosts: dict[str, str] | None = None) -> Topology:
    """Nodes to classes to fields."""
    host = {name: {"host": value} for name, value in (hosts or {}).items()}
    return fakehw.make_topology(
        {"nodes": {name: {"classes": classes, **host.get(name, {})} for name, classes in nodes.items()}}
    )


def whole(plan: Plan) -> tuple[list[tuple[str, ...]], list[str], dict[str, int]]:
    lines = [tuple(filter(None, (line.action, str(line.path), line.detail))) for line in plan.lines()]
    return lines, plan.conflicts, plan.counts()


def counts(added: int = 0, removed: int = 0, updated: int = 0, unchanged: int = 0) -> dict[str, int]:
    return {"added": added, "removed": removed, "updated": updated, "unchanged": unchanged}


def test_steps_come_in_the_order_of_people_node_by_node() -> None:
    wanted = many(
        {"n10": {"dev1": {"count": 1}}, "n2": {"dev10": {"count": 1}, "dev9": {"devices": {"10": {}, "2": {}}}}}
    )
    plan = make_plan(wanted, applied=(), actual=Snapshot())
    assert whole(plan) == (
        [("added", "/n2/dev9/2"), ("added", "/n2/dev9/10"), ("added", "/n2/dev10/1"), ("added", "/n10/dev1/1")],
        [],
        counts(added=4),
    )
    assert [str(step.path) for step in plan.steps] == ["/n2", "/n10"]
    assert [[str(path) for path in step.devices()] for step in plan.steps if isinstance(step, Add)] == [
        ["/n2/dev9/2", "/n2/dev9/10", "/n2/dev10/1"],
        ["/n10/dev1/1"],
    ]
    actual = Snapshot({"n2": FoundNode(None, {"dev9": FoundClass(RESOURCE)}), "n10": FoundNode()})
    plan = make_plan(wanted, applied=(), actual=actual)
    assert [str(step.path) for step in plan.steps] == [
        "/n2/dev9",
        "/n2/dev9/2",
        "/n2/dev9/10",
        "/n2/dev10",
        "/n10/dev1",
    ]
    assert [[str(path) for path in step.devices()] for step in plan.steps if isinstance(step, Add)] == [
        ["/n2/dev9/2"], ["/n2/dev9/10"], ["/n2/dev10/1"], ["/n10/dev1/1"],
    ]  # fmt: skip  # one list
    assert plan.steps[0] == SetValue(TreePath("n2", "dev9"), "resource", "myplugin.io/mydevice-9", RESOURCE)


def test_what_goes_comes_in_the_order_of_people_too() -> None:
    before = many(
        {"n10": {"dev1": {"count": 1}}, "n2": {"dev10": {"count": 1}, "dev9": {"devices": {"10": {}, "2": {}}}}}
    )
    devices = {"dev10": {1: device()}, "dev9": {10: device(), 2: device()}}
    actual = Snapshot(
        {
            "n10": FoundNode(None, {"dev1": FoundClass(RESOURCE, {1: device()})}),
            "n2": FoundNode(None, {name: FoundClass(RESOURCE, each) for name, each in devices.items()}),
        }
    )
    expected = [
        ("removed", "/n2/dev9/2"),
        ("removed", "/n2/dev9/10"),
        ("removed", "/n2/dev10/1"),
        ("removed", "/n10/dev1/1"),
    ]
    assert whole(make_plan(NOTHING, applied=[before], actual=actual)) == (expected, [], counts(removed=4))
    assert whole(make_reset_plan(NOTHING, actual=actual)) == (expected, [], counts(removed=4))


def test_an_empty_place_that_goes_is_one_line() -> None:
    before = many({"n": {"dev1": {"count": 0}}, "m": {}})
    actual = Snapshot({"n": FoundNode(None, {"dev1": FoundClass(RESOURCE)}), "m": FoundNode()})
    assert whole(make_plan(NOTHING, applied=[before], actual=actual)) == (
        [("removed", "/m"), ("removed", "/n")], [], counts(),
    )  # fmt: skip  # one comparison
    of_two = many({"n": {"dev1": {"count": 0}, "dev2": {"count": 1}}})
    actual = Snapshot(
        {
            "n": FoundNode(
                None, {"dev1": FoundClass(RESOURCE), "dev2": FoundClass("myplugin.io/mydevice-2", {1: device()})}
            )
        }
    )
    assert whole(make_plan(many({"n": {"dev2": {"count": 1}}}), applied=[of_two], actual=actual)) == (
        [("removed", "/n/dev1")], [], counts(unchanged=1),
    )  # fmt: skip  # one comparison


def test_changes_of_a_node_and_of_a_class_are_lines_and_count_no_device() -> None:
    wanted = many({"n": {"dev1": {"count": 2, "api": "dra", "driver": "d.io"}}}, {"n": "new"})
    before = many({"n": {"dev1": {"count": 2, "types": {"a": "int"}}}}, {"n": "old"})
    of_class = FoundClass(
        "a.b/c", {1: device(), 2: device()}, (), {"api": "x", "types": "a int", "unhealthy_effect": "None"}
    )
    plan = make_plan(wanted, applied=[before], actual=Snapshot({"n": FoundNode("old", {"dev1": of_class})}))
    assert whole(plan) == (
        [
            ("updated", "/n", "host old -> new"),
            ("updated", "/n/dev1", f"resource a.b/c -> {RESOURCE}, api x -> dra, driver (none) -> d.io, types a int -> (none)"),
        ],
        [],
        counts(unchanged=2),
    )  # fmt: skip  # one comparison
    gone = make_plan(many({"n": {"dev1": {"count": 2}}}), applied=[before], actual=Snapshot({"n": FoundNode("old", {"dev1": FoundClass(RESOURCE, {1: device(), 2: device()})})}))  # fmt: skip  # one call
    assert whole(gone) == ([("updated", "/n", "host old -> (none)")], [], counts(unchanged=2))


def test_changes_of_one_device_are_one_line_and_one_of_the_count() -> None:
    wanted = many({"n": {"dev1": {"count": 3, "attributes": {"a": "2", "c": "3"}, "health": "unhealthy late"}}})
    before = many({"n": {"dev1": {"count": 3, "attributes": {"a": "1", "b": "1"}}}})
    actual = found(
        FoundDevice({"health": "healthy", "a": "1", "b": Unreadable("is a FIFO")}),
        FoundDevice({"health": "unhealthy late", "a": "2", "c": "3"}),
        FoundDevice({"health": "unhealthy by hand", "a": "2", "c": "3", "mine": "x", "his": "y"}),
    )
    assert whole(make_plan(wanted, applied=[before], actual=actual)) == (
        [
            (
                "updated",
                "/n/dev1/1",
                "health healthy -> unhealthy late, a 1 -> 2, c (none) -> 3, b (is a FIFO) -> (none)",
            ),
            ("kept", "/n/dev1/3", "health unhealthy by hand, mine, his (by hand)"),
        ],
        [],
        counts(updated=1, unchanged=2),
    )


def test_of_a_class_that_stays_what_its_spec_brought_goes_and_what_a_person_added_stays() -> None:
    actual = found(device(), device(), FoundDevice({"health": "x"}, None, ("notes",)), device())
    assert whole(make_plan(spec(1), applied=[spec(3)], actual=actual)) == (
        [
            ("removed", "/n/dev1/2"),
            ("kept", "/n/dev1/3", "(notes in it is by hand)"),
            ("kept", "/n/dev1/4", "(added by hand)"),
        ],
        [],
        counts(removed=1, unchanged=3),
    )


def test_a_value_is_shown_on_one_line_of_at_most_sixty_letters() -> None:
    actual = found(FoundDevice({"health": "sick\n\x1b" + "x" * 100, "a": "one\ntwo"}))
    plan = make_plan(spec(attributes={"a": "1"}), applied=(), actual=actual)
    assert [line.detail for line in plan.lines()] == ["a one two -> 1", f"health sick {'x' * 55} (by hand)"]


@pytest.mark.parametrize(
    ("there", "wanted", "may", "kept"),
    [
        ({"node": "a file"}, None, True, ["node (by hand)"]),
        ({"node": "a file"}, "zero", True, []),
        ({"node": "a file"}, "zero", False, []),
    ],
)
def test_a_file_in_the_place_of_a_character_device_is_a_persons_unless_one_is_wanted(
    there: dict[str, str], wanted: str | None, may: bool, kept: list[str]
) -> None:
    topology = spec() if wanted is None else spec(device_node=wanted)
    plan = make_plan(topology, applied=(), actual=found(device(**there)), makes_device_nodes=may)
    assert [line.detail for line in plan.kept] == kept
    assert plan.makes_device_nodes is may
    assert plan.steps == ([SetValue(ONE, "node", "zero", "")] if wanted and may else [])


@pytest.mark.parametrize(
    ("actual", "before", "lines", "unchanged"),
    [
        (FoundNode("h"), False, [("kept", "/n", "(added by hand)")], 0),
        (FoundNode(), False, [("kept", "/n", "(added by hand)")], 0),
        (FoundNode(None, {}, ("x",)), False, [], 0),
        (FoundNode(None, {}, ("x",)), True, [], 0),
        (FoundNode("h", {}, ("x", "y")), True, [("kept", "/n", "(x in it is by hand)")], 0),
        (FoundNode("h", {"gpu": FoundClass(None, {1: device()})}), False, [("kept", "/n/gpu/1", "(added by hand)")], 1),
        (FoundNode("h", {"gpu": FoundClass("a.b/c")}), False, [("kept", "/n/gpu", "(added by hand)")], 0),
        (FoundNode("h", {"gpu": FoundClass(None, {}, ("x",))}), False, [("kept", "/n", "(added by hand)")], 0),
        (
            FoundNode("h", {"dev1": FoundClass(RESOURCE, {1: device(), 2: device()}), "dev2": FoundClass("a.b/c")}),
            True,
            [("removed", "/n/dev1/1"), ("kept", "/n/dev1/2", "(added by hand)"), ("kept", "/n/dev2", "(added by hand)")],
            1,
        ),
        (
            FoundNode("h", {"dev1": FoundClass(RESOURCE, {1: FoundDevice({"health": "x"}, None, ("a", "b"))})}),
            True,
            [("kept", "/n/dev1/1", "(a in it is by hand)")],
            1,
        ),
        (
            FoundNode("h", {"dev1": FoundClass(RESOURCE, {}, ("a",))}),
            True,
            [("kept", "/n/dev1", "(a in it is by hand)")],
            0,
        ),
        (
            FoundNode("h", {"dev1": FoundClass(RESOURCE, {1: device()}, ("a",))}),
            True,
            [("removed", "/n/dev1/1"), ("kept", "/n", "(dev1/a in it is by hand)")],
            0,
        ),
    ],
)  # fmt: skip  # a case a block
def test_what_is_left_of_a_node_that_no_spec_names_any_more(
    actual: FoundNode, before: bool, lines: list[tuple[str, ...]], unchanged: int
) -> None:
    plan = make_plan(NOTHING, applied=[spec()] if before else [], actual=Snapshot({"n": actual}))
    removed = sum(line[0] == "removed" for line in lines)
    assert whole(plan) == (lines, [], counts(removed=removed, unchanged=unchanged))


@pytest.mark.parametrize("where", ["n", "n/dev1", "n/dev1/1"])
def test_what_is_in_the_way_is_said_once_and_passed_over(where: str) -> None:
    path = TreePath.parse(where)
    actual = {"n": Snapshot(), "n/dev1": Snapshot({"n": FoundNode("h")}), "n/dev1/1": found(host="h")}[where]
    actual.obstacles[path] = "a file"
    wanted = many({"n": {"dev1": {"count": 2}, "dev2": {"count": 1}}, "m": {"dev1": {"count": 1}}}, {"n": "h"})
    plan = make_plan(wanted, applied=[wanted], actual=actual)
    added = {
        "n": ["/m/dev1/1"],
        "n/dev1": ["/m/dev1/1", "/n/dev2/1"],
        "n/dev1/1": ["/m/dev1/1", "/n/dev1/2", "/n/dev2/1"],
    }
    assert whole(plan) == (
        [("added", place) for place in added[where]],
        [f"/{where}: is a file: is passed over: must be a directory or nothing"],
        counts(added=len(added[where])),
    )


def test_what_does_not_look_like_one_is_said_in_whole_words() -> None:
    wanted = fakehw.make_topology({"nodes": {"n": {"classes": {"gpu": {"count": 1, "resource": "a.b/c"}}}}})
    for node, said in (
        (FoundNode(None, {}, ("x",)), "/n: does not look like a node of a fake tree: is passed over"),
        (FoundNode("h", {"gpu": FoundClass(None, {}, ("x",))}), "/n/gpu: does not look like a class of a fake tree: is passed over"),
        (
            FoundNode("h", {"gpu": FoundClass(None, {1: FoundDevice({"x": "y"}), 2: device()})}),
            "/n/gpu/1: does not look like a device of a fake tree: is passed over",
        ),
    ):  # fmt: skip  # a case a block
        assert make_plan(wanted, applied=(), actual=Snapshot({"n": node})).conflicts == [said]


def test_a_reset_names_every_node_once_and_in_order() -> None:
    wanted = many({"n2": {"dev1": {"count": 1}}, "n10": {"dev1": {"count": 2}}})
    actual = Snapshot(
        {"n3": FoundNode(None, {"dev1": FoundClass(None, {3: device(), 1: device()})}), "n10": FoundNode()}
    )
    plan = make_reset_plan(wanted, actual=actual)
    assert [(type(step), str(step.path)) for step in plan.steps] == [
        (Add, "/n2"), (Remove, "/n3"), (Remove, "/n10"), (Add, "/n10"),
    ]  # fmt: skip  # one list
    assert whole(plan) == (
        [("added", "/n2/dev1/1"), ("removed", "/n3/dev1/1"), ("removed", "/n3/dev1/3"), ("removed", "/n10"), ("added", "/n10/dev1/1"), ("added", "/n10/dev1/2")],
        [],
        counts(added=3, removed=2),
    )  # fmt: skip  # one comparison
    assert Plan() == Plan([], [], [], 0, True)


# The plan, carried out on values, ends where it should.


def carried_out(plan: Plan, actual: Snapshot) -> Snapshot:
    """What a tree looks like when the steps were taken."""
    nodes = {
        name: (node.host, {key: (of.resource, dict(of.devices)) for key, of in node.classes.items()})
        for name, node in actual.nodes.items()
    }

    def made(content: FakeClass) -> tuple[str, dict[int, FoundDevice]]:
        return content.resource, {
            number: FoundDevice({"health": each.health, **each.attributes}) for number, each in content.devices.items()
        }

    for step in plan.steps:
        path = step.path
        if isinstance(step, Add):
            content = step.content
            if isinstance(content, FakeNode):
                nodes[path.node] = (content.host, {name: made(of) for name, of in content.classes.items()})
            elif isinstance(content, FakeClass):
                nodes[path.node][1][path.class_name] = made(content)
            else:
                nodes[path.node][1][path.class_name][1][path.number] = FoundDevice(
                    {"health": content.health, **content.attributes}
                )
        elif isinstance(step, Remove):
            if path.class_name is None:
                del nodes[path.node]
            elif path.number is None:
                del nodes[path.node][1][path.class_name]
            else:
                del nodes[path.node][1][path.class_name][1][path.number]
        else:
            value = step.value if isinstance(step, SetValue) else None
            if path.class_name is None:
                nodes[path.node] = (value, nodes[path.node][1])
            elif path.number is None:
                nodes[path.node][1][path.class_name] = (value, nodes[path.node][1][path.class_name][1])
            else:
                attributes = nodes[path.node][1][path.class_name][1][path.number].attributes
                attributes.pop(step.name, None)
                if value is not None:
                    attributes[step.name] = value
    return Snapshot(
        {
            name: FoundNode(host, {key: FoundClass(resource, devices) for key, (resource, devices) in classes.items()})
            for name, (host, classes) in nodes.items()
        }
    )


fields = st.fixed_dictionaries(
    {"count": st.integers(0, 3)},
    optional={
        "health": st.sampled_from(["healthy", "unhealthy hot"]),
        "attributes": st.dictionaries(st.sampled_from("ab"), st.sampled_from("12")),
        "devices": st.dictionaries(st.sampled_from("057"), st.just({"numa_node": 0})),
    },
)
specs = st.dictionaries(
    st.sampled_from(["n1", "n2"]),
    st.fixed_dictionaries(
        {"classes": st.dictionaries(st.sampled_from(["dev1", "dev2"]), fields)}, optional={"host": st.just("h1")}
    ),
).map(lambda nodes: fakehw.make_topology({"nodes": nodes}))


@given(begun=st.lists(specs, max_size=3), wanted=specs)
def test_after_any_builds_finished_or_not_the_tree_is_as_the_last_spec_says(
    begun: list[Topology], wanted: Topology
) -> None:
    """Each of them may have been killed after its moves: none but the last is known to be whole."""
    actual = Snapshot()
    for number, topology in enumerate(begun):
        actual = carried_out(make_plan(topology, applied=begun[:number], actual=actual), actual)
    plan = make_plan(wanted, applied=begun, actual=actual)
    ended = carried_out(plan, actual)

    fresh = carried_out(make_plan(wanted, applied=(), actual=Snapshot()), Snapshot())
    assert ended == fresh
    assert plan.kept == []
    assert make_plan(wanted, applied=[wanted], actual=ended).steps == []
    assert len(dict(ended.devices())) == wanted.device_count


@given(before=specs, wanted=specs, health=st.sampled_from(["unhealthy mine", "healthy mine"]), data=st.data())
def test_what_a_person_changed_or_added_is_there_afterwards(
    before: Topology, wanted: Topology, health: str, data: st.DataObject
) -> None:
    actual = carried_out(make_plan(before, applied=(), actual=Snapshot()), Snapshot())
    devices = dict(actual.devices())
    if not devices:
        return
    path = data.draw(st.sampled_from(sorted(devices, key=lambda path: path.sort_key)))
    devices[path].attributes.update({layout.HEALTH: health, "mine": "x"})
    of_class = actual.nodes[path.node].classes[path.class_name]
    of_class.devices[99] = FoundDevice({"health": "healthy"})

    ended = carried_out(make_plan(wanted, applied=[before], actual=actual), actual)
    after = dict(ended.devices())
    assert TreePath(path.node, path.class_name, 99) in after
    node = wanted.nodes.get(path.node)
    if node and path.class_name in node.classes and path.number in node.classes[path.class_name].devices:
        assert after[path].attributes[layout.HEALTH] == health
        assert after[path].attributes["mine"] == "x"


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        (FoundNode(None, {}, ("main.c",)), "/n: does not look like a node"),
        (FoundNode(None, {"gpu": FoundClass(None, {}, ("main.c",))}), "/n: does not look like a node"),
        (FoundNode("h", {"gpu": FoundClass(None, {}, ("main.c",))}), "/n/gpu: does not look like a class"),
        (FoundNode("h", {"gpu": FoundClass(None, {1: FoundDevice({"readme": "x"}), 2: device()})}), "/n/gpu/1: does not look like a device"),
        (FoundNode("h", {"gpu": FoundClass(None, {1: FoundDevice({}, None, ("a b",)), 2: device()})}), "/n/gpu/1: does not look like a device"),
    ],
)  # fmt: skip  # one row a place
def test_a_build_writes_nothing_into_what_looks_like_somebodys_own(node: FoundNode, kind: str) -> None:
    of_class = {"count": 2, "resource": "a.b/gpu"}
    wanted = fakehw.make_topology({"nodes": {"n": {"host": "h", "classes": {"gpu": of_class}}}})
    plan = make_plan(wanted, applied=(), actual=Snapshot({"n": node}))
    assert [conflict.partition(" of a fake tree")[0] for conflict in plan.conflicts] == [kind]
    path = kind.partition(":")[0]
    assert not [step for step in plan.steps if f"{step.path}/".startswith(f"{path}/")]
    assert make_plan(wanted, applied=[wanted], actual=Snapshot({"n": node})).conflicts == [], "a spec brought it"


def test_a_long_value_is_cut_where_it_is_shown() -> None:
    plan = make_plan(spec(attributes={"a": "x"}), applied=(), actual=found(device(a="y" * 100)))
    assert [line.detail for line in plan.lines()] == [f"a {'y' * 60} -> x"]
