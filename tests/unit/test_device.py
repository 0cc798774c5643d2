from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin import device
from tests.factories import make_device


def test_the_id_comes_from_the_path_and_not_from_a_position() -> None:
    assert make_device(2, node="node2", class_name="dev3").id == "node2-dev3-2"


def test_the_path_in_a_container_is_the_path_in_the_tree() -> None:
    assert make_device(2, node="node2", class_name="dev3").path == "/node2/dev3/2"


@pytest.mark.parametrize(
    ("class_name", "prefix"),
    [
        pytest.param("dev3", "DEV_3_ID", id="numbered class"),
        pytest.param("dev12", "DEV_12_ID", id="two digits"),
        pytest.param("gpu", "GPU_ID", id="any other class"),
        pytest.param("a100_80g", "A100_80G_ID", id="class with digits inside"),
        pytest.param("device", "DEVICE_ID", id="starts like a numbered class"),
    ],
)
def test_variables_are_named_after_the_class(class_name: str, prefix: str) -> None:
    assert make_device(class_name=class_name).env_prefix == prefix


def test_node10_comes_after_node2() -> None:
    names = ["node10", "node2", "node1", "a", "node"]

    assert sorted(names, key=device.natural_key) == ["a", "node", "node1", "node2", "node10"]


NODES = st.from_regex(device.NODE_NAME, fullmatch=True)
CLASSES = st.from_regex(device.CLASS_NAME, fullmatch=True)


@given(st.lists(st.tuples(NODES, CLASSES, st.integers(0, 10**9 - 1)), unique=True, min_size=2))
def test_two_valid_paths_never_share_an_id(paths: list[tuple[str, str, int]]) -> None:
    ids = {make_device(number, node=node, class_name=class_name).id for node, class_name, number in paths}

    assert len(ids) == len(paths)


@given(CLASSES, CLASSES)
def test_two_valid_classes_never_share_a_variable(first: str, second: str) -> None:
    same = make_device(class_name=first).env_prefix == make_device(class_name=second).env_prefix

    assert same == (first == second or device.class_number(first) == device.class_number(second) is not None)


@pytest.mark.parametrize("name", ["²", "8²", "٣", "Ⅷ", "x\udcff", "9" * 255])
def test_any_name_in_a_directory_can_be_sorted(name: str) -> None:
    """A directory called "²" used to end the plugin: a digit to str.isdigit, no number to int."""
    assert sorted([name, "dev2"], key=device.natural_key)
