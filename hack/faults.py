"""Play every fault and write the table of docs/reliability.md: `make faults` (ONLY=words TRIES=number WRITE=1).

Each fault is played its number of times on one plugin process, which must survive them all. What cannot be played here
(no root, no namespaces) is named as such in the table. Exit code 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults import catalogue, run

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- made by `make faults WRITE=1` -->", "<!-- end of what is made -->"


def table(results: list[run.Result]) -> str:
    """Return the results as Markdown, one table for each group."""
    lines = []
    for group in dict.fromkeys(result.fault.group for result in results):
        lines += ["", f"### {group}", ""]
        lines += ["| Fault | Tries | Outcome | Longest turn | Lost |", "|---|---:|---|---:|---|"]
        lines += [row(result) for result in results if result.fault.group == group]
    played = [result for result in results if not result.skipped]
    tries, longest = sum(result.tries for result in played), max((r.longest_turn_cpu_s for r in played), default=0)
    lost = sum(bool(result.lost) for result in played)
    lines[:0] = [
        f"{len(played)} faults, {tries:,} tries, lost: {lost or 'nothing'}. Longest turn of the event loop: "
        f"{longest * 1000:.0f} ms of processor time."
    ]
    return "\n".join(lines)


def row(result: run.Result) -> str:
    """Return one result as a row."""
    turn = f"{result.longest_turn_cpu_s * 1000:.0f} ms" if result.longest_turn_s else ""
    outcome = f"{result.fault.outcome}. {result.figure}".rstrip(". ")
    lost = (result.skipped and f"not played: {result.skipped}") or result.lost.split("\n")[0] or "nothing"
    return f"| {result.fault.name} | {result.tries} | {outcome} | {turn} | {lost} |".replace("\n", " ")


async def main() -> int:
    """Play and print; write the page if told so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="faults with this word in their name or group")
    parser.add_argument("--tries", type=int, default=0, help="at most so many tries of each; 0: its own number")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    given = parser.parse_args()
    results = []
    for fault in catalogue.all_faults():
        if given.only.lower() not in f"{fault.group} {fault.name}".lower():
            continue
        began = time.monotonic()
        result = await run.play(fault, min(fault.tries, given.tries or fault.tries))
        results.append(result)
        state = result.skipped or result.lost or "nothing lost"
        print(f"{time.monotonic() - began:7.1f} s  {result.tries:4} x {fault.group}: {fault.name}: {state}", flush=True)
    print("\n" + table(results))
    if given.write:
        page = PAGE.read_text()
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{rest.partition(END)[2]}")
    return int(any(result.lost for result in results))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
