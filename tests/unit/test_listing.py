"""What `fakehw list` and `fakehw events` print, to the letter, from snapshots and sights that no disk ever had."""

from __future__ import annotations

import json
import textwrap

import pytest

from fakehw.layout import Health, TreePath
from fakehw.tree.snapshot import FoundClass, FoundDevice, FoundNode, Snapshot, Unreadable
from fakehw.view import events, listing
from fakehw.view.follower import Happening, Sight
from fakehw.view.listing import Record

TREE = Snapshot(
    {
        "node10": FoundNode("", {"dev1": FoundClass(None, {1: FoundDevice({"health": "healthy"})})}),
        "node2": FoundNode(
            "kind-worker",
            {
                "gpu": FoundClass(Unreadable("is a FIFO"), {3: FoundDevice({"health": "healthy"})}),
                "dev10": FoundClass(None),
                "dev2": FoundClass(
                    "a.b/c\x1b",
                    {
                        10: FoundDevice({}),
                        2: FoundDevice(
                            {"health": "unhealthy too hot", "numa_node": "1", "model": "x", "fan": "2", "bad": Unreadable("is a FIFO")}
                        ),
                    },
                ),
            },
        ),
        "x": FoundNode(Unreadable("is a directory"), {"other": FoundClass(None)}),
    }
)  # fmt: skip  # one device a row
DEV2 = "a.b/c\\x1b"
TWO = Record("/node2/dev2/2", "node2-dev2-2", DEV2, "unhealthy", 1, "kind-worker", "too hot", {"fan": "2", "model": "x"})  # fmt: skip
TEN = Record("/node2/dev2/10", "node2-dev2-10", DEV2, "unhealthy", None, "kind-worker", "health file is missing", {})
GPU = Record("/node2/gpu/3", "node2-gpu-3", "(is a FIFO)", "healthy", None, "kind-worker", "", {})
LAST = Record("/node10/dev1/1", "node10-dev1-1", "my.io/mydevice-1", "healthy", None, None, "", {})
EMPTY = Record("/node2/dev10", None, "my.io/mydevice-10", None, None, "kind-worker", "no devices", {})
OTHER = Record("/x/other", None, None, None, None, "(is a directory)", "no devices", {})


def test_rows_are_devices_and_classes_without_any_in_the_order_of_people() -> None:
    assert list(listing.rows(TREE, domain="my.io")) == [TWO, TEN, EMPTY, GPU, LAST, OTHER]
    assert list(listing.records(TREE, domain="my.io")) == [TWO, TEN, GPU, LAST]


def table(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


def test_a_table_has_a_column_for_each_heading_and_a_dash_for_nothing() -> None:
    assert listing.as_table(TREE) == table(
        """
        PATH             RESOURCE                  HEALTH      NUMA   REASON
        /node2/dev2/2    a.b/c\\x1b                 unhealthy   1      too hot
        /node2/dev2/10   a.b/c\\x1b                 unhealthy   -      health file is missing
        /node2/dev10     myplugin.io/mydevice-10   -           -      no devices
        /node2/gpu/3     (is a FIFO)               healthy     -
        /node10/dev1/1   myplugin.io/mydevice-1    healthy     -
        /x/other         -                         -           -      no devices
        """
    )
    assert listing.as_table(TREE, domain="my.io").splitlines()[3] == "/node2/dev10     my.io/mydevice-10   -           -      no devices"  # fmt: skip


def test_a_wide_table_has_ids_hosts_and_attributes_too_and_is_never_cut() -> None:
    assert listing.shown([TWO, LAST, OTHER], "wide", width=20) == table(
        """
        PATH             ID              RESOURCE           HEALTH      NUMA   HOST               REASON       ATTRIBUTES
        /node2/dev2/2    node2-dev2-2    a.b/c\\x1b          unhealthy   1      kind-worker        too hot      fan=2,model=x
        /node10/dev1/1   node10-dev1-1   my.io/mydevice-1   healthy     -      -
        /x/other         -               -                  -           -      (is a directory)   no devices
        """
    )


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (0, ["PATH   RESOURCE   HEALTH      NUMA   REASON", "/a     r          unhealthy   -      0123456789"]),
        (49, ["PATH   RESOURCE   HEALTH      NUMA   REASON", "/a     r          unhealthy   -      0123456789"]),
        (47, ["PATH   RESOURCE   HEALTH      NUMA   REASON", "/a     r          unhealthy   -      0123456789"]),
        (46, ["PATH   RESOURCE   HEALTH      NUMA   REASON", "/a     r          unhealthy   -      012345..."]),
        (10, ["PATH   ...", "/a     ..."]),
    ],
)
def test_a_reason_is_cut_where_a_line_would_pass_the_terminal(width: int, lines: list[str]) -> None:
    record = Record("/a", "a", "r", "unhealthy", None, None, "0123456789", {})
    assert listing.shown([record], "table", width=width).splitlines() == lines


def test_a_table_of_anything_has_its_headings_and_its_whole_width_unless_told() -> None:
    assert listing.table(["A", "LONG"], [["aaa", "b"]]) == "A     LONG\naaa   b"
    assert listing.table(["A", "LONG"], [["aaa", "b" * 9]], has_headings=False, width=9) == "aaa   ..."


def test_a_reason_is_cut_at_120_characters_wherever_it_is_shown() -> None:
    record = Record("/a", "a", "r", "unhealthy", None, None, "x" * 121, {})
    for form in ("table", "wide"):
        assert "x" * 120 in listing.shown([record], form)
        assert "x" * 121 not in listing.shown([record], form)
    assert "x" * 121 in listing.shown([record], "json")


