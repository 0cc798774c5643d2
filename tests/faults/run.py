"""Playing a fault some number of times, and what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import traceback

from tests.faults.catalogue import Fault
from tests.faults.stage import has_namespaces


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
    if result.skipped:
        return result
    try:
        async with contextlib.AsyncExitStack() as stack:
            one = await stack.enter_async_context(fault.set_up())
            for _ in range(tries):
                figure = await fault.play(one)
                result.figure = str(figure or result.figure)
                result.tries += 1
                with contextlib.suppress(AssertionError):  # a fault that plays on processes of its own has no gauge
                    await one.gauge()
                result.longest_turn_s = one.longest_turn_s
                result.longest_turn_cpu_s = one.longest_turn_cpu_s
    except Exception as error:
        result.lost = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    return result
