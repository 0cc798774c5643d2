"""A JSON Schema that speaks to people: every rule is the `description` of the schema, every problem has its path.

Editors use the same files (docs/topology.md, docs/scenarios.md), so that they and the commands say the same.
"""

from __future__ import annotations

import difflib
import importlib.resources
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import jsonschema

from fakehw.errors import SpecError
from fakehw.spec import document

Problem = tuple[document.Path, str]

_COMBINED: Final = ("required", "anyOf", "oneOf", "minProperties", "maxProperties")
_SHOWN_CHARACTERS: Final = 60


class Schema:
    """The schema file `name` of `package`. Each of `formats` raises a ValueError whose text people read."""

    def __init__(self, package: str, name: str, formats: Mapping[str, Callable[[str], object]]) -> None:
        checker = jsonschema.FormatChecker(formats=())
        for format_name, rule in formats.items():
            checker.checks(format_name, raises=ValueError)(_checking(rule))
        text = importlib.resources.files(package).joinpath(name).read_text(encoding="utf-8")
        self._validator = jsonschema.Draft202012Validator(json.loads(text), format_checker=checker)

    def problems(self, data: object) -> Iterator[Problem]:
        """Yield everything in `data` that the schema does not allow."""
        for error in self._validator.iter_errors(data):
            path, schema = tuple(error.absolute_path), error.schema
            assert isinstance(schema, Mapping)
            rule = str(error.cause or schema["description"])
            if error.validator == "additionalProperties":
                known = tuple(schema["properties"])
                free = tuple(schema.get("patternProperties", ()))
                for key in error.instance:
                    if key not in known and not any(re.search(pattern, key) for pattern in free):
                        yield (*path, key), f"unknown key{_suggestion(key, known)}; known are {', '.join(known)}"
            elif "propertyNames" in error.absolute_schema_path:
                yield (*path, str(error.instance)), rule
            elif error.validator in _COMBINED:
                yield path, rule
            else:
                yield path, f"{shown(error.instance)}: {rule}"


def refuse(parsed: document.Document, problems: Iterator[Problem]) -> None:
    """Raise SpecError with all `problems`, in the order of their lines, if there are any."""
    found = sorted(problems, key=lambda problem: parsed.lines.get(problem[0], 0))
    if found:
        raise SpecError(*(f"{parsed.where(path)}: {document.dotted(path)}: {text}" for path, text in found))


def shown(value: object) -> str:
    """Return a value as an error shows it."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def _suggestion(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _checking(rule: Callable[[str], object]) -> Callable[[object], bool]:
    def check_format(value: object) -> bool:
        if isinstance(value, str):
            rule(value)
        return True

    return check_format
