"""The names and values of a tree, as docs/tree.md has them: what is one, what is none, and in which words that is said."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw import layout
from fakehw.layout import Health, TreePath

NODE_RULE = "a node's name must be letters, digits, '.', '_' or '-', with a letter or digit at both ends"
CLASS_RULE = (
    "a class's name must be lower-case letters, digits or '_', a letter first, and not dev_ with a number "
    "(its variables would be those of devK) or host (a file of the node)"
)
DEVICE_RULE = "a device's name must be a number from 0 to 999999999 without leading zeros"
DEPTH_RULE = "must be NODE, NODE/CLASS or NODE/CLASS/NUMBER, such as node2/dev3/2"


def test_the_files_of_a_tree_are_called_as_the_plugin_reads_them() -> None:
    assert {
        name: getattr(layout, name)
        for name in ("HOST", "RESOURCE", "HEALTH", "NUMA_NODE", "DEVICE_NODE", "RPC_FAULTS", "API", "DRIVER",
                     "UNHEALTHY_EFFECT", "TYPES", "TAINTS", "PRIVATE_DIR")
    } == {
        "HOST": "host",
        "RESOURCE": "resource",
        "HEALTH": "health",
        "NUMA_NODE": "numa_node",
        "DEVICE_NODE": "node",
        "RPC_FAULTS": "rpc",
        "API": "api",
        "DRIVER": "driver",
        "UNHEALTHY_EFFECT": "unhealthy_effect",
        "TYPES": "types",
        "TAINTS": "taints",
        "PRIVATE_DIR": ".fakehw",
    }  # fmt: skip  # a name beside its word
    assert layout.SETTINGS == ("api", "driver", "unhealthy_effect", "types")
    assert layout.APIS == ("device-plugin", "dra")
    assert (layout.DEFAULT_DOMAIN, layout.DEFAULT_ROOT) == ("myplugin.io", "/fakehw")
    assert layout.taint_file("drain") == "taints/drain"


def test_character_devices_are_memory_devices_of_the_kernel() -> None:
    """Documentation/admin-guide/devices.txt: major 1."""
    assert layout.DEVICE_NODES == {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8)}


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        (
            layout.NODE_NAME,
            ["a", "9", "A9", "a-b", "a.b", "a_b", "worker-1.example", "a--b"],
            ["", "-a", "a-", ".a", "a.", "_a", "a_", "a b", "a/b", "a\n", "é", "a:b"],
        ),
        (
            layout.CLASS_NAME,
            ["a", "z", "dev3", "gpu_2", "a9", "a_", "dev_x", "dev_1x", "xdev_1", "hosts", "dev_"],
            ["", "A", "aB", "9a", "_a", "a-b", "dev_1", "dev_12", "host", "a\n", "dev_1\n", "host\n", "é"],
        ),
        (
            layout.DEVICE_NUMBER,
            ["0", "1", "9", "10", "999999999", "100000000"],
            ["", "00", "01", "1000000000", "-1", "+1", "a", "1a", "1\n", "٣"],
        ),
        (layout.ATTRIBUTE_NAME, ["a", "z", "a9", "a_b", "numa_node"], ["", "A", "aB", "9", "_a", "a-b", "a.b", "a\n"]),
        (layout.NUMBER, ["0", "-1", "9999999999", "007"], ["", "-2", "-0", "12345678901", "+1", "1.0", "1\n", "٣"]),
    ],
)  # fmt: skip  # a rule a block
def test_what_is_a_name_and_what_is_none(pattern: re.Pattern[str], names: list[str], others: list[str]) -> None:
    assert [name for name in names if not pattern.fullmatch(name)] == []
    assert [name for name in others if pattern.fullmatch(name)] == []


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("node2", TreePath("node2"), "/node2"),
        ("node2/dev3", TreePath("node2", "dev3"), "/node2/dev3"),
        ("node2/dev3/0", TreePath("node2", "dev3", 0), "/node2/dev3/0"),
        ("/node2/dev3/12", TreePath("node2", "dev3", 12), "/node2/dev3/12"),
        ("node2/dev3/12/", TreePath("node2", "dev3", 12), "/node2/dev3/12"),
        ("/node2/", TreePath("node2"), "/node2"),
    ],
)
def test_a_path_is_a_node_a_class_or_a_device(text: str, expected: TreePath, shown: str) -> None:
    path = TreePath.parse(text)

    assert path == expected
    assert str(path) == shown
    assert path.parts == tuple(shown[1:].split("/"))
    assert path.id == shown[1:].replace("/", "-")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", NODE_RULE),
        ("/", NODE_RULE),
        ("//node2", NODE_RULE),
        ("-a/dev3/1", NODE_RULE),
        ("a/", None),
        ("a//1", CLASS_RULE),
        ("a/Dev/1", CLASS_RULE),
        ("a/host", CLASS_RULE),
        ("a/dev3//", DEVICE_RULE),
        ("a/dev3/x", DEVICE_RULE),
        ("a/dev3/01", DEVICE_RULE),
        ("a/dev3/1/health", DEPTH_RULE),
        ("-a/B/x/health", DEPTH_RULE),
        (f"{'n' * 57}/dev3/1", f"the device ID {'n' * 57}-dev3-1 would be longer than 63 characters"),
        (f"{'n' * 56}/dev3/1", None),
        (f"{'n' * 70}/dev3", None),
    ],
)
def test_a_path_that_is_none_is_refused_with_the_rule_of_its_first_wrong_part(text: str, rule: str | None) -> None:
    if rule is None:
        assert str(TreePath.parse(text)) == "/" + text.strip("/")
        return
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        TreePath.parse(text)


def test_people_count_the_numbers_in_names() -> None:
    names = ["b", "a10", "a2", "a2b", "a", "10", "9", "a2a10", "a2a9", "a02", "A1"]

    assert sorted(names, key=layout.natural_key) == [
        "A1", "a", "a2", "a02", "a2a9", "a2a10", "a2b", "a10", "b", "9", "10",
    ]  # fmt: skip  # one order
    assert layout.natural_key("ab10c") == ((-1, "ab"), (10, ""), (-1, "c"))
    assert layout.natural_key("") == ()


def test_a_node_comes_before_its_classes_and_a_class_before_its_devices() -> None:
    paths = [TreePath("n", "dev1", 0), TreePath("n", "dev1"), TreePath("n"), TreePath("m", "dev9", 3)]

    assert sorted(paths, key=lambda path: path.sort_key) == [paths[3], paths[2], paths[1], paths[0]]
    assert TreePath("n2", "dev3", 4).sort_key == (((-1, "n"), (2, "")), ((-1, "dev"), (3, "")), 4)
    assert TreePath("n").sort_key == (((-1, "n"),), (), -1)


@pytest.mark.parametrize(
    ("device_id", "expected"),
    [
        ("node2-dev3-2", "node2-dev3-2"),
        ("n" * 63, "n" * 63),
        ("n" * 64, f"{'n' * 56}-ce068a"),
        ("Node2-dev3-2", "node2-dev3-2-ce1b35"),
        ("a.b_c-dev3-2", "a-b-c-dev3-2-937267"),
        ("a-", "a-9baf44"),
        ("-", "3973e0"),
        ("", "e3b0c4"),
    ],
)
def test_a_device_is_called_in_a_slice_by_its_id_if_that_is_a_label(device_id: str, expected: str) -> None:
    """The digits are the first six of the SHA-256 of the ID, as the plugin's own are."""
    assert layout.slice_name(device_id) == expected


