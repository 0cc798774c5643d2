"""`fakehw scenario`: run a file of timed faults, or one of the gallery, and print the receipts."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import textwrap
from typing import Final

from fakehw import durations, layout, output, parser
from fakehw.commands import fault_logs
from fakehw.errors import InputError
from fakehw.layout import Health
from fakehw.scenario import named, shown
from fakehw.scenario import timeline as scenario_timeline
from fakehw.tree import snapshot

_MAX_SPEED: Final = 1_000_000.0
_STOPPED: Final = 130
_WIDEST: Final = 120
"""Longer lines are hard to read."""
_WORTH_RESUMING_S: Final = 86_400.0
_EXAMPLES: Final = """\
  fakehw scenario list                                  # the gallery
  fakehw scenario run flapping-link --dry-run           # what would happen, and when?
  fakehw scenario run flapping-link --speed 10 --plugin-log /tmp/plugin.log
  fakehw scenario run my-faults.yaml --pod-resources /var/lib/kubelet/pod-resources/kubelet.sock
  fakehw scenario run year.csv --speed 50000            # a fault log, such as import and synthesize print"""


def add(commands: parser.Commands) -> None:
    """Add the command, and those below it."""
    scenario = parser.add_command(
        commands, "scenario", "run timed faults, each with a receipt", run=run, examples=_EXAMPLES
    )
    below = parser.add_commands(scenario, required=False)
    _add_play(below)
    fault_logs.add(below)
    gallery = parser.add_command(
        below,
        "list",
        "show the gallery: scenarios that come with fakehw, and what each teaches",
        run=_list,
        examples="  fakehw scenario list",
    )
    gallery.add_argument("--names", action="store_true", help="only their names")


def add_devices(play: parser.Parser) -> None:
    """Add the flag that plays a scenario on other devices."""
    play.add_argument(
        "--devices",
        metavar="PATTERN",
        action="append",
        default=[],
        help="play every step on these, such as 'any/gpu/*', in place of those in the file; repeatable",
    )


def add_speed(play: parser.Parser) -> None:
    """Add the flag that plays a scenario faster, or slower."""
    play.add_argument(
        "--speed",
        metavar="TIMES",
        type=parser.number(0.001, _MAX_SPEED),
        default=1.0,
        help="so many times as fast (default 1)",
    )


def offer() -> parser.Offer:
    """Return what may stand for a scenario: the names of the gallery, and files."""
    return parser.Offer(named.gallery)


def run(_: argparse.Namespace) -> None:
    """Say that a command is missing."""
    raise InputError("run, import, synthesize, list: one of them must follow (scenario)")


def _add_play(commands: parser.Commands) -> None:
    play = parser.add_command(
        commands,
        "run",
        "carry out a scenario on a tree, and put everything back afterwards, after Ctrl-C too",
        run=_play,
        examples="\n".join(_EXAMPLES.splitlines()[1:]),
    )
    play.add_argument(
        "file",
        metavar="FILE",
        offer=offer(),
        help="a scenario in YAML (docs/scenarios.md), a name of the gallery, or a fault log (CSV); - for stdin",
    )
    parser.add_root(play)
    parser.add_domain(play)
    parser.add_api(play)
    add_devices(play)
    play.add_argument("--dry-run", action="store_true", help="print the timeline and touch nothing")
    add_speed(play)
    play.add_argument(
        "--from",
        dest="from_s",
        metavar="DURATION",
        type=_moment,
        default=0.0,
        help="begin at this moment of it, with the devices as they are by then (2.5h, 120d; default 0)",
    )
    play.add_argument("--keep", action="store_true", help="leave the devices as the scenario left them")
    play.add_argument(
        "--plugin-log",
        metavar="FILE",
        action="append",
        default=[],
        help="the plugin's JSON log, which tells when it saw a change; - for stdin; may be given for several plugins",
    )
    parser.add_pod_resources(play, "which tells when a change landed")
    play.add_argument(
        "--patience",
        metavar="DURATION",
        type=parser.duration,
        default=5.0,
        help="how long a receipt may take before the change counts as missing (default 5s)",
    )
    play.add_argument("-o", "--output", choices=("lines", "json"), default="lines", help="default: lines")


def _list(arguments: argparse.Namespace) -> None:
    width = min(shutil.get_terminal_size((80, 24)).columns, _WIDEST)
    for name in named.gallery():
        output.say(name)
        if not arguments.names:
            for line in textwrap.wrap(named.from_gallery(name).teaches, max(width, 40) - 4):
                output.say(f"    {line}")


def _play(arguments: argparse.Namespace) -> int:
    import asyncio  # it and what follows would cost every other command half its time

    from fakehw.scenario import player

    wanted = named.load(arguments.file, devices=arguments.devices, root=arguments.root)
    before = snapshot.read_tree(arguments.root)
    known = dict(before.devices())
    broken = {path for path, device in known.items() if device.text(layout.HEALTH) != Health.HEALTHY}
    timeline = scenario_timeline.from_moment(wanted.timeline(list(known)), arguments.from_s, broken=broken)
    if arguments.dry_run:
        for change in timeline:
            output.say(f"{(change.at_s - arguments.from_s) / arguments.speed:10.3f}s  {change.step:<10}  {change}")
        end_s = max(wanted.lasts_s, arguments.from_s, timeline[-1].at_s if timeline else 0.0)
        output.say(f"{(end_s - arguments.from_s) / arguments.speed:10.3f}s  {player.RESTORE}")
        return 0
    options = player.Options(
        arguments.speed,
        arguments.keep,
        arguments.patience,
        arguments.plugin_log,
        arguments.pod_resources,
        arguments.domain,
        arguments.api,
        arguments.from_s,
    )
    is_for_people = arguments.output == "lines"
    as_line = shown.text_line if is_for_people else shown.json_line
    if is_for_people:
        output.say_now(f"{wanted.name or arguments.file}: {len(timeline)} changes on {arguments.root}")

    progress = shown.Progress(sys.stderr, len(timeline), max(wanted.lasts_s, arguments.from_s), arguments.speed)

    async def play() -> player.Outcome:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        return await player.run(
            arguments.root,
            timeline,
            before,
            lasts_s=wanted.lasts_s,
            options=options,
            stop=stop,
            show=lambda receipt: progress.around(lambda: output.say_now(as_line(receipt))),
            tell=output.remark,
            progress=progress.show,
        )

    outcome = asyncio.run(play())
    progress.clear()
    receipts = outcome.receipts
    for receipt in receipts:
        if receipt.problem and receipt.change.step == player.RESTORE:
            output.remark(f"not restored: {receipt.problem}")
    if outcome.is_stopped:
        devices = f"all but {outcome.left} of the" if outcome.left else "the"
        output.remark("stopped" if arguments.keep else f"stopped; {devices} devices are as they were")
        if progress.at_s and wanted.lasts_s >= _WORTH_RESUMING_S:
            output.remark(f"to go on from here: --from {durations.shown(progress.at_s)}")
        return _STOPPED
    if is_for_people:
        output.say(shown.summary(receipts))
    is_missing = any(one.problem or any(getattr(one, hop).missing for hop in shown.HOPS) for one in receipts)
    is_deaf = any(expected and not arrived for expected, arrived in (shown.totals(receipts, hop) for hop in shown.HOPS))
    return 1 if is_missing or is_deaf else 0


def _moment(text: str) -> float:
    try:
        return durations.moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
