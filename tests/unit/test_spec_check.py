"""Reading a spec: where it comes from, what is wrong with it in whole words, and a schema that speaks to people."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import fakehw
from fakehw.errors import InputError, SpecError
from fakehw.spec import check, document, profiles, schema

NUMBER = "must be a whole number from 0 to 1000000: devices 1 to count are made"
VALUE = (
    "must be one value of 1 to 255 characters on one line; {node}, {class}, {number}, {id} and, in a range of nodes, "
    "{index} are filled in, {{ and }} are braces"
)
LINE = "must be one line with no control characters, no runs of space and none around it"
LABEL = (
    "must be at most 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends, "
    "and perhaps a domain and a slash before it"
)
CLASS = "must be a mapping with at least one of the keys count and devices; count: 0 is a class that is advertised as 0"


def refused(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        check.parse(text.encode(), source="t")
    return [line.removeprefix("t:") for line in caught.value.lines]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("- a", ["1: the document: a list: must be a mapping with the key nodes: the fake nodes, their device classes, their devices"]),
        ("x-a: 1", ["1: the document: must be a mapping with the key nodes: the fake nodes, their device classes, their devices"]),
        ("nodes: 3", ["1: nodes: 3: must be a mapping of node names to nodes"]),
        (
            "domian: x\nx-y: 1\nnodes: {n: {hots: a, zzz: 1}}",
            [
                "1: domian: unknown key (did you mean domain?); known are domain, nodes",
                "3: nodes.n.hots: unknown key (did you mean host?); known are host, labels, taints, classes",
                "3: nodes.n.zzz: unknown key; known are host, labels, taints, classes",
            ],
        ),
        (
            "nodes:\n  b: {classes: {dev1: {count: -1}}}\n  a: {classes: {dev1: {count: x}}}\n",
            [f"2: nodes.b.classes.dev1.count: -1: {NUMBER}", f'3: nodes.a.classes.dev1.count: "x": {NUMBER}'],
        ),
        ("nodes: {n: {classes: {dev1: {}}}}", [f"1: nodes.n.classes.dev1: {CLASS}"]),
        ("nodes: {n: {classes: {dev1: 3}}}", [f"1: nodes.n.classes.dev1: 3: {CLASS}"]),
        ("nodes: {n: {taints: [a:NoExecute, a]}}", ['1: nodes.n.taints[1]: "a": must be KEY=VALUE:EFFECT or KEY:EFFECT, with one of NoSchedule, PreferNoSchedule, NoExecute']),
        ("nodes: {n: {labels: {-b: x}}}", [f"1: nodes.n.labels.-b: {LABEL}"]),
        ("nodes: {n: {host: A}}", ['1: nodes.n.host: "A": must be the name of a Kubernetes node: lower-case letters, digits and \'-\', in parts joined by \'.\'']),
        ("domain: a_b\nnodes: {}", ['1: domain: "a_b": the domain must be lower-case letters, digits and \'-\' in parts joined by \'.\'']),
        ("nodes: {n: {classes: {dev1: {count: 1, resource: gpu}}}}", ['1: nodes.n.classes.dev1.resource: "gpu": must be DOMAIN/NAME, such as myplugin.io/mydevice-3']),
        ("nodes: {n: {classes: {dev1: {count: 1, health: sick}}}}", ['1: nodes.n.classes.dev1.health: "sick": must be healthy or unhealthy, then perhaps a reason']),
        ("nodes: {n: {classes: {dev1: {count: 1, attributes: {a: [1]}}}}}", [f"1: nodes.n.classes.dev1.attributes.a: a list: {VALUE}"]),
        ("nodes: {n: {classes: {dev1: {count: 1, attributes: {a: ' x'}}}}}", [f'1: nodes.n.classes.dev1.attributes.a: " x": {LINE}']),
        ("nodes: {n: {classes: {dev1: {count: 1, attributes: {a: '%s'}}}}}" % ("x" * 256), [f'1: nodes.n.classes.dev1.attributes.a: "{"x" * 58}…: {VALUE}']),
        (
            "nodes: {n: {classes: {dev1: {count: 1, attributes: {a: '{x}'}}}}}",
            ['1: nodes.n.classes.dev1.attributes.a: "{x}": {x} is no placeholder here; known are {node}, {index}, {class}, {number}, {id}, and {{ }} for braces themselves'],
        ),
        (
            "nodes: {n: {classes: {dev1: {count: 1, taints: {a: x}}}}}",
            ['1: nodes.n.classes.dev1.taints.a: "x": must be [KEY][=VALUE]:EFFECT or EFFECT, such as gpu.example/xid=48:NoSchedule; effects: NoSchedule, NoExecute or None'],
        ),
    ],
)  # fmt: skip  # a case a row
def test_what_is_wrong_has_its_line_its_path_its_value_and_its_rule(text: str, lines: list[str]) -> None:
    assert refused(text) == lines


@pytest.mark.parametrize(
    "fields",
    [
        "count: 1000000", "count: 0", "count: 1, attributes: {a: '%s'}" % ("x" * 255), "count: 1, health: Unhealthy hot",
        "count: 1, taints: {a: 'k=v:None'}", "devices: {}", "devices: ", "count: 1, attributes: {a: '{id}{{}}'}",
        "count: 1, numa_node: 2147483647, device_node: full", "count: 1, x-y: {z: 1}",
    ],
)  # fmt: skip  # one list
def test_what_is_right_is_taken_as_it_was_written(fields: str) -> None:
    data = check.parse(f"nodes: {{n: {{classes: {{dev1: {{{fields}}}}}}}}}".encode(), source="t")
    assert list(data) == ["nodes"]
    assert set(data["nodes"]["n"]["classes"]["dev1"]) <= {
        "count", "devices", "attributes", "health", "taints", "numa_node", "device_node", "x-y",
    }  # fmt: skip  # one set


def test_plain_data_that_is_wrong_is_called_what_the_caller_calls_it() -> None:
    data = {
        "nodes": {"n": {"classes": {"dev1": {"count": -1, "devices": {1: {"health": "x"}}}, "gpu": {"count": 1}}}},
        "z": 1,
    }
    lines = (
        "z: unknown key; known are domain, nodes",
        "nodes.n.classes.dev1.devices.1.health: \"x\": must be healthy or unhealthy, then perhaps a reason",
        f"nodes.n.classes.dev1.count: -1: {NUMBER}",
        "nodes.n.classes.gpu: must have a resource, because it is not named devK",
    )  # fmt: skip  # a line a row
    for source, more in (("topology", {}), ("mine", {"source": "mine"})):
        with pytest.raises(SpecError) as caught:
            fakehw.make_topology(data, **more)
        assert sorted(caught.value.lines) == sorted(f"{source}: {line}" for line in lines)


class Dripping(io.BytesIO):
    """Gives a little at a time, as a pipe may, and notes for how much it was asked."""

    def __init__(self, content: bytes, most: int) -> None:
        super().__init__(content)
        self.most = most
        self.asked: list[int] = []

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        self.asked.append(size)
        return super().read(min(size, self.most))


def test_a_spec_is_read_to_its_end_however_slowly_it_comes() -> None:
    stream = Dripping(b"nodes: {n: {host: h}}", 5)

    assert list(check.read_topology(stream, source="t").nodes) == ["n"]
    assert stream.asked == [(1 << 20) + 1 - read for read in (0, 5, 10, 15, 20, 21)]
    assert list(check.read_topology(io.BytesIO(b"nodes: {a: {host: h}, b: }"), source="t", host="i").nodes) == ["b"]


def test_a_spec_that_does_not_end_is_read_no_further_than_it_may_be_long() -> None:
    stream = Dripping(b"#" * (3 << 20), 1 << 19)

    with pytest.raises(SpecError) as caught:
        check.read_topology(stream, source="endless")
    assert caught.value.lines == ("endless:1: must be at most 1048576 bytes long",)
    assert stream.tell() == (1 << 20) + 1


def test_a_spec_may_be_a_file_standard_input_or_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("nodes: {a: {host: h}, b: {host: i}}")
    assert list(fakehw.load_topology(path).nodes) == ["a", "b"]
    assert list(fakehw.load_topology(str(path), host="i").nodes) == ["b"]
    assert fakehw.load_topology("seed").device_count == 5
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"nodes: {s: }")))
    assert list(fakehw.load_topology("-").nodes) == ["s"]
    for source, name, text in ((path, str(path), "x: 1"), ("-", "stdin", "x: 1")):
        path.write_text(text)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        with pytest.raises(SpecError) as caught:
            fakehw.load_topology(source)
        assert {line.partition(":1: ")[0] for line in caught.value.lines} == {name}


@pytest.mark.parametrize(("flag", "more"), [("--spec", {}), ("SPEC", {"flag": "SPEC"})])
def test_a_spec_that_cannot_be_read_is_one_line_with_what_there_is(
    flag: str, more: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ", ".join(profiles.names())
    for given, why, guess in (
        ("sede", "No such file or directory", ": did you mean seed?"),
        (tmp_path, "Is a directory", ""),
        ("/nowhere/seed", "No such file or directory", ""),
    ):
        with pytest.raises(InputError) as caught:
            fakehw.load_topology(given, **more)
        rule = f"must be a file that can be read, or one of {names}{guess}"
        assert caught.value.lines == (f"{str(given)!r}: {why}: {rule} ({flag})",)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError) as caught:
        fakehw.load_topology("-", **more)
    assert caught.value.lines == (f"-: standard input is closed ({flag} -)",)


# Profiles.


def test_profiles_are_found_by_name_where_no_file_is_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(profiles.__file__).parent
    assert profiles.names() == sorted(path.stem for path in folder.glob("*.yaml"))
    assert {"seed", "gpu-server"} <= set(profiles.names())
    assert profiles.find("seed") == folder / "seed.yaml"
    assert profiles.find(Path("seed")) == folder / "seed.yaml"
    for name in ("nothing", "./seed", "/seed", "../profiles/seed"):
        assert profiles.find(name) == Path(name)
    (tmp_path / "seed").touch()
    assert profiles.find("seed") == Path("seed")


def test_a_profile_has_a_text_a_meaning_labels_and_reasons() -> None:
    text = profiles.text("nvidia-h100")
    assert text == (Path(profiles.__file__).parent / "nvidia-h100.yaml").read_text()
    assert f"# {profiles.meaning('nvidia-h100')}" == text.splitlines()[0]
    assert profiles.labels("nvidia-h100")["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"
    assert profiles.labels("nvidia-h100")["nvidia.com/gpu.count"] == "8"
    assert profiles.reasons("nvidia-h100")["79"] == "XID 79: GPU has fallen off the bus"
    assert (profiles.labels("seed"), profiles.reasons("seed")) == ({}, {})


# A schema of one's own.


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> schema.Schema:
    def at_most(text: str) -> None:
        if len(text) > 3:
            raise ValueError(f"at most 3 letters, not {len(text)}")

    package = tmp_path_factory.mktemp("schema") / "schemas_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    rules: dict[str, Any] = {
        "type": "object",
        "description": "must be a thing",
        "required": ["name"],
        "minProperties": 1,
        "maxProperties": 5,
        "additionalProperties": False,
        "patternProperties": {"^x-": {}},
        "properties": {
            "name": {"description": "a name", "type": ["string", "integer"], "format": "short"},
            "many": {
                "description": "some",
                "type": "object",
                "propertyNames": {"description": "a key", "pattern": "^[a-z]+$"},
                "additionalProperties": {"description": "a number", "type": "number"},
            },
            "either": {"description": "one of two", "oneOf": [{"type": "integer"}, {"type": "number"}]},
        },
    }
    (package / "own.json").write_text(json.dumps(rules))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(package.parent)
        return schema.Schema("schemas_of_a_test", "own.json", {"short": at_most})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"name": "abc", "x-y": 1}, []),
        ({"name": 3}, []),
        ({"name": "abcd"}, [(("name",), '"abcd": at most 3 letters, not 4')]),
        ({"name": 1.5}, [(("name",), "1.5: a name")]),
        ({"name": None}, [(("name",), "null: a name")]),
        (3, [((), "3: must be a thing")]),
        ({}, [((), "must be a thing"), ((), "must be a thing")]),
        ({"name": "a", "nmae": 1, "zzz": 1}, [(("nmae",), "unknown key (did you mean name?); known are name, many, either"), (("zzz",), "unknown key; known are name, many, either")]),
        ({"name": "a", "ax-": 1}, [(("ax-",), "unknown key; known are name, many, either")]),
        ({"name": "a", "many": {"B": 1, "c": "x"}}, [(("many", "B"), "a key"), (("many", "c"), '"x": a number')]),
        ({"name": "a", "either": 1}, [(("either",), "one of two")]),
        ({"name": "a", "either": 1.5}, []),
        ({"name": "a", **{f"x-{number}": 1 for number in range(5)}}, [((), "must be a thing")]),
    ],
)  # fmt: skip  # a case a row
def test_every_problem_has_its_path_and_the_words_of_its_rule(
    own: schema.Schema, data: object, expected: list[schema.Problem]
) -> None:
    assert sorted(own.problems(data)) == sorted(expected)


def test_problems_are_told_in_the_order_of_their_lines() -> None:
    parsed = document.Document("t", {}, {(): 1, ("a",): 5, ("b",): 2, ("b", 0): 3})
    with pytest.raises(SpecError) as caught:
        schema.refuse(parsed, iter([(("a",), "A"), (("b", 0), "B0"), (("b",), "B"), ((), "all"), (("c", "d"), "CD")]))
    assert caught.value.lines == (
        "t:1: c.d: CD", "t:1: the document: all", "t:2: b: B", "t:3: b[0]: B0", "t:5: a: A",
    )  # fmt: skip  # a line each
    schema.refuse(parsed, iter(()))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": 1}, "a mapping"),
        ([1], "a list"),
        ("é", '"é"'),
        (True, "true"),
        (None, "null"),
        (1.5, "1.5"),
        ("x" * 58, f'"{"x" * 58}"'),
        ("x" * 59, f'"{"x" * 58}…'),
    ],
)
def test_a_value_is_shown_as_json_in_at_most_60_characters(value: object, expected: str) -> None:
    assert schema.shown(value) == expected
    assert len(expected) <= 60
    assert not re.search(r"[\n\t]", expected)