@given(st.text(max_size=90))
def test_a_name_in_a_slice_is_always_a_label(device_id: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", layout.slice_name(device_id))


@pytest.mark.parametrize(
    ("name", "number", "prefix", "resource"),
    [
        ("dev3", 3, "DEV_3_ID", "d.io/mydevice-3"),
        ("dev0", 0, "DEV_0_ID", "d.io/mydevice-0"),
        ("dev07", 7, "DEV_7_ID", "d.io/mydevice-7"),
        ("dev", None, "DEV_ID", None),
        ("dev3x", None, "DEV3X_ID", None),
        ("mydev3", None, "MYDEV3_ID", None),
        ("gpu", None, "GPU_ID", None),
    ],
)
def test_a_class_called_devk_has_a_number_and_by_that_its_variables_and_its_resource(
    name: str, number: int | None, prefix: str, resource: str | None
) -> None:
    assert layout.class_number(name) == number
    assert layout.env_prefix(name) == prefix
    assert layout.default_resource(name, "d.io") == resource


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("healthy", (Health.HEALTHY, "")),
        ("unhealthy", (Health.UNHEALTHY, "")),
        ("UnHealthy  too   hot\tto \n touch ", (Health.UNHEALTHY, "too hot to touch")),
        ("\n healthy\x1b[1m", (None, "says 'healthy [1m'")),
        ("healthy \x00x", (Health.HEALTHY, "x")),
        ("", (None, "is empty")),
        (" \n\t", (None, "is empty")),
        ("sick", (None, "says 'sick'")),
        ("s" * 41, (None, f"says '{'s' * 40}'")),
        ("s" * 20 + "\n" + "t" * 30, (None, f"says '{'s' * 20} {'t' * 19}'")),
    ],
)
def test_a_health_file_says_a_word_and_perhaps_why(text: str, expected: tuple[Health | None, str]) -> None:
    assert layout.parse_health(text) == expected


