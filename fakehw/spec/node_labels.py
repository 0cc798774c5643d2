"""Labels and taints of Kubernetes nodes, by the API server's rules: checked when a spec is read."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from fakehw import resource_name
from fakehw.spec import ranges

EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")

_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_TAINT: Final = re.compile(r"([^=:]+)(?:=([^=:]*))?:([A-Za-z]+)")


class Taint(NamedTuple):
    """One taint; an empty value is none."""

    key: str
    value: str
    effect: str


def check_name(text: str) -> None:
    """Raise ValueError unless `text` can be the name of a label or the key of a taint."""
    domain, slash, name = text.rpartition("/")
    if slash:
        resource_name.check_host(domain)
    if not _NAME.fullmatch(name):
        raise ValueError(
            "must be at most 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends, "
            "and perhaps a domain and a slash before it"
        )


def check_value(text: str) -> None:
    """Raise ValueError unless `text` can be the value of a label, its placeholders filled in."""
    filled = ranges.fill(text, {"node": "n", "index": "1"})
    if filled and not _NAME.fullmatch(filled):
        raise ValueError("must be at most 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends")


def check_taint(text: str) -> None:
    """Raise ValueError unless `text` is KEY=VALUE:EFFECT or KEY:EFFECT."""
    taint(text)


def taint(text: str) -> Taint:
    """Return a taint as kubectl reads it; ValueError says which rule it breaks."""
    match = _TAINT.fullmatch(text)
    if match is None or match[3] not in EFFECTS:
        raise ValueError(f"must be KEY=VALUE:EFFECT or KEY:EFFECT, with one of {', '.join(EFFECTS)}")
    check_name(match[1])
    if match[2]:
        check_value(match[2])
    return Taint(match[1], match[2] or "", match[3])
