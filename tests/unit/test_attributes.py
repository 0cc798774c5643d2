"""Attribute files as anybody may leave them. FIFOs, devices and links are in integration/test_hostile_tree.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin.device import Health
from fakehw_plugin.tree import attributes

if TYPE_CHECKING:
    from pathlib import Path

    from pyfakefs.fake_filesystem import FakeFilesystem


def read_health(content: bytes, fs: FakeFilesystem) -> attributes.HealthReading:
    fs.create_file("/dev3/1/health", contents=content)
    fd = os.open("/dev3/1", os.O_RDONLY)
    try:
        return attributes.read_health(dir_fd=fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("content", "health", "reason"),
    [
        pytest.param(b"healthy\n", Health.HEALTHY, "", id="healthy"),
        pytest.param(b"unhealthy\n", Health.UNHEALTHY, "", id="unhealthy"),
        pytest.param(b"  HeaLTHY \r\n", Health.HEALTHY, "", id="case and space do not matter"),
        pytest.param(b"unhealthy ECC threshold\n", Health.UNHEALTHY, "ECC threshold", id="words after are the reason"),
        pytest.param(b"unhealthy\nover temperature\n", Health.UNHEALTHY, "over temperature", id="a line after too"),
        pytest.param(b"unhealthy\n\x1b[31mred\x00\n", Health.UNHEALTHY, "[31mred", id="no control characters pass"),
        pytest.param(b"", Health.UNHEALTHY, "health file is empty", id="empty"),
        pytest.param(b" \n\t", Health.UNHEALTHY, "health file is empty", id="blank"),
        pytest.param(b"unhealthyish", Health.UNHEALTHY, "health file says 'unhealthyish'", id="another word"),
        pytest.param(b"healthy" * 1000, Health.UNHEALTHY, "health file is longer than 4096 bytes", id="too long"),
        pytest.param(b"\xff\xfe", Health.UNHEALTHY, "health file is not UTF-8 text", id="binary"),
    ],
)
def test_health_is_read_as_the_abi_says(content: bytes, health: Health, reason: str, fs: FakeFilesystem) -> None:
    reading = read_health(content, fs)

    assert (reading.health, reading.reason) == (health, reason)


def test_a_missing_health_file_is_unhealthy_and_may_be_about_to_appear(fs: FakeFilesystem) -> None:
    fs.create_dir("/dev3/1")
    fd = os.open("/dev3/1", os.O_RDONLY)

    assert attributes.read_health(dir_fd=fd) == attributes.HealthReading(
        Health.UNHEALTHY, "health file is missing", is_whole=False
    )


@pytest.mark.parametrize("content", [b"", b"unh", b"heal"], ids=["empty", "half unhealthy", "half healthy"])
def test_half_a_word_is_not_settled(content: bytes, fs: FakeFilesystem) -> None:
    assert not read_health(content, fs).is_whole


@pytest.mark.parametrize(
    ("content", "numa_node"),
    [
        pytest.param("0\n", 0, id="zero"),
        pytest.param("3\n", 3, id="three"),
        pytest.param("-1\n", None, id="minus one is none"),
        pytest.param(" 1 ", 1, id="space does not matter"),
    ],
)
def test_numa_nodes_are_read_as_in_sysfs(content: str, numa_node: int | None, tmp_path: Path) -> None:
    (tmp_path / "numa_node").write_text(content)
    fd = os.open(tmp_path, os.O_RDONLY)

    assert attributes.read_numa_node(dir_fd=fd) == numa_node
    os.close(fd)


@pytest.mark.parametrize("content", ["", "x", "-2", "1.5", "99999999999", "²", "1 2"])
def test_a_bad_numa_node_is_refused_with_its_value(content: str, tmp_path: Path) -> None:
    (tmp_path / "numa_node").write_text(content)
    fd = os.open(tmp_path, os.O_RDONLY)

    with pytest.raises(attributes.AttributeFileError, match="not a whole number from -1"):
        attributes.read_numa_node(dir_fd=fd)
    os.close(fd)


@given(st.text())
def test_a_reason_is_always_one_printable_line_of_bounded_length(text: str) -> None:
    line = attributes.one_line(text)

    assert len(line) <= attributes.MAX_REASON
    assert line.isprintable()
    assert line == line.strip()
