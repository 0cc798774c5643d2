"""Whatever bytes stand in a tree or in an event, they become a device, a complaint or nothing; never an error."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from fakehw import layout
from fakehw_plugin import device, resource_name
from fakehw_plugin.device import Health
from fakehw_plugin.tree import attributes, mounts

BYTES = st.binary(max_size=200) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
WORDS = st.sampled_from([b"healthy", b"Unhealthy", b"HEALTHY", b" ", b"\n", b"\x00", b"\x1b[2J", b"\xff", b"0"])
CONTENT = BYTES | st.lists(WORDS | BYTES, max_size=6).map(b"".join) | st.just(b"x" * 5000)
NAMES = st.text(max_size=80) | st.from_regex(r"[a-z0-9./-]{1,80}") | st.sampled_from(["²", "४", "\udcff", "1" * 300])


def reading_of(content: bytes, name: str = "health") -> tuple[attributes.HealthReading, int | str | None]:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / name).write_bytes(content)
        fd = os.open(directory, os.O_RDONLY)
        try:
            reading = attributes.read_health(dir_fd=fd)
            try:
                return reading, attributes.read_numa_node(dir_fd=fd)
            except attributes.AttributeFileError as error:
                return reading, str(error)
        finally:
            os.close(fd)


@given(content=CONTENT)
def test_any_health_file_is_a_state_with_a_printable_reason_of_one_line(content: bytes) -> None:
    reading, _ = reading_of(content)

    assert reading.health in Health
    assert len(reading.reason) <= 300
    assert reading.reason.isprintable()
    if reading.health is Health.HEALTHY:
        assert content.decode().split()[0].lower() == "healthy"


@given(content=CONTENT)
def test_both_sides_of_the_contract_read_the_same_health(content: bytes) -> None:
    """fakehw and plugin read the tree each on their own, so a text means the same to both."""
    reading, _ = reading_of(content)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        assert reading.health is Health.UNHEALTHY
        return
    if len(content) <= attributes.MAX_BYTES:
        health, _ = layout.parse_health(text.strip())
        assert (reading.health is Health.HEALTHY) == (health is layout.Health.HEALTHY)


@given(content=CONTENT | st.integers(-(1 << 70), 1 << 70).map(lambda number: str(number).encode()))
def test_any_numa_node_is_a_number_in_range_or_a_complaint(content: bytes) -> None:
    _, numa_node = reading_of(content, "numa_node")

    assert numa_node is None or isinstance(numa_node, str) or 0 <= numa_node < 1 << 31


@given(name=NAMES)
@example("²")
def test_any_name_can_be_sorted_and_only_safe_ones_are_names(name: str) -> None:
    device.natural_key(name)
    for rule in (device.NODE_NAME, device.CLASS_NAME, device.DEVICE_NUMBER):
        if rule.fullmatch(name):
            assert name.isascii()
            assert not set(name) & set("/\n\0 ")
            assert name not in (".", "..")


@given(text=NAMES | st.text())
def test_any_text_is_a_resource_name_that_survives_or_a_reason_why_not(text: str) -> None:
    try:
        name = resource_name.ResourceName.parse(text)
    except ValueError as error:
        assert str(error)
    else:
        assert name == text
        assert name.isascii()
        assert name.count("/") == 1


@given(text=st.text())
def test_a_log_line_stays_one_printable_line(text: str) -> None:
    line = attributes.one_line(text)

    assert line.isprintable()
    assert len(line) <= attributes.MAX_REASON


@given(raw=st.binary(max_size=300), root=st.sampled_from([b"/", b"/fakehw", b"/a b\\c"]))
def test_any_list_of_mounts_is_read(raw: bytes, root: bytes) -> None:
    mounts.relevant(raw, root)


def test_mounts_at_above_and_below_the_root_matter_and_no_others() -> None:
    lines = [b"%d 1 0:5 / %s rw - tmpfs none rw" % (number, path) for number, path in enumerate(
        [b"/", b"/a\\040b", b"/a\\040b/node1", b"/a\\040bc", b"/other"])]  # fmt: skip
    found = mounts.relevant(b"\n".join(lines), b"/a b")

    assert sorted(line.split()[4] for line in found) == [b"/", b"/a\\040b", b"/a\\040b/node1"]