def held(record: Record, by: str) -> Record:
    return Record(*[getattr(record, name) for name in Record.__slots__][:-1], by)


def test_who_holds_what_stands_after_the_numa_node() -> None:
    records = [held(TWO, "ns/pod/main"), held(GPU, ""), GPU]
    assert listing.shown(records, "table", has_holders=True, has_headings=False) == table(
        f"""
        /node2/dev2/2   {DEV2}     unhealthy   1   ns/pod/main   too hot
        /node2/gpu/3    (is a FIFO)   healthy     -   -
        /node2/gpu/3    (is a FIFO)   healthy     -   -
        """
    )
    assert listing.shown(records, "wide", has_holders=True).splitlines()[0].split() == [
        "PATH", "ID", "RESOURCE", "HEALTH", "NUMA", "HELD", "BY", "HOST", "REASON", "ATTRIBUTES",
    ]  # fmt: skip
    assert "HELD BY" not in listing.shown(records, "table")
    assert [entry.get("held_by") for entry in json.loads(listing.shown(records, "json"))] == ["ns/pod/main", "", None]


AS_JSON = """\
[
  {
    "path": "/node2/dev2/2",
    "id": "node2-dev2-2",
    "resource": "a.b/c\\\\x1b",
    "health": "unhealthy",
    "numa_node": 1,
    "host": "kind-worker",
    "reason": "too hot",
    "attributes": {
      "fan": "2",
      "model": "x"
    }
  }
]"""
AS_YAML = """\
- path: /x/ü
  id: null
  resource: null
  health: null
  numa_node: null
  host: null
  reason: ''
  attributes: {}"""


def test_programs_get_every_field_in_its_order() -> None:
    assert listing.shown([TWO], "json") == AS_JSON
    assert listing.shown([Record("/x/ü", None, None, None, None, None, "", {})], "yaml") == AS_YAML
    assert listing.shown([], "json") == "[]"
    assert listing.shown([], "yaml") == "[]"


def test_names_are_those_of_devices_as_other_commands_take_them() -> None:
    assert listing.shown([TWO, EMPTY, LAST], "name") == "node2/dev2/2\nnode10/dev1/1"
    assert listing.shown([EMPTY], "name") == ""


def test_nothing_is_said_in_a_table_and_is_nothing_elsewhere() -> None:
    assert [listing.shown([], form) for form in ("table", "wide", "name")] == ["no devices", "no devices", ""]


def test_a_summary_counts_by_host_and_resource_classes_without_devices_as_none() -> None:
    records = [TWO, TEN, EMPTY, GPU, LAST, OTHER, Record("/q/dev2/1", "q", DEV2, "healthy", None, "kind-worker", "", {})]  # fmt: skip
    assert listing.summary(records) == table(
        f"""
        HOST               RESOURCE            DEVICES   HEALTHY   UNHEALTHY
        (is a directory)   -                   0         0         0
        -                  my.io/mydevice-1    1         1         0
        kind-worker        (is a FIFO)         1         1         0
        kind-worker        {DEV2}           3         1         2
        kind-worker        my.io/mydevice-10   0         0         0
        """
    )
    assert listing.summary([LAST], has_headings=False) == "-   my.io/mydevice-1   1   1   0"
    assert listing.summary([]) == "no devices"


def test_a_name_that_steers_a_terminal_is_cut_to_253_characters_of_escapes() -> None:
    tree = Snapshot({"n": FoundNode("h" * 300, {"dev1": FoundClass("\x1b" * 100, {1: FoundDevice({})})})})
    (record,) = listing.records(tree)
    assert record.host == "h" * 253
    assert record.resource == ("\\x1b" * 100)[:253]


# Events.


class Known:
    """What a follower knows of a class and its node."""

    def resource_of(self, path: TreePath) -> str | None:
        return f"a.b/{path.class_name}"

    def host_of(self, path: TreePath) -> str | None:
        return f"host-of-{path.node}"


PATH = TreePath("n", "dev1", 1)
GOOD, BAD = Sight(Health.HEALTHY), Sight(Health.UNHEALTHY, "hot", 3)


@pytest.mark.parametrize(
    ("was", "now", "words", "health"),
    [
        (GOOD, BAD, "healthy -> unhealthy: hot", ("healthy", "unhealthy", "hot", 3)),
        (BAD, GOOD, "unhealthy -> healthy", ("unhealthy", "healthy", "", None)),
        (BAD, BAD, "unhealthy: hot", ("unhealthy", "unhealthy", "hot", 3)),
        (GOOD, GOOD, "healthy", ("healthy", "healthy", "", None)),
        (None, BAD, "absent -> unhealthy: hot", ("absent", "unhealthy", "hot", 3)),
        (GOOD, None, "healthy -> absent", ("healthy", "absent", "", None)),
    ],
)
def test_an_event_is_one_line_for_people_and_for_programs(
    was: Sight | None, now: Sight | None, words: str, health: tuple[object, ...]
) -> None:
    happening = Happening(1_764_151_200.25, PATH, was, now)
    known: events.Follower = Known()  # type: ignore[assignment]  # what a line asks it
    assert events.text_line(happening, known) == f"2025-11-26T10:00:00.250Z  /n/dev1/1  {words}"
    assert json.loads(events.json_line(happening, known)) == {
        "timestamp": "2025-11-26T10:00:00.250Z", "path": "/n/dev1/1", "id": "n-dev1-1", "resource": "a.b/dev1", "host": "host-of-n",
        **dict(zip(("was", "health", "reason", "numa_node"), health, strict=True)),
    }  # fmt: skip
