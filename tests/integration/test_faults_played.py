"""Every fault of `make faults`, one try each (SIGKILL: five): on the plugin as a process, with real inotify and real sockets."""

from __future__ import annotations

import pytest

from tests.faults import catalogue, run, storms

LONG = ("for 30 s", "100,000 files", "50,000 devices", "reads its stream slowly", "never called", "a pod holds",
        "is dropped while", "max_user_watches")  # fmt: skip
"""Faults that take long to play: `make faults` plays them, and other tests know their essence."""

TURN_CPU_S = 0.2
CONVERGENCE_S = 2.5
"""What `make faults` holds to 0.1 s and 0.25 s on a machine that has time; here others want it as well."""


@pytest.mark.parametrize(
    "fault",
    [one for one in catalogue.all_faults() if not any(word in one.name for word in LONG)],
    ids=lambda fault: f"{fault.group}: {fault.name}",
)
async def test_nothing_is_lost(fault: catalogue.Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storms, "CONVERGENCE_S", CONVERGENCE_S)
    result = await run.play(fault, 5 if "SIGKILL" in fault.name else 1)

    if result.skipped:
        pytest.skip(result.skipped)
    assert not result.lost
    assert result.longest_turn_cpu_s < TURN_CPU_S
