"""The plugin as a command, with a gauge on its event loop: `python -m tests.faults.probe FD -- FLAGS`.

On SIGUSR1 it writes one line of JSON to FD: the longest turn of the loop since the last such line, and what is open. A
turn is the time between two waits for events: for as long as it takes, nobody is served.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import sys
import time


class Turns:
    """The longest turn so far, by the clock and by the processor time of this thread."""

    def __init__(self) -> None:
        self.longest_s = self.longest_cpu_s = 0.0
        self.began: tuple[float, float] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def end(self) -> None:
        began, self.began = self.began, None  # a signal may come in between
        if began is not None:
            spent = time.perf_counter() - began[0]
            self.longest_s = max(self.longest_s, spent)
            self.longest_cpu_s = max(self.longest_cpu_s, min(spent, time.thread_time() - began[1]))

    def begin(self) -> None:
        self.began = time.perf_counter(), time.thread_time()


def main() -> int:
    report_to = int(sys.argv[1])
    turns = Turns()
    select = selectors.EpollSelector.select

    def measured(self: selectors.EpollSelector, timeout: float | None = None) -> object:
        turns.end()
        turns.loop = asyncio.get_running_loop()
        try:
            return select(self, timeout)
        finally:
            turns.begin()

    selectors.EpollSelector.select = measured  # type: ignore[method-assign, assignment]  # that is what a gauge is

    def report(*_: object) -> None:
        turns.end()
        tasks = sorted({task.get_name() for task in asyncio.all_tasks(turns.loop)}) if turns.loop else []
        figures = {"turn_s": turns.longest_s, "turn_cpu_s": turns.longest_cpu_s, "tasks": tasks}
        turns.longest_s = turns.longest_cpu_s = 0.0
        os.write(report_to, json.dumps(figures).encode() + b"\n")

    signal.signal(signal.SIGUSR1, report)
    from fakehw_plugin import cli

    return cli.main(sys.argv[3:])


if __name__ == "__main__":
    sys.exit(main())
