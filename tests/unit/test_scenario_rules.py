"""A scenario's file to the letter: what it is as a value, the numbers that a schema does not see, and where it is looked for."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fakehw.errors import InputError, SpecError
from fakehw.layout import TreePath
from fakehw.scenario import fault_log, named, script
from fakehw.scenario.script import Scenario
from fakehw.scenario.timeline import Change
from fakehw.spec import document

DEVICES = [TreePath("node10", "dev1", 2), TreePath("node2", "dev1", 10), TreePath("node2", "dev1", 9)]
DURATION = "must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, at most 7 days"


def read(text: str) -> Scenario:
    return script.read(io.BytesIO(text.encode()), source="x.yaml")


def refused(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(text)
    return list(caught.value.lines)


def test_a_scenario_is_a_value_with_every_field_of_its_file() -> None:
    whole = read(
        "name: a b\nteaches: >\n  one\n  two\n\n  three\nseed: 7\nfor: 1m30s\nsteps:\n- mend: {devices: a/b/1}\n- {at: 5, plug: {devices: [a/b/*]}}\n"
    )
    assert (whole.name, whole.teaches, whole.seed, whole.lasts_s) == ("a b", "one two three", 7, 90.0)
    assert whole.steps == ({"mend": {"devices": "a/b/1"}}, {"at": 5, "plug": {"devices": ["a/b/*"]}})
    least = read("steps: [{mend: {devices: a/b/1}}]")
    assert (least.name, least.teaches, least.seed, least.lasts_s) == ("", "", 0, 0.0)
    bare = Scenario(least.parsed)
    assert (bare.name, bare.teaches, bare.seed, bare.lasts_s, bare.steps) == ("", "", 0, 0.0, ())


def test_devices_come_in_the_order_of_people_each_once_and_steps_in_that_of_time() -> None:
    text = "steps:\n- {at: 2s, mend: {devices: ['*/*/*', node2/dev1/9]}}\n- {at: 1s, plug: {devices: /node2/*/*}}\n- {at: 2, unplug: {devices: node10/dev1/2}}\n"
    assert [(change.at_s, str(change)) for change in read(text).timeline(DEVICES)] == [
        (1.0, "plug   node2/dev1/9, node2/dev1/10"),
        (2.0, "set    node2/dev1/9, node2/dev1/10, node10/dev1/2: healthy"),
        (2.0, "unplug node10/dev1/2"),
    ]


def test_every_pattern_that_matches_nothing_is_told_of_whichever_step_it_is() -> None:
    with pytest.raises(SpecError) as caught:
        read("steps:\n- mend: {devices: [x/dev1/1, 'node2/*/*', node2/dev2/9]}\n- plug: {devices: '*/*/1'}\n").timeline(
            DEVICES
        )
    rule = "must match a device of the tree: see fakehw list"
    assert caught.value.lines == (
        f'x.yaml:2: steps[0].mend.devices: "x/dev1/1": {rule}',
        f'x.yaml:2: steps[0].mend.devices: "node2/dev2/9": {rule}',
        f'x.yaml:3: steps[1].plug.devices: "*/*/1": {rule}',
    )


def test_each_step_draws_from_its_own_numbers_which_are_the_same_on_any_machine() -> None:
    step = "{storm: {devices: '*/*/*', changes: 3, for: 10s}}"

    def told(found: Sequence[Change]) -> list[tuple[float, str, str]]:
        return [(round(change.at_s, 3), change.paths[0].id, change.text) for change in found]

    first, both = (read(f"seed: 5\nsteps: [{steps}]\n").timeline(DEVICES) for steps in (step, f"{step}, {step}"))
    assert told(first) == [
        (4.681, "node10-dev1-2", "unhealthy storm"),
        (6.39, "node2-dev1-9", "unhealthy storm"),
        (7.8, "node2-dev1-10", "unhealthy storm"),
    ]
    assert told([change for change in both if change not in first]) == [
        (7.896, "node10-dev1-2", "unhealthy storm"),
        (8.929, "node10-dev1-2", "healthy"),
        (9.119, "node10-dev1-2", "unhealthy storm"),
    ]


def test_a_timeline_has_so_many_changes_at_most_of_all_steps_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "MAX_CHANGES", 4)
    two = "- storm: {devices: '*/*/*', changes: 2, for: 1s}\n"
    assert len(read(f"steps:\n{two}{two}").timeline(DEVICES)) == 4
    with pytest.raises(SpecError) as caught:
        read(f"steps:\n{two}{two}- mend: {{devices: '*/*/*'}}\n").timeline(DEVICES)
    assert caught.value.lines == ("x.yaml:4: steps[2]: must not come, with those before it, to more than 4 changes",)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("1: for", "{key}\nsteps: [{{mend: {{devices: a/b/1}}}}]\n"),
        ("2: steps[0].at", "steps:\n- {{{key}, mend: {{devices: a/b/1}}}}\n"),
        *((f"2: steps[0].{kind}.{key}", f"steps:\n- {kind}: {{{{devices: a/b/1, {rest}{{key}}}}}}\n") for kind, key, rest in (
            ("break", "for", ""), ("unplug", "for", ""), ("set", "for", "attribute: a, value: 1, "), ("torn", "pause", ""),
            ("flap", "period", "for: 1, "), ("flap", "for", "period: 1, "), ("flap", "jitter", "period: 7d, for: 1, "),
            ("rolling", "every", "down: 1, "), ("rolling", "down", "every: 1, "), ("slow_death", "every", "reasons: [a, b], "),
            ("storm", "for", "changes: 1, "), ("random", "for", "rate: 1, down: 1, "), ("random", "down", "rate: 1, for: 1, "),
        )),
    ],
)  # fmt: skip  # one row a duration
def test_a_duration_that_is_a_number_is_held_to_the_rule_of_durations(where: str, text: str) -> None:
    key = where.replace(" ", ".").rpartition(".")[2]
    for value in ("-1", "604801", "604800.5"):
        assert refused(text.format(key=f"{key}: {value}")) == [f"x.yaml:{where}: {value}: {DURATION}"]
    assert read(text.format(key=f"{key}: 0.25")).steps
    (line,) = refused(text.format(key=f"{key}: true"))
    assert line.startswith(f"x.yaml:{where}: true: must be a duration")


def test_a_jitter_may_be_a_quarter_of_the_period_in_whatever_words() -> None:
    step = "steps:\n- flap: {{devices: a/b/1, period: {}, for: 1s, jitter: {}}}\n"
    for period, jitter in (("1s", "250ms"), ("4", "1"), ("1m", "15s"), ("1s", "0")):
        assert read(step.format(period, jitter)).steps
    assert refused(step.format("1s", "251ms")) == [
        'x.yaml:2: steps[0].flap.jitter: "251ms": must be at most a quarter of the period'
    ]


def test_nothing_comes_again_after_no_time_at_all() -> None:
    for kind, fields, key in (
        ("flap", "period: 0s, for: 1s", "period"),
        ("rolling", "every: 0, down: 1s", "every"),
        ("slow_death", "every: 0ms, reasons: [a, b]", "every"),
    ):
        assert refused(f"steps:\n- {kind}: {{devices: a/b/1, {fields}}}\n") == [
            f"x.yaml:2: steps[0].{kind}.{key}: 0: must be more than 0"
        ]


@pytest.mark.parametrize(
    "text", ["- 3", "steps: {a: 1}", "steps: [3]", "steps: [{mend: 3}]", "steps: [[{at: -1}]]", "3"]
)
def test_a_document_of_any_shape_is_refused_and_nothing_breaks(text: str) -> None:
    assert refused(text)


def test_a_pattern_takes_the_place_of_all_devices_of_every_step_and_keeps_the_rest() -> None:
    scenario = read("seed: 3\nfor: 9\nsteps:\n- {at: 1, break: {devices: [a/b/1, c/d/1], reason: x}}\n")
    elsewhere = scenario.on(["node2/dev1/9", "*/dev1/2"])
    assert elsewhere.steps == ({"at": 1, "break": {"devices": ["node2/dev1/9", "*/dev1/2"], "reason": "x"}},)
    assert (elsewhere.seed, elsewhere.lasts_s, scenario.steps[0]["break"]["devices"]) == (3, 9.0, ["a/b/1", "c/d/1"])
    with pytest.raises(InputError) as caught:
        scenario.on(["a/b/1", "a b"])
    assert str(caught.value) == (
        "'a b': must be a pattern of NODE/CLASS/NUMBER, such as node2/dev3/2, node2/dev3/* or */gpu/* (--devices)"
    )


def test_a_file_that_cannot_be_read_or_is_too_long_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError) as caught:
        script.load(tmp_path / "none.yaml", name="mine.yaml")
    assert str(caught.value) == (
        "'mine.yaml': No such file or directory: must be a scenario file, or a name of `fakehw scenario list` (FILE)"
    )
    text = "steps: [{mend: {devices: a/b/1}}]\n"
    monkeypatch.setattr(document, "MAX_BYTES", len(text))
    (tmp_path / "s.yaml").write_text(text)
    assert script.load(tmp_path / "s.yaml", name="mine.yaml").steps
    (tmp_path / "s.yaml").write_text(f"{text}\n")
    with pytest.raises(SpecError, match=r"^mine.yaml:1: must be at most"):
        script.load(tmp_path / "s.yaml", name="mine.yaml")


# By name.


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def given(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


SMALL = "name: small\nsteps: [{mend: {devices: '*/*/*'}}]\n"
LOG = "at,node,event\n1,node2,break\n"


def test_the_gallery_has_eight_scenarios_in_order() -> None:
    assert list(named.gallery()) == [
        "flapping-link", "overheating", "random-failures", "rolling-outage", "slow-death", "storm", "torn-write",
        "unplug-replug",
    ]  # fmt: skip  # one list
    assert named.from_gallery("storm").name == "storm"
    assert named.from_gallery("storm").parsed.source == "storm"


def test_a_scenario_is_a_file_or_a_name_of_the_gallery_and_the_file_comes_first(here: Path) -> None:
    assert named.load("storm").name == "storm"
    Path("storm").write_text(SMALL)
    assert named.load("storm").name == named.load("./storm").name == named.load(f"{here}/storm").name == "small"
    with pytest.raises(InputError) as caught:
        named.load("slow-deth")
    rule = "must be a scenario file, or a name of `fakehw scenario list`"
    assert str(caught.value) == f"'slow-deth': No such file or directory: {rule}: did you mean slow-death? (FILE)"
    with pytest.raises(InputError) as caught:
        named.load("./slow-death")
    assert str(caught.value) == f"'./slow-death': No such file or directory: {rule} (FILE)"


def test_a_file_called_csv_is_a_fault_log_and_names_its_own_devices(here: Path) -> None:
    Path("year.CSV").write_text(LOG)
    log = named.load("year.CSV")
    assert isinstance(log, fault_log.FaultLog)
    assert (log.name, len(log.rows)) == ("year.CSV", 1)
    with pytest.raises(InputError) as caught:
        named.load("year.CSV", devices=["a/b/1"])
    assert str(caught.value) == "'year.CSV': a fault log names its own devices (--devices)"


def test_standard_input_is_either_as_its_first_line_says(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, LOG)
    log = named.load("-")
    assert isinstance(log, fault_log.FaultLog)
    assert log.source == "stdin"
    given(monkeypatch, SMALL)
    scenario = named.load("-")
    assert isinstance(scenario, Scenario)
    assert scenario.parsed.source == "stdin"
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match=r"^-: standard input is closed \(FILE -\)$"):
        named.load("-")


def test_standard_input_is_read_up_to_the_limit_of_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_log, "MAX_BYTES", len(LOG))
    given(monkeypatch, LOG)
    assert named.load("-")
    given(monkeypatch, f"{LOG}#")
    with pytest.raises(SpecError, match=r"^stdin:1: must be at most 0 MiB long$"):
        named.load("-")


def test_other_devices_may_be_named_below_the_root_of_the_tree(here: Path) -> None:
    Path("s.yaml").write_text(SMALL)

    def devices(*texts: str, root: Path | None = None) -> object:
        found = named.load("s.yaml", devices=texts, root=root)
        assert isinstance(found, Scenario)
        return found.steps[0]["mend"]["devices"]

    assert devices() == "*/*/*"
    assert devices("node2/dev1/9") == ["node2/dev1/9"]
    assert devices("/fakehw/node2/dev1/9", "node10/dev1/2", root=Path("/fakehw")) == ["node2/dev1/9", "node10/dev1/2"]
