"""`make bench`, and `make bench AGAINST='other command'`: run everything, print a table, write JSON and a plot each.

In the other command `{root}`, `{plugin_dir}`, `{count}` and `{resource}` are filled in.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hack.bench import measures, report, subject

OURS = "fakehw"


def rounds_of(subjects: dict[str, str], rounds: int) -> list[tuple[str, str]]:
    """Return the subjects in turn, so that all of them see the same weather."""
    return [
        one for number in range(rounds) for one in (list(subjects.items()) if number % 2 else [*subjects.items()][::-1])
    ]


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
        result.add("cold start to Register, N=8 (ms)", name, [(start := measures.cold_start(command, 8))["register"]])
        result.add("cold start to first list, N=8 (ms)", name, [start["list"]])
        result.add("cold start to Register, N=8 (ms)", "floor: import grpc", [measures.import_grpc()])
    for size in sizes:
        for name, command in rounds_of(subjects, rounds):
            with subject.stage(size) as one, measures.served(command, one) as (process, peer, _, listed, length):
                result.add(f"cold start to first list, N={size} (ms)", name, [listed])
                result.add(f"list, N={size} (bytes)", name, [length])
                result.add(f"RSS idle, N={size} (MiB)", name, [subject.rss_kib(process.pid) / 1024])
                result.add(
                    f"first list of a second stream, N={size} (ms)", name, measures.warm_list(peer, 5 if few else 30)
                )
                calls = 200 if few else 2_000
                samples, throughput = measures.allocate(peer, calls)
                result.add(f"Allocate, N={size} (ms)", name, samples)
                result.add(f"Allocate 16 at a time, N={size} (calls/s)", name, [throughput])
                samples, throughput = measures.floor_allocate(one, calls)
                result.add(f"Allocate, N={size} (ms)", "floor: bare grpc.aio", samples)
                result.add(f"Allocate 16 at a time, N={size} (calls/s)", "floor: bare grpc.aio", [throughput])
                changes = 20 if few else 200
                result.add(f"health write to list, N={size} (ms)", name, measures.health_latency(peer, one, changes))
                if size == 1_000:
                    flips = measures.flips_at_once(peer, one)
                    result.add("1,000 flips at once, last write to whole list (ms)", name, [flips["converged"]])
                    result.add("1,000 flips at once (lists)", name, [flips["lists"]])
            with subject.stage(size) as one:  # without a plugin that would follow the same files on the same cores
                hop = measures.floor_hop(one, changes, int(length))
                result.add(f"health write to list, N={size} (ms)", "floor: inotify + hop", hop)
    for name, command in rounds_of(subjects, 1):
        result.add("kubelet restart to list (ms)", name, measures.recovery(command, 5 if few else 50))
        for size in (8, 10_000)[: 1 if few else 2]:
            with subject.stage(size) as one, measures.served(command, one) as (process, *_):
                quiet = measures.idle(process.pid, 2 if few else 10)
                result.add(f"idle 10 s, N={size} (CPU ms)", name, [quiet["cpu_ms"]])
                result.add(f"idle 10 s, N={size} (time slices)", name, [quiet["slices"]])
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
