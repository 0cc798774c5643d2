"""Everything that this package raises on purpose.

FakehwError
├── InputError     a flag or a path breaks its rule: one line, exit 2
│   └── SpecError      a spec does: one line for each error, FILE:LINE first
└── TreeError      the tree or the file system stands in the way: one line, exit 1
"""

from __future__ import annotations


class FakehwError(Exception):
    """Base of all errors of this package; `lines` are what a person reads, one problem each."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class InputError(FakehwError):
    """What a person gave breaks its rule; each line names value, rule and where it stands."""


class SpecError(InputError):
    """A topology spec breaks rules; each line is `FILE:LINE: path.of.keys: value: rule`."""


class TreeError(FakehwError):
    """The tree cannot be read or written as asked; nothing that was visible has changed."""
