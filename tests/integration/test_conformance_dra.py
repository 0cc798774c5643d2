"""The kit for DRA drivers: a sound driver keeps every fact, and each broken one breaks the one that it is for."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
from pathlib import Path

import pytest

from fakekubelet.conformance import catalogue, contract_text, reboot, subject
from fakekubelet.conformance.dra import catalogue as dra_catalogue
from fakekubelet.conformance.dra import procedure
from fakekubelet.conformance.dra.settings import Limits, Settings
from fakekubelet.conformance.verdict import Verdict
from tests.broken_drivers.every import EVERY
from tests.broken_plugins import forks

pytestmark = pytest.mark.lengthy

AT_ONCE = 24
INSTANCES = 2
"""Of inotify that each run of the kit has; a machine allows so many to each user, as a rule 128."""
LIMITS = Limits(
    start_s=20.0, info_s=20.0, publish_s=20.0, change_s=20.0, reply_s=20.0, recovery_s=20.0, republish_s=20.0,
    stop_s=20.0, quiet_s=0.4,
)  # fmt: skip  # a table
"""Waits are long, because two dozen drivers at once keep two cores busy and what is sound ends them early."""

OWN_LIMITS: dict[str, dict[str, float]] = {
    "AnswersInfoSlowly": {"info_s": 0.5},
    "AnswersOneKubelet": {"recovery_s": 3.0},
    "DoesNotStartBesideItsOldSockets": {"start_s": 20.0},
    "GivesUpItsWatch": {"republish_s": 3.0},
    "IsAlwaysHealthy": {"change_s": 3.0},
    "LosesADeviceForGood": {"change_s": 3.0},
    "NeverLosesADevice": {"change_s": 3.0},
    "NeverPublishes": {"publish_s": 2.0, "republish_s": 1.0},
    "NeverRegisters": {"start_s": 4.0},
    "PublishesOnce": {"republish_s": 2.0},
    "StreamsOnce": {"recovery_s": 4.0},
    "TaintsForGood": {"change_s": 3.0},
    "TaintsNothing": {"change_s": 3.0},
    "ThinksForEver": {"reply_s": 2.0},
}
"""A fault that shows by something that does not come is waited for in vain, to the end of the limit: these are short."""

IN_MORE_LIVES = {
    "AnswersOneKubelet", "ClearsAwayItsPredecessor", "TakesItsSuccessorAlong", "DoesNotStartBesideItsOldSockets", "GivesOtherIdsAfterARestart", "GivesUpItsWatch", "PublishesOnce", "SaysItOnce",
    "Sound", "StreamsOnce", "TrustsItsOwnFiles", "UnpreparesOnlyItsOwn",
}  # fmt: skip  # one list
"""Faults that show after the first life; the others are looked at in brief."""


async def examine(name: str, server: Path) -> dict[str, catalogue.Finding]:
    with tempfile.TemporaryDirectory(prefix="fhd-", dir="/tmp") as directory:
        root = Path(directory)
        state = root / "state"
        state.mkdir()
        settings = Settings(
            command=(str(server), name, str(state)),
            root=root,
            cdi_dir=root / "cdi",
            break_command=f"touch {state}/broken",
            mend_command=f"rm {state}/broken",
            unplug_command=f"touch {state}/unplugged",
            plug_command=f"rm {state}/unplugged",
            is_brief=name not in IN_MORE_LIVES,
            limits=dataclasses.replace(LIMITS, **OWN_LIMITS.get(name, {})),
        )
        seen = await procedure.run(settings)
    return {one.check.name: one for one in catalogue.judge(seen, dra_catalogue.GROUPS)}


def free_inotify_instances() -> int:
    """Return how many more this user may have now; those of others' processes cannot be counted, and are not ours."""
    used = 0
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            used += descriptor.readlink().name == "anon_inode:inotify"
    return int(Path("/proc/sys/fs/inotify/max_user_instances").read_text()) - used


async def examine_all(names: list[str]) -> dict[str, dict[str, catalogue.Finding]]:
    turn = asyncio.Semaphore(max(1, min(AT_ONCE, free_inotify_instances() // (2 * INSTANCES))))  # half for others

    async def one(name: str, server: Path) -> dict[str, catalogue.Finding]:
        async with turn:
            return await examine(name, server)

    with tempfile.TemporaryDirectory(prefix="fhb-", dir="/tmp") as directory:
        server = Path(directory) / "server"
        async with forks.serving(server, "tests.broken_drivers"):
            found = dict(zip(names, await asyncio.gather(*(one(name, server) for name in names)), strict=True))
            for name in names:  # two dozen at once can outrun a fault's short limit: what looks odd is looked at alone
                if set(broken(found[name])) != EVERY[name].breaks:
                    found[name] = await examine(name, server)
    return found


@pytest.fixture(scope="module")
def findings():
    """All drivers, side by side: most of the time is spent in waiting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "execute", forks.execute)
        # a fork of a process that runs already sees no other boot id; nor does one of them look
        patch.setattr(reboot, "with_new_boot_id", lambda command, _: tuple(command))
        return asyncio.run(examine_all(sorted(EVERY, key=lambda name: name not in IN_MORE_LIVES)))


def broken(found: dict[str, catalogue.Finding]) -> dict[str, str]:
    return {name: one.result.evidence for name, one in found.items() if one.result.verdict is Verdict.BROKEN}


@pytest.mark.parametrize("name", sorted(EVERY))
def test_a_driver_breaks_what_it_is_for_and_nothing_else(findings, name):
    found = broken(findings[name])

    assert set(found) == EVERY[name].breaks, found


def test_a_sound_driver_is_judged_by_every_check(findings):
    assert {name for name, one in findings["Sound"].items() if one.result.verdict is not Verdict.KEPT} == set()


def test_every_check_is_broken_by_a_driver_that_is_made_for_it():
    checks = {check.name for group in dra_catalogue.GROUPS.values() for check in group}

    assert set.union(*(kind.breaks for kind in EVERY.values())) == checks


def test_facts_are_numbers_of_the_contract():
    known = contract_text.facts()

    missing = {
        fact for group in dra_catalogue.GROUPS.values() for check in group for fact in check.facts
    } - known.keys()
    assert missing == set()
    assert known["DRA-10"].startswith("DRA-10 NodePrepareResources runs when a pod sandbox is about to be created")
    assert all("\n" not in text for text in known.values())
