"""Every fault of `make faults`, once (SIGKILL: five times): on the plugin as a process, with real inotify and real sockets.

Off by default, because it takes half a minute: `make test-faults`, which CI runs.
"""

from __future__ import annotations

import itertools

import pytest

from tests.faults import catalogue, run, scene, storms

pytestmark = pytest.mark.played

LONG = ("for 30 s", "100,000 files", "50,000 devices", "reads its stream slowly", "never called", "a pod holds",
        "is dropped while", "max_user_watches")  # fmt: skip
"""Faults that take long to play: `make faults` plays them, and other tests know their essence."""

TURN_CPU_S = 0.5
CONVERGENCE_S = 2.5
"""What `make faults` holds to 0.1 s and 0.25 s on a machine that has time; here others want it as well."""

PLAYED = [one for one in catalogue.all_faults() if not any(word in one.name for word in LONG)]
ON_ONE_PLUGIN = {
    group: list(faults)
    for group, faults in itertools.groupby(
        (one for one in PLAYED if one.set_up is scene.playing), lambda one: one.group
    )
}
ALONE = [one for one in PLAYED if one.set_up is not scene.playing]


def check(result: run.Result) -> None:
    name = result.fault.name
    assert not result.lost, f"{name}: {result.lost}"
    assert result.skipped or result.tries, f"{name}: not played"
    assert result.longest_turn_cpu_s < TURN_CPU_S, name


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storms, "CONVERGENCE_S", CONVERGENCE_S)


@pytest.mark.parametrize("group", ON_ONE_PLUGIN)
async def test_nothing_is_lost_in_faults_one_after_the_other(group: str) -> None:
    results = await run.play_together(ON_ONE_PLUGIN[group])

    for result in results:
        check(result)


@pytest.mark.parametrize("fault", ALONE, ids=lambda fault: f"{fault.group}: {fault.name}")
async def test_nothing_is_lost(fault: catalogue.Fault) -> None:
    result = await run.play(fault, 5 if "SIGKILL" in fault.name else 1)

    if result.skipped:
        pytest.skip(result.skipped)
    check(result)
