"""`make bench`, and `make bench AGAINST='other command'`: run everything, print a table, write JSON and a plot each.

In the other command `{root}`, `{plugin_dir}`, `{count}` and `{resource}` are filled in.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hack.bench import dra, measures, report, subject

OURS = "fakehw"


def rounds_of(subjects: dict[str, str], rounds: int) -> list[tuple[str, str]]:
    """Return the subjects in turn, so that all of them see the same weather."""
    return [
        one for number in range(rounds) for one in (list(subjects.items()) if number % 2 else [*subjects.items()][::-1])
    ]


def measure_served(result: report.Report, name: str, one: subject.Stage, plugin: measures.Served, *, few: bool) -> None:
    """Measure a plugin that is up, and the floors beside it."""
    size = one.count
    with result.measuring(f"first list of a second stream, N={size} (ms)", name) as add:
        add(measures.warm_list(plugin.peer, 5 if few else 30))
    time.sleep(1.5)  # until all has loaded what waits for its registration
    result.add(f"RSS idle, N={size} (MiB)", name, [subject.rss_kib(plugin.process.pid) / 1024])
    calls = 200 if few else 2_000
    with result.measuring(f"Allocate, N={size} (ms)", name) as add:
        samples, throughput = measures.allocate(plugin, calls)
        add(samples)
        result.add(f"Allocate 16 at a time, N={size} (calls/s)", name, [throughput])
    samples, throughput = measures.floor_allocate(one, calls)
    result.add(f"Allocate, N={size} (ms)", "floor: bare grpc.aio", samples)
    result.add(f"Allocate 16 at a time, N={size} (calls/s)", "floor: bare grpc.aio", [throughput])
    with result.measuring(f"health write to list, N={size} (ms)", name) as add:
        add(measures.health_latency(plugin.peer, one, 20 if few else 200))
        if size == 1_000:
            flips = measures.flips_at_once(plugin.peer, one)
            result.add("1,000 flips at once, last write to whole list (ms)", name, [flips["converged"]])
            result.add("1,000 flips at once (lists)", name, [flips["lists"]])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--against", default="", help="the command of another plugin")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few samples: to see that it works")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 1_000, 10_000, 50_000])
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    options = parser.parse_args()
    os.environ["GRPC_VERBOSITY"] = "NONE"
    few = options.quick
    rounds = 1 if few else options.rounds
    sizes = [size for size in options.sizes if not few or size <= 1_000]
    subjects = {OURS: subject.OURS} | ({"other": options.against} if options.against else {})
    result = report.Report(machine=machine())

    for name, command in rounds_of(subjects, rounds * 3):
        with result.measuring("cold start to Register, N=8 (ms)", name):
            registered, listed = measures.cold_start(command, 8)
            result.add("cold start to Register, N=8 (ms)", name, [registered])
            result.add("cold start to first list, N=8 (ms)", name, [listed])
        result.add("cold start to Register, N=8 (ms)", "floor: import grpc", [measures.import_grpc()])
    for size in sizes:
        for name, command in rounds_of(subjects, rounds):
            with (
                result.measuring(f"cold start to first list, N={size} (ms)", name),
                subject.stage(size) as one,
                measures.served(command, one) as plugin,
            ):
                result.add(f"cold start to first list, N={size} (ms)", name, [plugin.listed_ms])
                result.add(f"list, N={size} (bytes)", name, [float(len(plugin.message))])
                measure_served(result, name, one, plugin, few=few)
            if name == OURS:
                # Without a plugin that would follow the same files on the same cores.
                with subject.stage(size) as one:
                    hop = measures.floor_hop(one, 20 if few else 200, len(plugin.message))
                    result.add(f"health write to list, N={size} (ms)", "floor: inotify + hop", hop)
                    reading = measures.floor_read(one)
                    result.add(f"cold start to first list, N={size} (ms)", "floor: bare reading", [reading])
    for name, command in rounds_of(subjects, 1):
        with result.measuring("kubelet restart to list (ms)", name):
            result.add("kubelet restart to list (ms)", name, measures.recovery(command, 5 if few else 200))
        for size in (8, 10_000)[: 1 if few else 2]:
            with (
                result.measuring(f"idle 10 s, N={size} (CPU ms)", name),
                subject.stage(size) as one,
                measures.served(command, one) as plugin,
            ):
                quiet = measures.idle(plugin.process.pid, 2 if few else 10)
                result.add(f"idle 10 s, N={size} (CPU ms)", name, [quiet["cpu_ms"]])
                result.add(f"idle 10 s, N={size} (time slices)", name, [quiet["slices"]])
    for _ in range(rounds if not options.against else 0):
        dra.measure(result, few=few)
    with subject.stage(0) as one:
        for size in sizes:
            result.add(f"fakehw build, N={size} (ms)", OURS, [measures.build(size, one.base)])
        result.add("unix socket echo, 64 bytes (ms)", "floor", measures.floor_echo(one, 500 if few else 5_000))

    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bench.json").write_text(json.dumps(result.as_json(), indent=1) + "\n")
    result.plot(options.out)
    print(result.table())


def machine() -> dict[str, Any]:
    """Describe what this ran on, in words that say nothing of whose it is."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    import google.protobuf
    import grpc

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": model,
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "protobuf": google.protobuf.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
