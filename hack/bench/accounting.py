"""Where Allocate's time goes: the plugin, and the plugin without its log line, its looks, its answer, side by side.

`python -m hack.bench.accounting` prints a table; `--serve VARIANT ...` is the plugin with something left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from fakehw_plugin import process
from hack.bench import measures, subject

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS: Final = 400
BARE: Final = "bare grpc.aio"
AS_GRPCIO_COMES: Final = "the plugin without GRPC_EXPERIMENTS"


def _without_line() -> None:
    from fakehw_plugin.deviceplugin.allocation_log import AllocationLog

    def tell_later(_: AllocationLog, __: object) -> None: ...

    AllocationLog.tell_later = tell_later  # type: ignore[method-assign]  # that is the experiment


def _without_looks() -> None:
    from fakehw_plugin.tree import descent

    _without_line()
    descent.is_real_device = lambda *_: True


def _constant() -> None:
    from fakehw_plugin.deviceplugin.servicer import DevicePluginServicer

    async def allocate(self: Any, request: bytes, context: Any) -> bytes:
        return b"\n\x00"

    DevicePluginServicer.allocate = allocate  # type: ignore[method-assign]  # that is the experiment


VARIANTS: Final[dict[str, Callable[[], None]]] = {
    AS_GRPCIO_COMES: lambda: None,
    "the plugin": lambda: None,
    "without its log line": _without_line,
    "without line and lstats": _without_looks,
    "a constant answer": _constant,
}


def main() -> int | str | None:
    """Measure, or serve one variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=VARIANTS)
    parser.add_argument("--rounds", type=int, default=12)
    options, rest = parser.parse_known_args()
    if options.serve:
        from fakehw_plugin import cli

        VARIANTS[options.serve]()
        return cli.main(rest)
    os.environ["GRPC_VERBOSITY"] = "NONE"
    latency: dict[str, list[float]] = {name: [] for name in [*VARIANTS, BARE]}
    rate: dict[str, list[float]] = {name: [] for name in [*VARIANTS, BARE]}
    with contextlib.ExitStack() as stack:
        served = {}
        for name in VARIANTS:
            # Set here: by the time the plugin does it, this module has loaded gRPC.
            experiments = "" if name == AS_GRPCIO_COMES else process.GRPC_EXPERIMENTS
            served_as = subject.OURS.replace("-m fakehw_plugin", f"-m hack.bench.accounting --serve '{name}'")
            command = f"env GRPC_EXPERIMENTS={experiments} {served_as}"
            served[name] = stack.enter_context(measures.served(command, stack.enter_context(subject.stage(8))))
        bare = stack.enter_context(measures.floor("bare", stack.enter_context(subject.stage(8))))
        time.sleep(1.5)  # until all has loaded what waits for the registration
        for number in range(options.rounds):
            for name in list(latency) if number % 2 else list(latency)[::-1]:
                samples, calls = (
                    measures.allocate_at(bare, CALLS, "n-dev1-1")
                    if name == BARE
                    else measures.allocate(served[name], CALLS)
                )
                latency[name].append(statistics.median(samples))
                rate[name].append(calls)
    print("| Allocate, N=8 | p50 (ms) | of the bare handler | calls/s, 16 at a time | of the bare handler |")
    print("| --- | --- | --- | --- | --- |")
    for name in latency:
        slower = statistics.median(a / b for a, b in zip(latency[name], latency[BARE], strict=True))
        slower_at_once = statistics.median(a / b for a, b in zip(rate[name], rate[BARE], strict=True))
        p50, calls = statistics.median(latency[name]), statistics.median(rate[name])
        print(f"| {name} | {p50:.3f} | {slower:.2f} | {calls:,.0f} | {slower_at_once:.2f} |")
    return None


if __name__ == "__main__":
    sys.exit(main())
