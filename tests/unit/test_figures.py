"""Published figures as values: every field of a file, what stands in where one is left out, and each mistake to the letter."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from fakehw.errors import InputError, SpecError
from fakehw.scenario import figures
from fakehw.scenario.figures import Fault, Figures
from fakehw.spec import document

LEAST = "about: a\nsource: s\nfaults: [{reason: r, part: gpu, per_1000_node_days: 1.5, repair: {50: 1h}}]\n"
WHOLE = """\
about: Some servers.
source: a paper
faults:
  - {reason: fan, part: node, per_1000_node_days: 2, repair: {100: 2d, 0: 1m, 50: 1.5h}}
  - {reason: link, part: nic, per_1000_device_days: 0.5, repair: {90: 30}, spreads: {chance: 0.25, devices: 4}}
relapse: {within: {2d: 0.25, 1d: 0.125}, source: x}
bursts: {sizes: {1: 6, 2: 2}, source: x}
days: {shape: 0.7, source: x}
"""


def read(text: str) -> Figures:
    return figures.read(text.encode(), source="f.yaml")


def test_a_file_is_read_whole_its_percentiles_and_windows_in_order() -> None:
    found = read(WHOLE)
    assert found == Figures(
        "Some servers.",
        "a paper",
        (
            Fault("fan", "node", 2, False, ((0.0, 60.0), (0.5, 5400.0), (1.0, 172_800.0)), 0.0, 1),
            Fault("link", "nic", 0.5, True, ((0.9, 30.0),), 0.25, 4),
        ),
        ((0.0, 86_400.0, 0.125), (86_400.0, 172_800.0, 0.25)),
        ((1, 6), (2, 2)),
        0.7,
    )
    assert (found.relapse_chance, found.burst_size) == (0.375, 1.25)


def test_what_is_left_out_does_not_happen() -> None:
    found = read(LEAST)
    assert found == Figures("a", "s", (Fault("r", "gpu", 1.5, False, ((0.5, 3600.0),), 0.0, 1),), (), ((1, 1),), None)
    assert (found.relapse_chance, found.burst_size) == (0, 1.0)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["f.yaml:1: is empty: must hold a mapping with the key faults"]),
        (LEAST + "relapse: {within: {1d: 0.9, 2d: 0.06}, source: s}\n", ["f.yaml:4: relapse.within: must come to at most 0.95 in all: else a node fails for ever"]),
        (LEAST.replace("{50: 1h}", "{50: 2h, 90: 1h}"), ["f.yaml:3: faults[0].repair: must not fall from one percentile to the next"]),
        (LEAST.replace("reason: r", 'reason: "a  b"'), ['f.yaml:3: faults[0].reason: "a  b": must be one line with no control characters, no runs of space and none around it']),
    ],
)  # fmt: skip  # one row a mistake
def test_each_mistake_is_a_line(text: str, lines: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        read(text)
    assert list(caught.value.lines) == lines


def test_a_relapse_may_be_as_likely_as_095_and_a_repair_as_long_at_two_percentiles() -> None:
    assert read(LEAST + "relapse: {within: {1d: 0.95}, source: s}\n").relapse_chance == 0.95
    assert read(LEAST.replace("{50: 1h}", "{50: 1h, 90: 1h}")).faults[0].repair == ((0.5, 3600.0), (0.9, 3600.0))


def test_figures_are_found_by_name_in_a_file_and_on_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert figures.names() == ["delta-a100", "infinitehbd", "llama3"]
    monkeypatch.chdir(tmp_path)
    assert figures.load("llama3").about.startswith("Servers with 8 H100")
    Path("llama3").write_text(LEAST)
    assert figures.load("llama3") == read(LEAST), "a file of that name comes first"
    assert figures.load("./llama3") == figures.load(f"{tmp_path}/llama3") == read(LEAST)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"3")))
    with pytest.raises(SpecError, match=r"^stdin:1: "):
        figures.load("-")
    monkeypatch.setattr(document, "MAX_BYTES", len(LEAST))
    assert figures.load("./llama3")
    Path("long").write_text(f"{LEAST}\n")
    with pytest.raises(SpecError, match=r"^long:1: must be at most"):
        figures.load("long")
    Path("wrong").write_text("3")
    with pytest.raises(SpecError, match=r"^wrong:1: "):
        figures.load("wrong")
    for name in ("./delta-a100", "delta"):
        with pytest.raises(InputError) as caught:
            figures.load(name)
        assert caught.value.lines == (
            f"{name!r}: No such file or directory: must be a file that can be read, or one of "
            "delta-a100, infinitehbd, llama3: did you mean delta-a100? (--figures)",
        )
