"""Faults with dates: what a log means, in which words a wrong one is refused, and what import and synthesis make of one."""

from __future__ import annotations

import asyncio
import io
import json
import statistics
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw import cli, durations, make_topology
from fakehw.errors import InputError, SpecError
from fakehw.layout import TreePath
from fakehw.scenario import fault_log, figures, infinitehbd, outages, synthesis
from fakehw.scenario.fault_log import Row
from fakehw.scenario.outages import Outage
from fakehw.scenario.playhead import Playhead
from fakehw.scenario.timeline import Act, Change, from_moment
from fakehw.spec.topology import FakeNode

DEVICES = [TreePath(node, name, number) for node in ("n1", "n2") for name in ("gpu", "nic") for number in (1, 2)]
HEAD = "at,node,device,event,reason\n"


def nodes(count: int, **classes: int) -> dict[str, FakeNode]:
    fields = {name: {"count": number, "resource": f"a.b/{name}"} for name, number in (classes or {"gpu": 8}).items()}
    return dict(make_topology({"nodes": {f"n[1-{count}]": {"classes": fields}}}).nodes)


def read(text: str) -> fault_log.FaultLog:
    return fault_log.read(io.BytesIO(text.encode()), source="f.csv")


def happens(text: str) -> list[tuple[float, str, list[str], str]]:
    changes = read(text).timeline(DEVICES)
    return [(one.at_s, one.act.value, [path.id for path in one.paths], one.text) for one in changes]


def test_rows_become_changes_in_the_order_of_time():
    log = '# by hand\n\nat,node,device,event,reason\n2h,n1,gpu/2,mend,\n1.5h,n1,gpu/2,break,"fan, slow"\n1d,n2,nic/*,unplug,\n'

    assert happens(log) == [
        (5400.0, "set", ["n1-gpu-2"], "unhealthy fan, slow"),
        (7200.0, "set", ["n1-gpu-2"], "healthy"),
        (86400.0, "unplug", ["n2-nic-1", "n2-nic-2"], ""),
    ]
    assert read(log).lasts_s == 86400


def test_no_device_is_all_devices_of_the_node_and_columns_may_come_in_any_order():
    assert happens("event,at,node\nbreak,3,n1\n") == [
        (3.0, "set", ["n1-gpu-1", "n1-gpu-2", "n1-nic-1", "n1-nic-2"], "unhealthy")
    ]


def test_dates_count_from_the_first_one_whatever_their_zones():
    log = HEAD + "2026-01-02T00:00:00+01:00,n1,gpu/1,mend,\n2026-01-01T12:00:00Z,n1,gpu/1,break,\n"

    assert [row[:2] for row in happens(log)] == [(0.0, "set"), (11 * 3600.0, "set")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "f.csv:1: is empty: must begin with the line at,node,device,event,reason", id="empty"),
        pytest.param("1h,n1,gpu/1,break,\n", "f.csv:1: '1h,n1,gpu/1,break,': the first line must name", id="no header"),
        pytest.param("at,node\n", "the first line must name the columns", id="column missing"),
        pytest.param("at,at,node,event\n", "each once", id="column twice"),
        pytest.param(HEAD + "1x,n1,,break,\n", "f.csv:2: at: '1x': must be a duration such as", id="moment"),
        pytest.param(HEAD + "-1,n1,,break,\n", "at: '-1': must be a duration", id="before the start"),
        pytest.param(
            HEAD + "1,n1,,break,\n2026-01-01,n1,,mend,\n", "f.csv:3: at: '2026-01-01': must be a dur", id="both"
        ),
        pytest.param(HEAD + "1,../x,,break,\n", "node: '../x': a node's name must be", id="node"),
        pytest.param(HEAD + "1,n1,gpu,break,\n", "device: 'gpu': must be CLASS/NUMBER", id="device"),
        pytest.param(HEAD + "1,n1,,explode,\n", "event: 'explode': must be one of break, mend", id="event"),
        pytest.param(HEAD + f"1,n1,,break,{'x' * 201}\n", "must be at most 200 characters", id="long reason"),
        pytest.param(HEAD + "1,n1\n", "2 values: must be as many as there are columns, 5", id="too few"),
        pytest.param(HEAD + '1,n1,,break,"a\n', "unexpected end of data", id="quote"),
        pytest.param(HEAD + "1,n1,gpu/3,break,\n", "f.csv:2: n1 gpu/3: must be of the tree", id="no such device"),
        pytest.param(HEAD + "1,n9,,break,\n", "f.csv:2: n9 (all devices): must be of the tree", id="no such node"),
    ],
)
def test_a_wrong_log_is_refused_in_one_line(text: str, expected: str):
    with pytest.raises(SpecError) as caught:
        happens(text)
    assert len(caught.value.lines) == 1
    assert expected in caught.value.lines[0]


