"""The facts of the contract by their numbers: docs/kubelet-contract.md, which comes with the package."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

_FACT: Final = re.compile(r"\*\*([A-Z]+(?:-[A-Z]+)*-\d+[a-z]?)\b[^*]*\*\*")
FILE: Final = "kubelet-contract.md"


def facts() -> dict[str, str]:
    """Return number → text, in one paragraph each, as the document has them."""
    text = (resources.files("fakekubelet.conformance") / FILE).read_text(encoding="utf-8")
    found = {}
    for block in re.split(r"\n(?=(?:- )?\*\*[A-Z])|\n\n", text):
        fact = _FACT.match(block.removeprefix("- "))
        if fact is not None:
            found[fact[1]] = " ".join(block.removeprefix("- ").split()).replace("**", "")
    return found
