"""Any bytes are a topology or a list of what is wrong with them, with lines; never another error, never code that runs."""

from __future__ import annotations

import io

import yaml
from hypothesis import given
from hypothesis import strategies as st

from fakehw.errors import SpecError
from fakehw.spec.check import read_topology

SCALARS = st.none() | st.booleans() | st.integers(-5, 3000) | st.floats(allow_nan=False) | st.text(max_size=12)
KEYS = st.sampled_from(
    ["nodes", "domain", "host", "classes", "resource", "count", "devices", "health", "numa_node", "device_node",
     "attributes", "node1", "dev1", "gpu", "1", "../..", "a/b"]
) | st.text(max_size=8)  # fmt: skip
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=25
)
PIECES = st.sampled_from(
    ["nodes:", "\n", " ", "  ", "- ", "&a ", "*a", "!!python/object/apply:os.system ", "!!binary ", "{", "}", "[", "]",
     ": ", "<<: ", "node1", "count: ", "3", "? ", "| ", "%YAML 9.9\n", "---\n", "\x00", "\ufeff", "'", '"']
)  # fmt: skip


def check(raw: bytes) -> None:
    try:
        topology = read_topology(io.BytesIO(raw), source="fuzz")
    except SpecError as error:
        assert "fuzz:" in str(error)
        return
    for node in topology.nodes.values():
        assert node.name.isascii()
        assert not set(node.name) & set("/\0\n")
        for one in node.classes.values():
            assert one.name.isascii()
            assert "/" not in one.name
            assert one.resource.count("/") == 1


@given(raw=st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    check(raw)


@given(pieces=st.lists(PIECES, max_size=30))
def test_any_yaml_like_text(pieces: list[str]) -> None:
    check("".join(pieces).encode())


@given(document=DOCUMENTS)
def test_any_document_of_the_right_words(document: object) -> None:
    check(yaml.safe_dump(document).encode())


@given(nodes=st.dictionaries(KEYS, DOCUMENTS, max_size=3))
def test_any_nodes(nodes: dict[str, object]) -> None:
    check(yaml.safe_dump({"nodes": nodes}).encode())
