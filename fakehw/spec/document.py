"""YAML as plain data with line numbers. Strict where YAML is loose; a hostile document costs little.

Built on the parser's events, with no recursion and no constructors: nothing can be instantiated, nesting and size are
bounded, aliases are counted as often as they are used, a key given twice is an error. Plain scalars follow YAML 1.2
(`yes` and `12:30` are text), and below a key named `attributes` a scalar is the text as typed (`0042`, `1.10`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from fakehw.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES: Final = 1 << 20
"""Of a document; as much as a ConfigMap holds."""

_MAX_DEPTH: Final = 16
_MAX_VALUES: Final = 500_000
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_SCALAR_TAGS: Final = {None, "!", *(_TAG + name for name in ("str", "int", "float", "bool", "null"))}
_INT: Final = re.compile(r"[-+]?[0-9]{1,15}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_MAX_WHOLE: Final = 1e15
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

Path = tuple[str | int, ...]


@dataclass(slots=True)
class Document:
    """Plain data, and the line (from 1) where each path of keys begins."""

    source: str
    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)

    def where(self, path: Path) -> str:
        """Return FILE:LINE of a path, or of the nearest thing around it."""
        around = (path[:length] for length in range(len(path), -1, -1))
        return f"{self.source}:{next((self.lines[place] for place in around if place in self.lines), 1)}"


@dataclass(slots=True)
class _Scalar:
    line: int
    text: str
    is_plain: bool
    values: int = 1
    levels: int = 0


@dataclass(slots=True)
class _Collection:
    line: int
    is_mapping: bool
    items: list[_Scalar | _Collection] = field(default_factory=list)
    is_whole: bool = False
    values: int = 0
    """How many values it stands for, aliases written out; keys are none."""
    levels: int = 0
    """How deep it is, aliases written out."""

    def end(self) -> None:
        """Measure it, now that it is whole; _ProblemError if it stands for too much."""
        inner = self.items[1::2] if self.is_mapping else self.items
        self.values = 1 + sum(item.values for item in inner)
        self.levels = 1 + max((item.levels for item in inner), default=0)
        if self.values > _MAX_VALUES or self.levels > _MAX_DEPTH:
            raise _ProblemError(
                self.line, f"must not grow, by its aliases, past {_MAX_VALUES} values or {_MAX_DEPTH} levels"
            )
        self.is_whole = True


class _ProblemError(Exception):
    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def parse(raw: bytes, *, source: str, expected: str) -> Document:
    """Return the one YAML document in `raw`, a mapping with `expected`; SpecError with a line for each problem."""
    if len(raw) > MAX_BYTES:
        raise SpecError(f"{source}:1: must be at most {MAX_BYTES} bytes long")
    try:
        text = raw.decode("utf-8-sig")
        root = _compose(yaml.parse(text, Loader=_LOADER), expected)
    except UnicodeDecodeError as error:
        raise SpecError(f"{source}:{raw[: error.start].count(10) + 1}: must be UTF-8 text") from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(10) + 1
        raise SpecError(f"{source}:{line}: must not contain control characters") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise SpecError(f"{source}:{line}: YAML: {error.problem or error.context}") from None
    except _ProblemError as problem:
        raise SpecError(f"{source}:{problem.line}: {problem}") from None
    document = Document(source)
    problems: list[tuple[int, str]] = []
    document.data = _Converter(document, problems).convert(root, ())
    if problems:
        raise SpecError(*(f"{source}:{line}: {text}" for line, text in problems))
    return document


def _compose(events: Iterator[yaml.Event], expected: str) -> _Scalar | _Collection:
    anchors: dict[str, _Scalar | _Collection] = {}
    top = _Collection(1, is_mapping=False)
    stack = [top]
    for event in events:
        assert event.start_mark is not None
        line = event.start_mark.line + 1
        item: _Scalar | _Collection
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop().end()
            continue
        if isinstance(event, yaml.DocumentStartEvent) and top.items:
            raise _ProblemError(line, "must hold one YAML document, not several")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise _ProblemError(line, f"*{event.anchor}: no anchor of this name before here")
            item = anchors[event.anchor]
            if isinstance(item, _Collection) and not item.is_whole:
                raise _ProblemError(line, f"*{event.anchor}: must not contain itself")
        elif isinstance(event, yaml.ScalarEvent):
            if event.tag not in _SCALAR_TAGS:
                raise _ProblemError(line, f"{event.tag}: this YAML tag is not allowed")
            is_plain = event.implicit[0] or event.tag not in (None, "!", _TAG + "str")
            item = _Scalar(line, event.value, is_plain)
        elif isinstance(event, yaml.CollectionStartEvent):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            if event.tag not in (None, "!", _TAG + ("map" if is_mapping else "seq")):
                raise _ProblemError(line, f"{event.tag}: this YAML tag is not allowed")
            if len(stack) > _MAX_DEPTH:
                raise _ProblemError(line, f"must not be nested deeper than {_MAX_DEPTH} levels")
            item = _Collection(line, is_mapping)
        else:
            continue
        if event.anchor and not isinstance(event, yaml.AliasEvent):
            anchors[event.anchor] = item
        stack[-1].items.append(item)
        if isinstance(event, yaml.CollectionStartEvent):
            assert isinstance(item, _Collection)
            stack.append(item)
    if not top.items:
        raise _ProblemError(1, f"is empty: must hold a mapping with {expected}")
    return top.items[0]


class _Converter:
    """Turns composed YAML into plain data; notes the lines and what is wrong."""

    def __init__(self, document: Document, problems: list[tuple[int, str]]) -> None:
        self._document = document
        self._problems = problems

    def convert(self, item: _Scalar | _Collection, path: Path) -> Any:  # plain data of any shape
        self._document.lines.setdefault(path, item.line)
        if isinstance(item, _Scalar):
            return _resolve(item, as_typed=_is_attribute(path))
        if item.is_mapping:
            return self._mapping(item, path)
        return [self.convert(child, (*path, index)) for index, child in enumerate(item.items)]

    def _mapping(self, item: _Collection, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, value in zip(item.items[::2], item.items[1::2], strict=True):
            if not isinstance(key, _Scalar):
                self._problems.append((key.line, f"{dotted(path)}: a key must be a single word or number"))
            elif not key.text.isprintable():
                self._problems.append(
                    (key.line, f"{dotted(path)}: {key.text[:40]!r}: a key must have no control characters")
                )
            elif key.text == "<<" and key.is_plain:
                self._problems.append((key.line, f"{dotted((*path, '<<'))}: merge keys are not supported"))
            elif key.text in mapping:
                first = self._document.lines[(*path, key.text)]
                self._problems.append(
                    (key.line, f"{dotted((*path, key.text))}: key given twice, first in line {first}")
                )
            else:
                self._document.lines[(*path, key.text)] = key.line
                mapping[key.text] = self.convert(value, (*path, key.text))
        return mapping


def dotted(path: Path) -> str:
    """Return a path of keys as people write it: nodes.node2.classes.dev3."""
    text = "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in path)
    return text.removeprefix(".") or "the document"


def _resolve(scalar: _Scalar, *, as_typed: bool) -> str | int | float | bool | None:
    text = scalar.text
    if not scalar.is_plain:
        return text
    if as_typed:
        return text if text not in _WORDS or _WORDS[text] is not None else None
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return _whole(float(text)) if _FLOAT.fullmatch(text) else text


def whole_numbers(data: Any, path: Path = ()) -> Any:  # plain data of any shape
    """Return plain data with whole numbers as such, though they were written as 2.0 or 1e+01; not those of attributes.

    Templates write them so: to Helm every number is one with a fraction.
    """
    if isinstance(data, dict):
        return {key: whole_numbers(value, (*path, key)) for key, value in data.items()}
    if isinstance(data, list):
        return [whole_numbers(value, (*path, index)) for index, value in enumerate(data)]
    return _whole(data) if isinstance(data, float) and not _is_attribute(path) else data


def _is_attribute(path: Path) -> bool:
    """Tell attributes by their place: names and words of the schema take turns, so either may be called that."""
    return len(path) % 2 == 0 and path[-2:-1] == ("attributes",)


def _whole(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) < _MAX_WHOLE else number