@given(st.sampled_from(Health), st.text(max_size=50))
def test_what_is_written_of_a_health_is_read_again(health: Health, reason: str) -> None:
    text = layout.health_text(health, reason)

    assert layout.parse_health(text) == (health, layout.one_line(reason))
    assert text == text.strip()
    layout.check_value("health", text)


def test_a_health_without_a_reason_is_a_word() -> None:
    assert layout.health_text(Health.HEALTHY) == "healthy"
    assert layout.health_text(Health.UNHEALTHY, "too\nhot") == "unhealthy too hot"
    assert [str(health) for health in Health] == ["healthy", "unhealthy"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a  b\t\nc", "a b c"), ("\x1b[2Ja\x7f", "[2Ja"), (" é ", "é"), ("a\u2028b\xa0c", "a b c"), ("", "")],
)
def test_one_line_has_no_control_characters_and_single_spaces(text: str, expected: str) -> None:
    assert layout.one_line(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-1", True), ("0", True), ("2147483647", True), ("2147483648", False), ("0000000007", True)]
    + [(text, False) for text in ("", "-2", "00000000007", "1.0", "+1", "\u0661", "²", "a")],
)
def test_a_numa_node_is_a_number_that_the_kubelet_can_hold_or_minus_one(text: str, expected: bool) -> None:
    assert layout.is_numa_node(text) is expected


TAINT_RULE = (
    "must be [KEY][=VALUE]:EFFECT or EFFECT, such as gpu.example/xid=48:NoSchedule; "
    "effects: NoSchedule, NoExecute or None"
)


@pytest.mark.parametrize(
    "text",
    [
        "NoSchedule", "NoExecute", "None", ":None", "a:NoSchedule", "a=b:NoExecute", "=b:None", "a.b/c=d:None",
        f"{'a' * 63}:None", f"a={'b' * 63}:None", f"{'a' * 253}/b:None", "a=:None", "A_b.c-9:None", "a-b.c9/x:None",
        f"{'a' * 60}.{'b' * 60}/x:None",
    ],
)  # fmt: skip  # one list
def test_a_taint_is_a_key_a_value_and_an_effect_as_far_as_they_are_said(text: str) -> None:
    layout.check_taint("name", text)


@pytest.mark.parametrize(
    "text",
    [
        "", "Noschedule", "PreferNoSchedule", "a", "a=b", "a:b:None", "-a:None", "a-:None", "a=-b:None", "a=b-:None",
        "/a:None", "a/:None", "A.b/c:None", "a..b/c:None", "-a/b:None", "a/b/c:None", f"{'a' * 64}:None",
        f"a={'b' * 64}:None", f"{'a' * 254}/b:None", "a b:None", "a=b=c:None", "None ", "a_b/c:None", "a:None\n",
    ],
)  # fmt: skip  # one list
def test_what_is_no_taint_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(TAINT_RULE)}$"):
        layout.check_taint("name", text)


def test_a_taint_without_a_key_has_the_name_of_its_file() -> None:
    layout.check_taint("gpu-1", "None")
    for name in ("a b", "-a", "n" * 64):
        layout.check_taint(name, "key:None")
        with pytest.raises(ValueError, match="must be"):
            layout.check_taint(name, "None")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("health", True), ("numa_node", True), ("model", True), ("node", False), ("Model", False), ("taints/x", False)],
)
def test_a_file_of_one_value_is_called_as_an_attribute(name: str, is_one: bool) -> None:
    if is_one:
        layout.check_attribute(name)
        return
    rule = "must be the name of an attribute: lower-case letters, digits or '_', a letter first, and not node"
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        layout.check_attribute(name)


LINE_RULE = "must be one line of fewer than 4096 bytes"
HEALTH_VALUE_RULE = "must be healthy or unhealthy, then perhaps a reason"
NUMA_RULE = "must be a whole number from -1 to 2147483647"


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("model", "X100", None),
        ("model", "", None),
        ("model", "x" * 4095, None),
        ("model", "x" * 4096, LINE_RULE),
        ("model", "é" * 2047, None),
        ("model", "é" * 2048, LINE_RULE),
        ("model", "a\nb", LINE_RULE),
        ("model", " a", LINE_RULE),
        ("model", "a  b", LINE_RULE),
        ("model", "sick", None),
        ("health", "healthy", None),
        ("health", "unhealthy too hot", None),
        ("health", "sick", HEALTH_VALUE_RULE),
        ("health", "", HEALTH_VALUE_RULE),
        ("numa_node", "-1", None),
        ("numa_node", "2147483647", None),
        ("numa_node", "2147483648", NUMA_RULE),
        ("numa_node", "one", NUMA_RULE),
    ],
)
def test_a_value_is_one_short_line_and_that_of_health_and_numa_node_what_they_say(
    name: str, value: str, rule: str | None
) -> None:
    if rule is None:
        layout.check_value(name, value)
        return
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        layout.check_value(name, value)
