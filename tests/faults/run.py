"""Playing a fault some number of times, and what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import traceback
from collections.abc import Iterator, Sequence

from tests.faults.catalogue import Fault
from tests.faults.scene import Scene, has_namespaces


@dataclasses.dataclass
class Result:
    """A row of the table."""

    fault: Fault
    tries: int = 0
    lost: str = ""
    figure: str = ""
    longest_turn_s: float = 0.0
    longest_turn_cpu_s: float = 0.0
    skipped: str = ""


def why_not(fault: Fault) -> str:
    """Why it cannot be played here, or nothing."""
    if fault.needs_root and os.geteuid() != 0:
        return "needs root (mknod)"
    if fault.needs_namespaces and not has_namespaces():
        return "needs user and mount namespaces"
    return ""


async def play(fault: Fault, tries: int) -> Result:
    """Play it; `lost` is empty if nothing was. One plugin has to survive all tries."""
    result = Result(fault, skipped=why_not(fault))
    if not result.skipped:
        with _noting(result):
            async with fault.set_up() as one:
                await _play_on(one, result, tries)
    return result


async def play_together(faults: Sequence[Fault]) -> list[Result]:
    """Play each once, all on one plugin, which has to survive them; they must have the same set-up.

    What comes after a fault in which something was lost is not played.
    """
    results = [Result(fault, skipped=why_not(fault)) for fault in faults]
    playable = [result for result in results if not result.skipped]
    if not playable:
        return results
    async with playable[0].fault.set_up() as one:
        for result in playable:
            with _noting(result):
                await _play_on(one, result, 1)
            if result.lost:
                break
    return results


async def _play_on(one: Scene, result: Result, tries: int) -> None:
    for _ in range(tries):
        figure = await result.fault.play(one)
        result.figure = str(figure or result.figure)
        result.tries += 1
        with contextlib.suppress(AssertionError):  # a fault that plays on processes of its own has no gauge
            await one.gauge()
        result.longest_turn_s = one.longest_turn_s
        result.longest_turn_cpu_s = one.longest_turn_cpu_s


@contextlib.contextmanager
def _noting(result: Result) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        result.lost = f"{type(error).__name__}: {error}"
        traceback.print_exc()
