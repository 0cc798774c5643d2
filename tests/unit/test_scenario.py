"""Scenarios as values: what they come to, and what is wrong with them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw import errors
from fakehw.layout import TreePath
from fakehw.scenario import named, script
from fakehw.scenario.timeline import FAULTS, Act, Change, from_moment

DEVICES = [
    TreePath("node1", "dev1", 1),
    TreePath("node2", "dev2", 1),
    *(TreePath("node2", "dev3", n) for n in (1, 2, 3)),
]
HEAD = "steps:\n"


def read(text: str) -> script.Scenario:
    return script.read(io.BytesIO(text.encode()), source="x.yaml")


def lines(text: str) -> list[str]:
    return [f"{change.at_s:g} {change}" for change in read(text).timeline(DEVICES)]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("break: {devices: node2/dev3/1, for: 2s}", ["0 set    node2/dev3/1: unhealthy broken by a scenario", "2 set    node2/dev3/1: healthy"]),
        ("at: 500ms\n    mend: {devices: [/node2/dev3/1, node2/dev2/*]}", ["0.5 set    node2/dev2/1, node2/dev3/1: healthy"]),
        ("set: {devices: 'node2/dev3/[12]', attribute: temperature, value: 91, for: 2s}", ["0 set    node2/dev3/1, node2/dev3/2: temperature 91", "2 reset  node2/dev3/1, node2/dev3/2: temperature"]),
        ("set: {devices: node2/dev3/1, attribute: throttled, value: true}", ["0 set    node2/dev3/1: throttled true"]),
        ("set: {devices: node2/dev3/1, attribute: health, value: unhealthy hot, for: 1s}", ["0 set    node2/dev3/1: unhealthy hot", "1 reset  node2/dev3/1"]),
        ("flap: {devices: node2/dev3/1, period: 2, for: 4s, reason: up and down}", ["0 set    node2/dev3/1: unhealthy up and down", "1 set    node2/dev3/1: healthy", "2 set    node2/dev3/1: unhealthy up and down", "3 set    node2/dev3/1: healthy"]),
        ("rolling: {devices: '*/*/1', every: 10s, down: 1m}", ["0 set    node1/dev1/1: unhealthy node under maintenance", "10 set    node2/dev2/1, node2/dev3/1: unhealthy node under maintenance", "60 set    node1/dev1/1: healthy", "70 set    node2/dev2/1, node2/dev3/1: healthy"]),
        ("torn: {devices: node2/dev3/1, pause: 1s}", ["0 tear   node2/dev3/1: unhealthy torn write", "1 finish node2/dev3/1: unhealthy torn write"]),
        ("slow_death: {devices: node1/*/*, every: 1m, reasons: [warm, hot, dead]}", ["0 set    node1/dev1/1: healthy warm", "60 set    node1/dev1/1: healthy hot", "120 set    node1/dev1/1: unhealthy dead"]),
        ("unplug: {devices: node2/dev3/?, for: 0.5}", ["0 unplug node2/dev3/1, node2/dev3/2, node2/dev3/3", "0.5 plug   node2/dev3/1, node2/dev3/2, node2/dev3/3"]),
        ("plug: {devices: '*/*/[23]'}", ["0 plug   node2/dev3/2, node2/dev3/3"]),
    ],
)  # fmt: skip  # one row a fault
def test_each_fault_comes_to_its_changes(step: str, expected: list[str]) -> None:
    assert lines(f"{HEAD}  - {step}\n") == expected


RANDOM = "seed: {seed}\nsteps:\n  - storm: {{devices: '*/*/*', changes: 50, for: 2s}}\n  - random: {{devices: '*/*/*', rate: 20, down: 100ms, for: 3s, reasons: [a, b]}}\n  - flap: {{devices: node1/dev1/1, period: 1s, jitter: 250ms, for: 9s}}\n"


@given(st.integers(0, 2**32 - 1))
def test_chance_is_repeatable_and_keeps_its_bounds(seed: int) -> None:
    text = RANDOM.format(seed=seed)
    timeline = read(text).timeline(DEVICES)

    assert timeline == read(text).timeline(list(reversed(DEVICES)))
    assert timeline != read(RANDOM.format(seed=(seed + 1) % 2**32)).timeline(DEVICES)
    assert [change.at_s for change in timeline] == sorted(change.at_s for change in timeline)
    storm = [change for change in timeline if change.step == "storm"]
    assert len(storm) == 50
    assert all(0 <= change.at_s <= 2 for change in storm)
    for path in DEVICES:
        texts = [change.text for change in storm if change.paths == (path,)]
        assert texts == ["unhealthy storm", "healthy"] * (len(texts) // 2) + ["unhealthy storm"] * (len(texts) % 2)
    failures = [change for change in timeline if change.step == "random" and "unhealthy" in change.text]
    assert 20 <= len(failures) <= 120, "20 a second for 3 seconds, less those that were down"
    for path in DEVICES:
        of_one = [change.text for change in timeline if change.step == "random" and change.paths == (path,)]
        assert all(text == "healthy" for text in of_one[1::2]), "broken and mended by turns"


def test_a_step_that_is_added_leaves_the_chance_of_the_others_alone() -> None:
    text = RANDOM.format(seed=1)
    before = [change for change in read(text).timeline(DEVICES) if change.step != "mend"]
    after = [
        change
        for change in read(f"{text}  - mend: {{devices: node1/dev1/1}}\n").timeline(DEVICES)
        if change.step != "mend"
    ]
    assert before == after


DURATION = "must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, at most 7 days"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["x.yaml:1: is empty: must hold a mapping with the key steps"]),
        ("steps: []", ["x.yaml:1: steps: a list: must be a list of 1 to 1000 steps"]),
        ("name: x", ["x.yaml:1: the document: must be a mapping with the key steps: what happens to which devices, and when"]),
        (f"{HEAD}- flap: {{devices: a/b/1, period: 3x, for: 1s}}", [f'x.yaml:2: steps[0].flap.period: "3x": {DURATION}']),
        (f"{HEAD}- flap: {{devices: a/b/1, period: 1s, for: -1}}", [f"x.yaml:2: steps[0].flap.for: -1: {DURATION}"]),
        (f"{HEAD}- flap: {{devices: a/b/1, period: 0s, for: 1s}}", ["x.yaml:2: steps[0].flap.period: 0: must be more than 0"]),
        (f"{HEAD}- flap: {{devices: a/b/1, period: 1s, for: 1s, jitter: 0.3}}", ["x.yaml:2: steps[0].flap.jitter: 0.3: must be at most a quarter of the period"]),
        (f"{HEAD}- brake: {{devices: a/b/1}}", ["x.yaml:2: steps[0].brake: unknown key (did you mean break?); known are at, break, mend, set, unplug, plug, flap, storm, rolling, torn, slow_death, random", "x.yaml:2: steps[0]: must be a mapping with exactly one of the keys break, mend, set, unplug, plug, flap, storm, rolling, torn, slow_death, random, and perhaps at"]),
        (f"{HEAD}- break: {{devices: dev3/1}}\n- mend: {{devices: []}}", ['x.yaml:2: steps[0].break.devices: "dev3/1": must be a pattern of NODE/CLASS/NUMBER, such as node2/dev3/2, node2/dev3/* or */gpu/*', "x.yaml:3: steps[1].mend.devices: a list: must be one pattern or a list of patterns such as node2/dev3/2, node2/dev3/* or */gpu/*; at least one device has to match each"]),
        (f"{HEAD}- break: {{devices: a/b/1}}\n  mend: {{devices: a/b/1}}", ["x.yaml:2: steps[0]: must be a mapping with exactly one of the keys break, mend, set, unplug, plug, flap, storm, rolling, torn, slow_death, random, and perhaps at"]),
        (f"{HEAD}- break: {{}}", ["x.yaml:2: steps[0].break: must be a mapping with the key devices, and perhaps reason and for: the devices turn unhealthy"]),
        (f'{HEAD}- break: {{devices: a/b/1, reason: "a\\nb"}}', ['x.yaml:2: steps[0].break.reason: "a\\nb": must be one line with no control characters, no runs of space and none around it']),
        (f"{HEAD}- random: {{devices: a/b/1, rate: 0, down: 1s, for: 1s}}", ["x.yaml:2: steps[0].random.rate: 0: must be a number above 0 and up to 1000: failures per second, of all the devices together, on average"]),
        (f"{HEAD}- storm: {{devices: a/b/1, changes: 1.5, for: 1s}}", ["x.yaml:2: steps[0].storm.changes: 1.5: must be a whole number from 1 to 100000"]),
        (f"{HEAD}- set: {{devices: a/b/1, attribute: node, value: 1}}", ["x.yaml:2: steps[0].set.attribute: \"node\": must be the name of an attribute: lower-case letters, digits or '_', a letter first, and not node"]),
        (f"{HEAD}- set: {{devices: a/b/1, attribute: numa_node, value: left}}", ['x.yaml:2: steps[0].set.value: "left": must be a whole number from -1 to 2147483647']),
        (f"{HEAD}- set: {{devices: a/b/1, attribute: health, value: fine}}", ['x.yaml:2: steps[0].set.value: "fine": must be healthy or unhealthy, then perhaps a reason']),
        (f'{HEAD}- set: {{devices: a/b/1, attribute: model, value: "a\\nb"}}', ['x.yaml:2: steps[0].set.value: "a\\nb": must be one line of fewer than 4096 bytes']),
        (f"{HEAD}- set: {{devices: a/b/1, attribute: model, value: [1]}}", ["x.yaml:2: steps[0].set.value: a list: must be one value: a text on one line, a number, true or false"]),
        (f"{HEAD}- set: {{devices: a/b/1, value: 1}}", ["x.yaml:2: steps[0].set: must be a mapping with the keys devices, attribute and value, and perhaps for: an attribute of the devices gets a value"]),
        (f"{HEAD}- slow_death: {{devices: a/b/1, every: 1s, reasons: [once]}}", ["x.yaml:2: steps[0].slow_death.reasons: a list: must be a list of 2 to 100 reasons: warnings, then the one of the end"]),
        ("seed: -1\nfor: soon\nsteps: 3", ["x.yaml:1: seed: -1: must be a whole number from 0 to 4294967295: the same seed and devices give the same timeline", f'x.yaml:2: for: "soon": {DURATION}', "x.yaml:3: steps: 3: must be a list of 1 to 1000 steps"]),
    ],
)  # fmt: skip  # one row a mistake
def test_what_is_wrong_is_said_with_file_line_value_and_rule_all_at_once(text: str, expected: list[str]) -> None:
    with pytest.raises(errors.SpecError) as caught:
        read(text)
    assert list(caught.value.lines) == expected


def test_a_pattern_that_matches_nothing_is_an_error_with_its_line() -> None:
    with pytest.raises(errors.SpecError) as caught:
        lines(f"{HEAD}- mend: {{devices: '*/*/*'}}\n- break: {{devices: [node1/dev1/1, node9/dev3/1]}}\n")
    assert str(caught.value) == (
        'x.yaml:3: steps[1].break.devices: "node9/dev3/1": must match a device of the tree: see fakehw list'
    )


def test_a_timeline_without_end_is_refused() -> None:
    with pytest.raises(errors.SpecError, match=r"steps\[0\]: must not come, .* to more than 100000 changes"):
        lines(f"{HEAD}- flap: {{devices: '*/*/*', period: 1ms, for: 1h}}\n")


@pytest.mark.parametrize("name", named.gallery())
def test_every_scenario_of_the_gallery_says_what_it_teaches_and_fits_the_seeds_tree(name: str) -> None:
    loaded = named.load(name)
    assert loaded.name == name.replace("-", " ").replace("unplug replug", "unplug and replug")
    assert len(loaded.teaches) > 100
    assert loaded.timeline(DEVICES)
    first = named.gallery()[name].read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../scenario.schema.json"


def test_the_gallery_shows_every_kind_of_fault() -> None:
    kinds = {key for name in named.gallery() for step in named.load(name).steps for key in step if key != "at"}
    assert kinds == set(FAULTS)


def test_the_document_of_scenarios_names_every_fault_and_its_example_is_valid() -> None:
    text = (Path(__file__).parents[2] / "docs/scenarios.md").read_text()
    for kind in FAULTS:
        assert f"| `{kind}` |" in text
    example = text.partition("```yaml\n")[2].partition("```")[0]
    assert {change.act for change in read(example).timeline(DEVICES)} == {Act.SET}


def test_a_scenario_can_be_played_on_other_devices() -> None:
    text = b"steps:\n  - break: {devices: node2/dev3/1}\n  - {at: 1s, mend: {devices: '*/dev3/*'}}\n"
    elsewhere = script.read(io.BytesIO(text), source="x").on(["any/gpu/*"])
    changes = elsewhere.timeline([TreePath("any", "gpu", 1), TreePath("node2", "dev3", 1)])
    assert [(change.at_s, [str(path) for path in change.paths]) for change in changes] == [
        (0.0, ["/any/gpu/1"]),
        (1.0, ["/any/gpu/1"]),
    ]
    with pytest.raises(errors.InputError, match=r"must be a pattern .* \(--devices\)"):
        elsewhere.on(["any"])


def test_a_timeline_can_begin_in_the_middle_with_every_attribute_as_it_is_by_then() -> None:
    one, two = DEVICES[2], DEVICES[3]
    changes = (
        Change(1, "set", Act.SET, (one, two), "91", "temperature"),
        Change(2, "break", Act.SET, (one,), "unhealthy hot"),
        Change(3, "set", Act.SET, (one,), "2", "fan"),
        Change(4, "set", Act.RESET, (one,), name="fan"),
        Change(5, "unplug", Act.UNPLUG, (two,)),
        Change(6, "plug", Act.PLUG, (two,)),
    )
    assert [str(change) for change in from_moment(changes, 5.5)] == [
        "set    node2/dev3/1, node2/dev3/2: temperature 91",
        "set    node2/dev3/1: unhealthy hot",
        "unplug node2/dev3/2",
        "plug   node2/dev3/2",
    ]
    assert [str(change) for change in from_moment(changes, 7)] == [
        "set    node2/dev3/1: temperature 91",
        "set    node2/dev3/1: unhealthy hot",
    ]
