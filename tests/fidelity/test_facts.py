"""docs/kubelet-contract.md and the tests speak of the same."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "docs" / "kubelet-contract.md").read_text()


def test_the_facts_marked_as_tried_are_those_that_claims_are_named_after() -> None:
    claims = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    tried = {f"{kind.upper()}-{number}" for kind, number in re.findall(r"def test_([a-z]+)_([0-9]+)_", claims)}
    marked = set(re.findall(r"^\*\*([A-Z]+-[0-9]+)[^*\n]*\*\* \[R\]", CONTRACT, re.MULTILINE))

    assert marked == tried


def test_every_test_that_the_contract_names_is_one_that_there_is() -> None:
    there_are = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }

    assert set(re.findall(r"`(test_\w+)`", CONTRACT)) - there_are == set()
