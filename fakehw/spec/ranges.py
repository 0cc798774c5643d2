"""`gpu-[1-1000]` and `1-4`: keys of a spec that stand for many. Two numbers are kept, never what lies between."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

NODE_RANGE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\[([0-9]{1,9})-([0-9]{1,9})\]([A-Za-z0-9._-]*)")
DEVICE_RANGE: Final = re.compile(r"(0|[1-9][0-9]{0,8})(?:-(0|[1-9][0-9]{0,8}))?")

PLACEHOLDERS: Final = ("node", "index", "class", "number", "id")
"""What may stand in braces. `index` is the number that a range of node names gave a node."""

_PLACEHOLDER: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Names:
    """The names that one key of `nodes` stands for: one, or prefix, number, suffix for each number of a range."""

    prefix: str
    suffix: str = ""
    first: int | None = None
    last: int = 0
    width: int = 0
    """Digits of each number, filled up with zeros; 0: as many as it has."""

    @classmethod
    def parse(cls, key: str) -> Names:
        """Return the names of a key; ValueError says which rule its range breaks."""
        match = NODE_RANGE.fullmatch(key)
        if match is None:
            return cls(key)
        prefix, first, last, suffix = match.groups()
        if int(first) > int(last):
            raise ValueError(f"[{first}-{last}]: must begin with its lower number")
        is_filled = first[0] == "0" and len(first) > 1
        if (is_filled or last[0] == "0") and len(first) != len(last):
            raise ValueError(f"[{first}-{last}]: both numbers must have as many digits, where one begins with 0")
        return cls(prefix, suffix, int(first), int(last), len(first) if is_filled else 0)

    @property
    def is_range(self) -> bool:
        """Tell whether there are numbers in these names."""
        return self.first is not None

    def __len__(self) -> int:
        return 1 if self.first is None else self.last - self.first + 1

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        """Yield each name with its index, as text; None where there is no range."""
        if self.first is None:
            yield self.prefix, None
        else:
            yield from (self._named(number) for number in range(self.first, self.last + 1))

    def index(self, name: str) -> str | None:
        """Return the index of `name`, which must be one of these; KeyError if it is not."""
        if self.first is None:
            if name != self.prefix:
                raise KeyError(name)
            return None
        digits = name[len(self.prefix) : len(name) - len(self.suffix)]
        if digits.isdecimal() and digits.isascii() and len(digits) <= 9 and self.first <= int(digits) <= self.last:
            named, index = self._named(int(digits))
            if named == name:
                return index
        raise KeyError(name)

    def only(self, name: str) -> Names:
        """Return one of these names, which keeps its index."""
        index = self.index(name)
        if index is None:
            return self
        return Names(self.prefix, self.suffix, int(index), int(index), self.width)

    @property
    def ends(self) -> tuple[tuple[str, str | None], tuple[str, str | None]]:
        """Return the first and the last name, each with its index."""
        if self.first is None:
            return (self.prefix, None), (self.prefix, None)
        return self._named(self.first), self._named(self.last)

    def _named(self, number: int) -> tuple[str, str]:
        index = f"{number:0{self.width}d}"
        return f"{self.prefix}{index}{self.suffix}", index


def numbers(key: str) -> range:
    """Return the device numbers of a key such as `7` or `1-4`; ValueError says which rule it breaks."""
    match = DEVICE_RANGE.fullmatch(key)
    if match is None:
        raise ValueError("must be a device number or a range of them")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise ValueError(f"{key}: must begin with its lower number")
    return range(first, last + 1)


class Intervals:
    """A set of whole numbers as sorted ranges that do not touch; as large as it likes, at the cost of its edges."""

    __slots__ = ("_parts", "_starts")

    def __init__(self, parts: Iterable[range]) -> None:
        joined: list[range] = []
        for part in sorted((part for part in parts if part), key=lambda part: part.start):
            if joined and part.start <= joined[-1].stop:
                joined[-1] = range(joined[-1].start, max(joined[-1].stop, part.stop))
            else:
                joined.append(part)
        self._parts = joined
        self._starts = [part.start for part in joined]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[int]:
        for part in self._parts:
            yield from part

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        place = bisect.bisect_right(self._starts, number) - 1
        return place >= 0 and number in self._parts[place]

    @property
    def highest(self) -> int:
        """Return the highest number; 0 if there is none."""
        return self._parts[-1].stop - 1 if self._parts else 0


def fill(text: str, names: Mapping[str, str]) -> str:
    """Replace the placeholders in `names`; {{ and }} are braces. ValueError names what is not a placeholder."""

    def value(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if match[1] not in names:
            known = ", ".join(f"{{{name}}}" for name in names)
            raise ValueError(
                f"{match[0]} is no placeholder here; known are {known}, and {{{{ }}}} for braces themselves"
            )
        return names[match[1]]

    return _PLACEHOLDER.sub(value, text)


def is_template(text: str) -> bool:
    """Tell whether `text` has anything that `fill` would change."""
    return "{" in text or "}" in text
