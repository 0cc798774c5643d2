"""The conformance kit: our plugin keeps every fact that applies, and each broken plugin breaks the one that it is for."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import sys
import tempfile
from pathlib import Path

import pytest

from fakekubelet.conformance import catalogue, procedure, subject
from fakekubelet.conformance.settings import Limits, Settings
from fakekubelet.conformance.verdict import Verdict
from tests.broken_plugins import forks
from tests.broken_plugins.every import EVERY
from tests.factories import make_tree
from tests.running import running_plugin

ROOT = Path(__file__).parents[2]

AT_ONCE = 16
LIMITS = Limits(
    start_s=20.0, options_s=20.0, list_s=20.0, reply_s=20.0, recovery_s=20.0, stop_s=20.0, absent_s=0.4, quiet_s=0.4
)
"""Waits are long, because sixteen plugins at once keep two cores busy and what is sound ends them early."""

OWN_LIMITS: dict[str, dict[str, float]] = {
    "AllocatesForEver": {"reply_s": 2.0},
    "AnswersOptionsSlowly": {"options_s": 1.5},
    "GivesUpWithoutAKubelet": {"absent_s": 2.0},
    "DiesWhenTheKubeletIsAway": {"absent_s": 2.0},
    "IgnoresSIGTERM": {"stop_s": 2.0},
    "ListsSlowly": {"list_s": 2.0},
    "LooksAtItsOwnSocketOnly": {"recovery_s": 6.0},
    "LooksAtTheKubeletsSocketOnly": {"recovery_s": 6.0},
    "NeverLooksAtItsDevicesAgain": {"list_s": 4.0},
    "NeverRegisters": {"start_s": 4.0, "recovery_s": 2.0},
    "NeverRegistersAgain": {"recovery_s": 4.0},
    "SendsAHeartbeat": {"quiet_s": 2.0},
    "TellsOneStreamOnly": {"list_s": 2.0},
    "TrustsItsOpenStream": {"recovery_s": 6.0},
}
"""A fault that shows by something that does not come is waited for in vain, to the end of the limit: these are short. A
heartbeat has to be heard on a busy machine, too: its quiet is longer."""

IN_ITS_FIRST_LIFE = {name for name, kind in EVERY.items() if kind.__module__.rpartition(".")[2] != "recovery"} - {
    "Sound",
    "Watched",
    "WatchedAndLeft",
    "DiesOfAnUnknownDevice",
    "ReusesItsSocketName",
}
"""Faults that show before anything is restarted: they run already when they are judged, and what ends one is not tried."""

AT_ITS_END = {
    "DiesOfAnUnknownDevice", "DiesOfSIGTERM", "EmptiesItsListWhenItEnds", "EndsWithStatusOne", "GivesUpWithoutAKubelet",
    "IgnoresSIGTERM", "KeepsALockFile", "WatchedAndLeft", "LeavesItsSocket",
}  # fmt: skip  # one list
"""Faults that show when that life ends, or before it has begun: what comes after is not tried."""

Findings = dict[str, catalogue.Finding]


async def examine(
    command: list[str],
    directory: Path,
    *,
    break_: str,
    mend: str,
    resources: tuple[str, ...] = (),
    brief: bool = False,
    limits: Limits = LIMITS,
) -> Findings:
    settings = Settings(
        command=tuple(command),
        plugin_dir=directory / "device-plugins",
        break_command=break_,
        mend_command=mend,
        resources=resources,
        is_brief=brief,
        limits=limits,
    )
    return {one.check.name: one for one in catalogue.judge(await procedure.run(settings))}


def broken(findings: Findings) -> dict[str, str]:
    return {name: one.result.evidence for name, one in findings.items() if one.result.verdict is Verdict.BROKEN}


def unjudged(findings: Findings) -> set[str]:
    return {name for name, one in findings.items() if one.result.verdict is Verdict.UNJUDGED}


def limits_of(name: str) -> Limits:
    brief = {"absent_s": 0.1, "quiet_s": 0.25} if name in IN_ITS_FIRST_LIFE else {}
    return dataclasses.replace(LIMITS, **(brief | OWN_LIMITS.get(name, {})))


async def examine_broken(names: list[str]) -> dict[str, Findings]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, place: Path, server: Path) -> Findings:
        place.mkdir()
        state, runs_already = place / "broken", name in IN_ITS_FIRST_LIFE
        async with turn:
            with (
                # Once judged it would only look for a kubelet, ten times a second.
                forks.running(server, name, place / "device-plugins", state)
                if runs_already
                else contextlib.nullcontext()
            ):
                return await examine(
                    [] if runs_already else [str(server), name, str(state)], place, break_=f"touch {state}", mend=f"rm {state}",
                    resources=tuple(kind.resource for kind in getattr(EVERY[name], "together", ())), brief=runs_already or name in AT_ITS_END,
                    limits=limits_of(name),
                )  # fmt: skip  # what is run, and how

    with tempfile.TemporaryDirectory(prefix="fhb-", dir="/tmp") as directory:
        server = Path(directory) / "forks"
        async with forks.serving(server):
            found = await asyncio.gather(
                *(one(name, Path(directory) / str(number), server) for number, name in enumerate(names))
            )
    return dict(zip(names, found, strict=True))


def slowness(name: str) -> tuple[bool, bool, str]:
    return name not in OWN_LIMITS, name in IN_ITS_FIRST_LIFE, name


@pytest.fixture(scope="module")
def every(request: pytest.FixtureRequest) -> dict[str, Findings]:
    """What the kit finds on all broken plugins that were selected, examined several at a time."""
    # The slow ones first: they wait for what never comes.
    wanted = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "execute", forks.execute)
        return asyncio.run(examine_broken(sorted(wanted & {*EVERY}, key=slowness)))


@pytest.mark.parametrize("name", sorted(EVERY))
def test_each_broken_plugin_breaks_what_it_is_for_and_nothing_else(name: str, every: dict[str, Findings]) -> None:
    found = broken(every[name])

    assert set(found) == EVERY[name].breaks, found


@pytest.mark.parametrize("name", ["Watched"])
def test_a_plugin_that_is_found_in_plugins_registry_is_judged_by_all_but_what_is_about_its_call(
    name: str, every: dict[str, Findings]
) -> None:
    about_its_call = {"endpoint-unique", "serves-before-registering", "register-deadline", "options-agree"}

    assert about_its_call <= unjudged(every[name])
    assert every[name]["registers"].result.verdict is Verdict.KEPT
    assert every[name]["survives-kubelet-restart"].result.verdict is Verdict.KEPT
    of_what_it_has_not = {"cdi-names", "host-paths", "distinct-names", "ids-across-resources"}
    assert unjudged(every[name]) <= about_its_call | of_what_it_has_not


OUR_CHECKS_THAT_DO_NOT_APPLY = {"cdi-names"}


async def test_our_plugin_keeps_every_fact_that_applies(short_dir: Path) -> None:
    tree = make_tree(short_dir / "tree", "node1/dev1/1", "node1/dev1/2", "node1/dev2/1", "node1/dev3/1")
    health = tree / "node1/dev1/1/health"
    command = [
        sys.executable, "-m", "fakehw_plugin", "--root", str(tree), "--plugin-dir", "{plugin_dir}",
        "--pod-resources", "{pod_resources}", "--pre-start-check", "true",
    ]  # fmt: skip  # flags and values side by side

    found = await examine(
        command, short_dir, break_=f"echo unhealthy > {health}", mend=f"echo healthy > {health}",
        limits=dataclasses.replace(LIMITS, quiet_s=1.0),
    )  # fmt: skip  # what is run, and how

    assert broken(found) == {}
    assert unjudged(found) == OUR_CHECKS_THAT_DO_NOT_APPLY


async def test_a_plugin_that_runs_already_is_judged_and_never_signalled(short_dir: Path) -> None:
    plugin_dir = short_dir / "device-plugins"
    plugin_dir.mkdir()
    tree = make_tree(short_dir / "tree", "node1/dev1/1", "node1/dev2/1")
    async with running_plugin("--root", str(tree), "--plugin-dir", str(plugin_dir), "--pod-resources", "") as process:
        limits = dataclasses.replace(LIMITS, list_s=4.0)
        found = await examine([], short_dir, break_="true", mend="true", limits=limits)

        assert process.returncode is None
        assert set(broken(found)) == {"health-updates"}  # the command breaks nothing
        assert {"stops-cleanly", "survives-kill", "endpoint-unique"} <= unjudged(found)
        assert found["survives-kubelet-restart"].result.verdict is Verdict.KEPT
    assert [path.name for path in plugin_dir.iterdir() if not path.name.startswith("fakehw-")] == []


def test_every_check_is_broken_by_some_plugin() -> None:
    names = {one.name for checks in catalogue.GROUPS.values() for one in checks}

    assert set().union(*(kind.breaks for kind in EVERY.values())) == names


def test_facts_are_numbers_of_the_contract() -> None:
    contract = (ROOT / "docs" / "kubelet-contract.md").read_text()
    known = set(re.findall(r"\*\*([A-Z]+-\d+)[ *]", contract))

    assert {fact for checks in catalogue.GROUPS.values() for one in checks for fact in one.facts} <= known