def test_many_wrong_lines_are_told_up_to_a_screen():
    with pytest.raises(SpecError) as caught:
        read(HEAD + "x\n" * 1000)
    assert len(caught.value.lines) == 21
    assert caught.value.lines[-1] == "... and 980 more lines like these"


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: (HEAD + text).encode()))
def test_any_bytes_are_a_log_or_what_is_wrong_with_them(raw: bytes):
    try:
        log = fault_log.read(io.BytesIO(raw), source="f.csv")
    except SpecError:
        return
    assert [row.at_s for row in log.rows] == sorted(row.at_s for row in log.rows)


@given(
    st.lists(
        st.builds(
            Row, st.integers(0, 10**9).map(lambda ms: ms / 1000), st.just("n1"), st.sampled_from(["", "gpu/1", "*/*"]),
            st.sampled_from(["break", "mend", "plug"]), st.sampled_from(["", 'a "b", c', "é", "#"]),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_what_is_written_is_read_again(rows: list[Row]):
    text = "\n".join(fault_log.lines(rows, remarks=["a", "b\nc"]))
    again = [(row.at_s, row.node, row.device, row.event, row.reason) for row in read(text).rows]

    assert again == [
        (row.at_s, row.node, row.device, row.event, row.reason) for row in sorted(rows, key=lambda r: r.at_s)
    ]


# Where a scenario begins.


def test_a_timeline_from_a_moment_begins_with_what_is_broken_by_then():
    one, two = DEVICES[:2]
    changes = (
        Change(1, "break", Act.SET, (one, two), "unhealthy a"),
        Change(2, "mend", Act.SET, (two,), "healthy"),
        Change(3, "break", Act.UNPLUG, (two,)),
        Change(4, "torn", Act.FINISH, (one,), "unhealthy b"),
        Change(9, "mend", Act.SET, (one,), "healthy"),
    )
    begun = from_moment(changes, 5)

    assert [(c.at_s, c.act, c.paths, c.text) for c in begun] == [
        (5, Act.UNPLUG, (two,), ""),
        (5, Act.SET, (one,), "unhealthy b"),
        (9, Act.SET, (one,), "healthy"),
    ]
    assert from_moment(changes, 2.5)[0].paths == (one,)
    assert from_moment(changes, 0) == changes


async def test_time_stands_still_while_the_process_is_stopped():
    now, told = [100.0], []

    async def sleep(seconds: float) -> None:
        now[0] += seconds + (3600 if len(told) == 3 else 0)  # stopped for an hour, once
        await asyncio.sleep(0)

    head = Playhead(10.0, tell=told.append, clock=lambda: now[0], sleep=sleep)
    await head.reach(50)

    assert now[0] == pytest.approx(100 + 5 + 3600)
    assert told == sorted(told)
    assert told[-1] == 50


# Outages.


def trace(*events: tuple[str, float, str, str]) -> str:
    return json.dumps(
        [
            {"node_id": server, "event_time": day, "event_type": f"fault_{kind}",
             "fault_type": {"Level": "Hardware Failure", "Class": part, "Desc": f"{part} x"}}
            for server, day, kind, part in events
        ]
    )  # fmt: skip


def test_a_trace_is_paired_by_server_and_fault_and_what_is_open_ends_with_it(tmp_path: Path):
    path = tmp_path / "t.json"
    path.write_text(
        trace(("a", 1, "start", "GPU"), ("b", 1, "start", "Fan"), ("a", 2, "start", "NIC"), ("a", 3, "end", "GPU"))
    )

    assert infinitehbd.load(path) == [
        Outage(86400, 3 * 86400, "a", "gpu", "GPU: GPU x"),
        Outage(86400, 3 * 86400, "b", "node", "Fan: Fan x"),
        Outage(2 * 86400, 3 * 86400, "a", "nic", "NIC: NIC x"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("[", "must be JSON", id="no JSON"),
        pytest.param("{}", "must be a list of events", id="no list"),
        pytest.param('[{"node_id": "a"}]', "event 0: must be an object with", id="no event"),
        pytest.param(trace(("a", -1, "start", "GPU")), "event_time: -1: must be days", id="time"),
        pytest.param(trace(("a", 1, "stop", "GPU")), "'fault_stop': must be fault_start or", id="kind"),
        pytest.param(trace(("a", 1, "end", "GPU")), "ends on day 1 that did not start", id="no start"),
    ],
)
def test_a_wrong_trace_is_refused_in_one_line(tmp_path: Path, text: str, expected: str):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError) as caught:
        infinitehbd.load(tmp_path / "t.json")
    assert expected in str(caught.value)
    assert len(caught.value.lines) == 1


_OUTAGES = st.lists(
    st.builds(
        lambda begins, lasts, server, part, devices: Outage(begins, begins + lasts, server, part, "r", devices),
        st.integers(0, 30), st.integers(0, 20), st.sampled_from(["s1", "s2"]), st.sampled_from(["gpu", "nic", "node"]),
        st.integers(1, 3),
    ),
    max_size=12,
)  # fmt: skip


@given(found=_OUTAGES, seed=st.integers(0, 3), whole=st.booleans())
def test_every_device_that_is_broken_is_mended_when_its_last_outage_ends(found: list[Outage], seed: int, whole: bool):
    made = nodes(2, gpu=2, nic=1)
    servers = {"s1": made["n1"], "s2": made["n2"]}
    rows = list(outages.place(found, servers, seed=seed, whole_nodes=whole))

    assert [row.at_s for row in rows] == sorted(row.at_s for row in rows)
    assert len({(row.at_s, row.node, row.device) for row in rows if row.event == "break"}) <= len(rows)
    down: Counter[tuple[str, str]] = Counter()
    for row in rows:
        key = row.node, row.device
        if row.event == "break":
            down[key] += 1
        else:
            assert down.pop(key), "only what is broken is mended"
    assert not down
    for node, name in (("n1", "s1"), ("n2", "s2")):
        ends = [one.ends_s for one in found if one.server == name]
        assert max((row.at_s for row in rows if row.node == node), default=None) == max(ends, default=None)


def test_a_fault_of_a_part_takes_a_device_of_that_part_where_there_is_one():
    made = nodes(1, gpu=4, nic=2)["n1"]

    assert outages.devices_of(made, "nic") == ["nic/1", "nic/2"]
    assert outages.devices_of(made, "gpu") == ["gpu/1", "gpu/2", "gpu/3", "gpu/4"]
    assert len(outages.devices_of(made, "node")) == 6
    assert outages.devices_of(nodes(1, gpu=1)["n1"], "nic") == ["gpu/1"]


# Synthesis.


@pytest.mark.parametrize("name", figures.names())
def test_every_figure_that_is_shipped_is_valid_and_has_its_source(name: str):
    loaded = figures.load(name)
    assert loaded.source
    assert 0 <= loaded.relapse_chance < 0.5


def test_a_synthetic_year_is_like_the_one_that_it_was_measured_on():
    """584 faults, 231 of 400 nodes, half over after 20.4 h, 9.2 nodes down on average: means over 12 seeds."""
    made, measured = nodes(400), figures.load("infinitehbd")
    years = [synthesis.draw(measured, made, days=349, seed=seed) for seed in range(12)]
    total = statistics.mean(len(year) for year in years)
    hit = statistics.mean(len({one.server for one in year}) for year in years)
    middle = statistics.mean(statistics.median(one.ends_s - one.begins_s for one in year) / 3600 for year in years)
    down = statistics.mean(sum(one.ends_s - one.begins_s for one in year) for year in years) / (349 * 86400)

    assert total == pytest.approx(584, rel=0.12)
    assert hit == pytest.approx(231, rel=0.2)
    assert middle == pytest.approx(20.4, rel=0.3)
    assert down == pytest.approx(9.2, rel=0.35)


def test_the_same_seed_gives_the_same_year_and_another_one_another():
    made, measured = nodes(20), figures.load("llama3")

    assert synthesis.draw(measured, made, days=99, seed=1) == synthesis.draw(measured, made, days=99, seed=1)
    assert synthesis.draw(measured, made, days=99, seed=1) != synthesis.draw(measured, made, days=99, seed=2)


def test_rates_of_devices_count_the_devices_and_a_given_rate_stands_in():
    made, measured = nodes(50, gpu=8), figures.load("delta-a100")
    week = synthesis.draw(measured, made, days=7, seed=0)
    assert len(week) == pytest.approx(36.685 * 50 * 8 * 7 / 1000, rel=0.3)
    assert any(one.devices == 2 for one in week)

    assert len(synthesis.draw(measured, made, days=1000, seed=0, rate=6.5)) == pytest.approx(325, rel=0.2)
    assert synthesis.draw(measured, made, days=1000, seed=0, rate=0.0) == []
    with pytest.raises(InputError, match="faults: must be at most 400000"):
        synthesis.draw(measured, made, days=36_500, seed=0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param("faults: []", "faults: a list: must be a list of 1 to 1000", id="no faults"),
        pytest.param("relapse: {within: {1d: 0.9, 2d: 0.2}, source: s}", "at most 0.95 in all", id="for ever"),
        pytest.param("relapse: {within: {1x: 0.1}, source: s}", "must be a duration", id="duration"),
        pytest.param("bursts: {sizes: {1: 0}, source: s}", "0: must be a number above 0", id="weight"),
    ],
)
def test_wrong_figures_are_refused_in_one_line(change: str, expected: str):
    good = "about: a\nsource: b\n"
    if not change.startswith("faults"):
        good += "faults: [{reason: r, part: gpu, per_1000_node_days: 1, repair: {50: 1h}}]\n"
    with pytest.raises(SpecError) as caught:
        figures.read((good + change).encode(), source="f.yaml")
    assert len(caught.value.lines) == 1
    assert expected in caught.value.lines[0]


def test_repairs_that_fall_and_faults_with_no_rate_are_refused():
    fault = "[{reason: r, part: gpu, per_1000_node_days: 1, repair: {50: 2h, 90: 1h}}]"
    with pytest.raises(SpecError, match="must not fall"):
        figures.read(f"about: a\nsource: b\nfaults: {fault}".encode(), source="f.yaml")
    with pytest.raises(SpecError, match="one of per_1000_node_days"):
        figures.read(b"about: a\nsource: b\nfaults: [{reason: r, part: gpu, repair: {1: 1}}]", source="f.yaml")


# The commands.


def test_import_prints_a_log_for_the_nodes_of_a_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "t.json").write_text(trace(("a", 1, "start", "GPU"), ("a", 2, "end", "GPU")))

    assert cli.main(["scenario", "import", "infinitehbd", str(tmp_path / "t.json"), "--spec", "gpu-server"]) == 0
    out, err = capsys.readouterr()
    assert "chosen by chance (seed 0)" in err
    rows = read(out).rows
    assert [(row.at_s, row.event, row.device[:4]) for row in rows] == [
        (86400, "break", "gpu/"),
        (172800, "mend", "gpu/"),
    ]


