"""What a hand is asked to do, and what it answers: values from and to JSON. Pure.

A request is an object with `do` and what that needs; the answer has `done`, or `error` in one line:

    {"do": "list"}                                      {"done": [RECORD, ...]}
    {"do": "set", "wanted": ["*/dev3/*", ...], "name": "health", "value": "unhealthy over temperature"}
                                                        {"done": {"changed": [PATH, ...], "same": [PATH, ...],
                                                                  "missed": ["*/dev9/*"], "hosts": {PATH: HOST}}}
    {"do": "plug", "wanted": [...]}, {"do": "unplug", ...}     the same
    {"do": "events"}                                    {"event": EVENT} for each, until the pipe is closed
    {"do": "play", "changes": [CHANGE, ...], "lasts_s": 60, "speed": 1, "keep": false}
                                                        {"receipt": RECEIPT} for each, then {"done": COUNT}

What is as it should be already is `same`, so that a request may be repeated; what is wanted and fits nothing here is
`missed`, and no error: it may be meant for another node. `hosts` has the Kubernetes nodes of those that name one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fakehw import layout
from fakehw.errors import InputError
from fakehw.layout import TreePath
from fakehw.scenario.timeline import Act, Change
from fakehw.tree import selection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fakehw.tree.selection import Wanted

VERSION: Final = 1
"""Of this language; a hand says it first of all: {"hand": 1, "fakehw": "0.1.0"}."""


def greeting(version: str) -> dict[str, Any]:
    """Return what a hand of fakehw's `version` says first of all."""
    return {"hand": VERSION, "fakehw": version}


def change_to_json(change: Change) -> dict[str, Any]:
    """Return a change as a hand is told of it."""
    return {
        "at_s": change.at_s,
        "step": change.step,
        "act": change.act.value,
        "paths": [str(path) for path in change.paths],
        "text": change.text,
        "name": change.name,
    }


def change_from_json(told: Mapping[str, Any]) -> Change:
    """Return the change that was told; InputError for what is none."""
    try:
        paths = tuple(map(TreePath.parse, told["paths"]))
        name = str(told.get("name", layout.HEALTH))  # an older kubectl-fakehw has nothing else to set
        layout.check_attribute(name)
        return Change(float(told["at_s"]), str(told["step"]), Act(told["act"]), paths, str(told["text"]), name)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{told!r}: is no change: {error}") from None


def wanted_from_json(told: Mapping[str, Any]) -> Sequence[Wanted]:
    """Return the paths and patterns of a request; InputError for what are none."""
    try:
        return [selection.parse(text) for text in told["wanted"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{told.get('wanted')!r}: are no paths: {error}") from None
