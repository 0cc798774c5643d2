"""`fakehw scenario`: run a file of timed faults, or one of the gallery, and print the receipts."""

from __future__ import annotations

import argparse
import datetime
import importlib.resources
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fakehw import durations
from fakehw.scenario import script
from fakehw.tree import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fakehw.scenario.receipts import Hop, Receipt

_MAX_SPEED: Final = 1000.0
_STOPPED: Final = 130


def add_to(
    parser: argparse.ArgumentParser,
    kind: type[argparse.ArgumentParser],
    add_root: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add the commands below `fakehw scenario`."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=kind)
    run_help = "carry out a scenario on a tree, and put everything back afterwards"
    run = commands.add_parser("run", help=run_help, description=f"C{run_help[1:]}. Ctrl-C puts everything back too.")
    run.set_defaults(run=_run)
    run.add_argument(
        "file", metavar="FILE", help="a scenario in YAML (fields: docs/scenarios.md), or a name of the gallery"
    )
    add_root(run)
    run.add_argument("--dry-run", action="store_true", help="print the timeline and touch nothing")
    run.add_argument("--speed", metavar="TIMES", type=_speed, default=1.0, help="so many times as fast (default 1)")
    run.add_argument("--keep", action="store_true", help="leave the devices as the scenario left them")
    run.add_argument(
        "--plugin-log",
        metavar="FILE",
        action="append",
        default=[],
        help="the plugin's JSON log, which tells when it saw a change; - for stdin; may be given for several plugins",
    )
    run.add_argument(
        "--pod-resources",
        metavar="SOCKET",
        action="append",
        type=Path,
        default=[],
        help="a kubelet's PodResources socket, which tells when a change landed; may be given for several kubelets",
    )
    run.add_argument(
        "--patience",
        metavar="DURATION",
        type=_duration,
        default=5.0,
        help="how long a receipt may take before the change counts as missing (default 5s)",
    )
    run.add_argument("-o", "--output", choices=("lines", "json"), default="lines", help="default: lines")
    show_help = "show the gallery: scenarios that come with fakehw, and what each teaches"
    show = commands.add_parser("list", help=show_help, description=f"S{show_help[1:]}.")
    show.set_defaults(run=_list)


def gallery() -> dict[str, Path]:
    """Return the scenarios that come with fakehw, by name."""
    with importlib.resources.as_file(importlib.resources.files("fakehw.scenario").joinpath("gallery")) as directory:
        return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def load(name: str) -> script.Scenario:
    """Return the scenario in a file, or the one of the gallery that is called so."""
    path = Path(name)
    if "/" not in name and not path.exists() and name in gallery():
        path = gallery()[name]
    return script.load(path, name=name)


def _list(_: argparse.Namespace) -> None:
    for name in gallery():
        sys.stdout.write(f"{name}\n    {load(name).teaches}\n")


def _run(arguments: argparse.Namespace) -> int:
    import asyncio  # it and what follows would cost every other command half its time

    from fakehw.scenario import player

    wanted = load(arguments.file)
    before = snapshot.read_tree(arguments.root)
    timeline = wanted.timeline([path for path, _ in before.devices()])
    if arguments.dry_run:
        for change in timeline:
            sys.stdout.write(f"{change.at_s / arguments.speed:10.3f}s  {change.step:<10}  {change}\n")
        end = max(wanted.lasts_s, timeline[-1].at_s if timeline else 0.0) / arguments.speed
        sys.stdout.write(f"{end:10.3f}s  {player.RESTORE}\n")
        return 0
    options = player.Options(
        arguments.speed, arguments.keep, arguments.patience, arguments.plugin_log, arguments.pod_resources
    )
    if arguments.output == "lines":
        sys.stdout.write(f"{wanted.name or arguments.file}: {len(timeline)} changes on {arguments.root}\n")
        show: Callable[[Receipt], None] = _show_line
    else:
        show = _show_json

    async def run() -> list[Receipt]:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await player.run(
            arguments.root, timeline, before, lasts_s=wanted.lasts_s, options=options, show=show, tell=_tell
        )

    try:
        receipts = asyncio.run(run())
    except asyncio.CancelledError:
        _tell("stopped; the devices are as they were" if not arguments.keep else "stopped")
        return _STOPPED
    if arguments.output == "lines":
        sys.stdout.write(summary(receipts))
    is_missing = any(one.problem or one.seen.missing or one.landed.missing for one in receipts)
    is_deaf = any(expected and not arrived for expected, arrived in map(_totals, (receipts, receipts), _HOPS))
    return 1 if is_missing or is_deaf else 0


_HOPS: Final = ("seen", "landed")


def _totals(receipts: Sequence[Receipt], hop: str) -> tuple[int, int]:
    hops: list[Hop] = [getattr(one, hop) for one in receipts]
    return sum(one.expected for one in hops), sum(one.arrived for one in hops)


def summary(receipts: Sequence[Receipt]) -> str:
    """Return, in a few lines, what became of all the changes."""
    failed = sum(bool(one.problem) for one in receipts)
    lines = [f"{len(receipts) - failed} of {len(receipts)} changes written"]
    for name, words in zip(_HOPS, ("seen by the plugin", "landed in allocatable"), strict=True):
        hops: list[tuple[Receipt, Hop]] = [(one, getattr(one, name)) for one in receipts]
        expected, arrived = _totals(receipts, name)
        if not expected:
            continue
        delays = sorted((hop.last_at - one.written_at) * 1000 for one, hop in hops if hop.last_at is not None)
        line = f"{arrived} of {expected} device changes {words}"
        if delays:
            line += f", in {delays[len(delays) // 2]:.1f} ms (median), {delays[-1]:.1f} ms at most"
        for word, count in (
            ("passed over", sum(hop.passed_over for _, hop in hops)),
            ("missing", sum(hop.missing for _, hop in hops)),
        ):
            line += f", {count} {word}" if count else ""
        lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def _show_line(receipt: Receipt) -> None:
    written = datetime.datetime.fromtimestamp(receipt.written_at).astimezone()
    parts = [f"{written:%H:%M:%S.%f}"[:-3], f"{receipt.change.step:<10}", str(receipt.change)]
    if receipt.problem:
        parts.append(f"| not written: {receipt.problem}")
    for name, word in (("seen", "seen"), ("landed", "landed")):
        hop: Hop = getattr(receipt, name)
        if hop.expected:
            parts.append(f"| {word} {_hop_text(hop, receipt.written_at)}")
    sys.stdout.write("  ".join(parts) + "\n")
    sys.stdout.flush()


def _hop_text(hop: Hop, since: float) -> str:
    words = []
    if hop.last_at is not None:
        count = f"{hop.arrived} " if hop.expected > 1 else ""
        words.append(f"{count}+{max(0.0, hop.last_at - since) * 1000:.1f} ms")
    if hop.passed_over:
        words.append(f"{hop.passed_over} passed over" if hop.expected > 1 else "passed over")
    if hop.missing:
        words.append(f"{hop.missing} missing" if hop.expected > 1 else "missing")
    return ", ".join(words)


def _show_json(receipt: Receipt) -> None:
    sys.stdout.write(json.dumps(receipt.as_dict(), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _tell(line: str) -> None:
    sys.stderr.write(f"fakehw: {line}\n")


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= _MAX_SPEED:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number from 0.001 to {_MAX_SPEED:g}")
    return value


def _duration(text: str) -> float:
    try:
        return durations.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