def test_import_says_that_there_are_too_few_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "t.json").write_text(trace(*((str(n), 1, "start", "GPU") for n in range(9))))

    assert cli.main(["scenario", "import", "infinitehbd", str(tmp_path / "t.json"), "--spec", "fpga"]) == 2
    assert "4 nodes: must be at least as many as servers fail in it, 9 (--spec)" in capsys.readouterr().err


def test_synthesize_prints_a_log_that_takes_whole_nodes_where_told(capsys: pytest.CaptureFixture[str]):
    command = ["scenario", "synthesize", "--spec", "gpu-server", "--days", "300", "--rate", "20", "--fails", "node"]
    assert cli.main(command) == 0
    out, err = capsys.readouterr()
    assert {row.device for row in read(out).rows} == {""}
    assert "per 1,000 node-days" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["--days", "0"], "'0': must be a number from 0.001 to 36500 (--days)", id="days"),
        pytest.param(
            ["--days", "1", "--figures", "nope"], "one of delta-a100, infinitehbd, llama3 (--figures)", id="figures"
        ),
    ],
)
def test_what_is_wrong_with_a_flag_is_one_line(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]):
    try:
        code = cli.main(["scenario", "synthesize", "--spec", "fpga", *arguments])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert expected in capsys.readouterr().err


def test_moments_and_durations_for_people():
    assert durations.moment("1.5d") == 129_600
    assert durations.shown(129_600) == "1.5d"
    assert durations.shown(42) == "42.0s"
    with pytest.raises(ValueError, match="at most 100 years"):
        durations.moment("40000d")
