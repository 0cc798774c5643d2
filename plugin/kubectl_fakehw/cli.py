"""The command line of `kubectl fakehw`.

Exit 0: done, and landed where that was waited for. 1: something did not land, or the cluster refused. 2: what was given
breaks a rule. 130: Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fakehw import layout, output, parser
from fakehw.commands import completion, list_devices
from fakehw.commands import places as tree_places
from fakehw.commands import scenario as scenario_command
from fakehw.errors import FakehwError, InputError, TreeError
from fakehw.layout import Health
from fakehw.tree import selection
from kubectl_fakehw import changing, showing
from kubectl_fakehw.receipts import Level, summed

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from fakehw.view.listing import Record
    from kubeapi.client import Client
    from kubectl_fakehw.changing import Change
    from kubectl_fakehw.hands import Reach
    from kubectl_fakehw.places import Place

    Command = Callable[[argparse.Namespace], Awaitable[int]]

NAME: Final = "kubectl fakehw"
NAMESPACE: Final = "fakehw"
PARALLEL: Final = 50
TIMEOUT_S: Final = 60.0
_RETRY_FOR_S: Final = 3.0
"""Somebody waits at a terminal: an API server that is away is said soon."""

_DESCRIPTION: Final = """\
Hands on the fake devices of every node of a cluster, without a shell on any of them."""
_EXAMPLES: Final = """\
  kubectl fakehw hands                                  # once: a hand on each node
  kubectl fakehw list --summary
  kubectl fakehw break '*/dev3/*' --reason "over temperature" --wait
  kubectl fakehw mend '*/dev3/*' --wait
  kubectl fakehw unplug node2/dev3/2 --node kind-worker2
  kubectl fakehw scenario run storm --speed 10"""
_CHANGES: Final = f"""\
  {NAME} %(word)s node2/dev3/2
  {NAME} %(word)s '*/dev3/*' --wait                # ends when every Node object says so, with the sum
  {NAME} %(word)s '*/dev3/*' --node 'worker-1*' --wait --until plugin -o json"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    output.prepare(NAME)
    try:
        arguments = make_parser().parse_args(argv)
        run: Callable[[argparse.Namespace], int] = arguments.run
        return run(arguments)
    except FakehwError as error:
        for line in error.lines:
            output.remark(line)
        return 2 if isinstance(error, InputError) else 1
    except ImportError as error:
        output.remark(f"{error.name}: not installed: pip install 'fakehw[kubectl]'")
        return 1
    except BrokenPipeError:
        output.end()
        return 0
    except (KeyboardInterrupt, asyncio.CancelledError):
        output.remark("interrupted")
        return 130
    except OSError as error:
        output.remark(f"{error.strerror or error}")
        return 1


def make_parser() -> parser.Parser:
    """Return the parser of the whole command."""
    whole = parser.make_parser(NAME, description=_DESCRIPTION, examples=_EXAMPLES)
    whole.add_argument("--version", action=parser.Version, nargs=0, help="print the version and exit")
    commands = parser.add_commands(whole)
    listing = _add(
        commands,
        "list",
        "show the devices of all nodes",
        run=_list,
        examples=f"  {NAME} list\n  {NAME} list -o json",
    )
    tree_places.add(listing, required=False)
    list_devices.add_format(listing)
    _add_where(listing)

    for word, text in (
        ("break", "make devices unhealthy"),
        ("mend", "make devices healthy"),
        ("set", "give an attribute of devices a value"),
        ("plug", "plug devices in: back as the spec lists them, or more of their class"),
        ("unplug", "pull devices out"),
    ):
        command = _add(commands, word, text, run=_change, examples=_CHANGES % {"word": word})
        command.set_defaults(word=word)
        _add_change(command, word)

    events = _add(
        commands, "events", "say what is unhealthy, and with --follow what happens", run=_events,
        examples=f"  {NAME} events -f",
    )  # fmt: skip  # the description stays on one line
    events.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    events.add_argument("-o", "--output", choices=("lines", "json"), default="lines", help="default: lines")
    _add_where(events)

    scenario = _add(
        commands,
        "scenario",
        "play timed faults over all nodes",
        run=_no_command,
        examples=f"  {NAME} scenario run storm",
    )
    below = parser.add_commands(scenario, required=False)
    play = _add(
        below, "run", "play a scenario, and put everything back afterwards, after Ctrl-C too", run=_play,
        examples=f"  {NAME} scenario run rolling-outage --dry-run",
    )  # fmt: skip  # the description stays on one line
    play.add_argument(
        "file",
        metavar="FILE",
        offer=scenario_command.offer(),
        help="a scenario in YAML (docs/scenarios.md), a name of the gallery, or a fault log (CSV); - for stdin",
    )
    scenario_command.add_devices(play)
    play.add_argument("--dry-run", action="store_true", help="print the timeline and touch nothing")
    scenario_command.add_speed(play)
    play.add_argument("--keep", action="store_true", help="leave the devices as the scenario left them")
    _add_where(play)

    hands = _add(
        commands,
        "hands",
        "put a hand on each node that has the plugin",
        run=_hands,
        examples=f"  {NAME} hands --remove",
    )
    hands.add_argument("--remove", action="store_true", help="take them away")
    _add_cluster(hands)
    script = parser.add_command(
        commands, "completion", "print the completion script of a shell, for the name kubectl-fakehw", run=_completion,
        examples="  source <(kubectl fakehw completion bash)",
    )  # fmt: skip  # the description stays on one line
    completion.add_shell(script)
    return whole


def _add_change(command: parser.Parser, word: str) -> None:
    if word == "set":
        command.add_argument("words", metavar="WORD", nargs="+", help="PATH... ATTRIBUTE VALUE")
    else:
        tree_places.add(command)
    if word == "break":
        command.add_argument("--reason", metavar="TEXT", default="", help="why; carried to logs and metrics")
    command.add_argument("--wait", action="store_true", help="end when it has landed; exit 1 if it has not")
    command.add_argument(
        "--until",
        choices=[level.value for level in Level],
        default=Level.NODE.value,
        help="how far it has to come for --wait (default node: the Node object's allocatable)",
    )
    command.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")
    _add_where(command)


def _add_where(command: parser.Parser) -> None:
    _add_cluster(command)
    command.add_argument(
        "--node",
        metavar="NAME",
        action="append",
        default=[],
        help="only this Kubernetes node, or a pattern; repeatable",
    )
    command.add_argument("-l", "--selector", metavar="LABELS", default="", help="only nodes with these labels")
    command.add_argument("--root", metavar="DIR", type=Path, help="a tree on this machine in place of the nodes' own")
    command.add_argument(
        "--parallel",
        metavar="N",
        type=parser.whole_number(1, 1000),
        default=PARALLEL,
        help=f"nodes at once (default {PARALLEL})",
    )


def _add_cluster(command: parser.Parser) -> None:
    command.add_argument("--kubeconfig", metavar="FILE", default="", help="as kubectl takes it (env KUBECONFIG)")
    command.add_argument("--context", metavar="NAME", default="", help="of the kubeconfig")
    command.add_argument(
        "-n", "--namespace", metavar="NAME", default=NAMESPACE, help=f"where fakehw is deployed (default {NAMESPACE})"
    )
    command.add_argument(
        "--timeout",
        metavar="DURATION",
        type=parser.duration,
        default=TIMEOUT_S,
        help=f"for each node (default {TIMEOUT_S:g}s)",
    )


def _awaited(command: Command) -> Callable[[argparse.Namespace], int]:
    """Return what runs a command to its end, or to the first signal, which cancels it."""

    async def run(arguments: argparse.Namespace) -> int:
        from kubeapi import errors

        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            return await command(arguments)
        except errors.ApiError as error:
            raise TreeError(str(error)) from error

    return lambda arguments: asyncio.run(run(arguments))


def _add(commands: parser.Commands, name: str, help_text: str, *, run: Command, examples: str) -> parser.Parser:
    """Add a command that is a coroutine; whoever has a loop of his own finds it as `command`."""
    added = parser.add_command(commands, name, help_text, run=_awaited(run), examples=examples)
    added.set_defaults(command=run)
    return added


# The commands.


def _completion(arguments: argparse.Namespace) -> int:
    whole = make_parser()
    whole.prog = "kubectl-fakehw"  # by which a shell knows it
    output.say(completion.script(whole, arguments.shell))
    return 0


async def _no_command(_: argparse.Namespace) -> int:
    raise InputError("run must follow (scenario)")


async def _hands(arguments: argparse.Namespace) -> int:
    from kubectl_fakehw import installing

    async with _client(arguments) as client:
        if arguments.remove:
            await installing.remove(client, arguments.namespace)
            output.confirm("the hands are gone")
        else:
            number = await installing.install(client, arguments.namespace, timeout_s=arguments.timeout)
            output.confirm(f"{number} hands are ready")
    return 0


async def _list(arguments: argparse.Namespace) -> int:
    wanted = selection.parse_all(arguments.paths, root=arguments.root)
    async with _reaching(arguments) as (places, reach, _):
        found, failed = await _listed(places, reach, arguments)
    records = list_devices.choose(found, wanted, where="the cluster") if found or wanted else found
    if records or not failed:
        list_devices.show(records, arguments)
    return 1 if failed else 0


async def device_names(arguments: argparse.Namespace) -> list[str]:
    """Return the devices of all nodes, each name once."""
    async with _reaching(arguments) as (places, reach, _):
        found, _ = await _listed(places, reach, arguments, tell=lambda _: None)
    return list(dict.fromkeys(record.path.removeprefix("/") for record in found if record.id))


async def _listed(
    places: Sequence[Place],
    reach: Reach,
    arguments: argparse.Namespace,
    *,
    tell: Callable[[str], None] = output.remark,
) -> tuple[list[Record], int]:
    limit = asyncio.Semaphore(arguments.parallel)

    async def one(place: Place) -> list[Record] | None:
        try:
            async with limit, asyncio.timeout(arguments.timeout), reach(place) as hand:
                return [showing.record(told, place.node) for told in await hand.ask("list")]
        except (TreeError, TimeoutError) as error:
            tell(f"{place.node}: {str(error) or f'no answer within {arguments.timeout:g} s'}")
            return None

    parts = await asyncio.gather(*map(one, places))
    return [record for part in parts if part is not None for record in part], parts.count(None)


async def _change(arguments: argparse.Namespace) -> int:
    until = Level(arguments.until) if arguments.wait else Level.TREE
    if arguments.root is not None and until is Level.PLUGIN:
        raise InputError("plugin: nobody can say what the plugin of a tree on this machine lists (--until)")
    change = _wanted(arguments)
    async with contextlib.AsyncExitStack() as stack:
        reaching = _reaching(arguments, needs_cluster=until is not Level.TREE)
        places, reach, client = await stack.enter_async_context(reaching)
        landing = None
        if until is not Level.TREE:
            from kubectl_fakehw.landing import Landing

            assert client is not None
            landing = Landing(client, arguments.namespace, until=until)
            await stack.enter_async_context(landing.looking())
        work = changing.Changing(reach, landing, until=until, parallel=arguments.parallel, timeout_s=arguments.timeout)
        outcome = await work.run(places, change)
    for one in outcome.missed:
        output.remark(f"{one!r}: fits no device of any node that was reached (PATH)")
    if not outcome.receipts:
        return 2
    found = summed(outcome.receipts, until)
    if arguments.output == "json":
        output.say(showing.as_json(outcome.receipts, found))
    else:
        _confirm_lines(showing.receipts_text(outcome.receipts, until))
        _confirm_lines(showing.sum_text(found, until))
    return 1 if found.missing or outcome.missed else 0


def _wanted(arguments: argparse.Namespace) -> Change:
    word: str = arguments.word
    name, value, texts = layout.HEALTH, "", getattr(arguments, "paths", [])
    if word == "set":
        if len(arguments.words) < 3:
            raise InputError(f"{' '.join(arguments.words)!r}: PATH, ATTRIBUTE and VALUE must follow (set)")
        *texts, name, value = arguments.words
    elif word in ("break", "mend"):
        value = layout.health_text(Health.UNHEALTHY, arguments.reason) if word == "break" else Health.HEALTHY.value
    do = word if word in (changing.PLUG, changing.UNPLUG) else changing.SET
    return changing.Change(do, selection.parse_all(texts, root=arguments.root), name, value)


async def _events(arguments: argparse.Namespace) -> int:
    as_json = arguments.output == "json"

    async def follow(place: Place, reach: Reach) -> bool:
        try:
            async with reach(place) as hand:
                async for answer in hand.told("events"):
                    if "event" in answer:
                        event = {**answer["event"], "host": answer["event"]["host"] or place.node}
                        output.say_now(json.dumps(event) if as_json else showing.event_line(event, place.node))
        except TreeError as error:
            output.remark(f"{place.node}: {error}")
        return False

    async with _reaching(arguments) as (places, reach, _):
        if arguments.follow:
            await asyncio.gather(*(follow(place, reach) for place in places))
            return 1  # every hand is gone
        found, failed = await _listed(places, reach, arguments)
    broken = [record for record in found if record.health == Health.UNHEALTHY.value]
    for record in broken:
        told = {
            "path": record.path,
            "id": record.id,
            "host": record.host,
            "health": record.health,
            "reason": record.reason,
        }
        line = f"{record.host}  {record.path}  {record.health}{f': {record.reason}' if record.reason else ''}"
        output.say(json.dumps(told) if as_json else line)
    return 1 if failed else 0


async def _play(arguments: argparse.Namespace) -> int:
    from fakehw.scenario import named
    from kubectl_fakehw.playing import How, Playing

    scenario = named.load(arguments.file, devices=arguments.devices)

    def show(node: str, receipt: dict[str, Any]) -> None:
        devices = ", ".join(receipt["devices"][:3]) + (" ..." if len(receipt["devices"]) > 3 else "")
        problem = f"  not written: {receipt['problem']}" if receipt["problem"] else ""
        name = receipt.get("name", layout.HEALTH)
        what = f"{name} {receipt['text']}" if name != layout.HEALTH else receipt["text"]
        output.say_now(f"{receipt['at_s']:9.3f}s  {node}  {receipt['act']} {devices}  {what}{problem}".rstrip())

    async with _reaching(arguments) as (places, reach, _):
        if arguments.dry_run:
            found, failed = await _listed(places, reach, arguments)
            paths = sorted(
                {layout.TreePath.parse(record.path) for record in found if record.id}, key=lambda path: path.sort_key
            )
            for change in scenario.timeline(paths):
                output.say(f"{change.at_s / arguments.speed:10.3f}s  {change.step:<10}  {change}")
            return 1 if failed else 0
        playing = Playing(reach, parallel=arguments.parallel, tell=lambda node, line: output.remark(f"{node}: {line}"))
        how = How(scenario.lasts_s, arguments.speed, arguments.keep)
        try:
            played, failed = await playing.run(places, scenario.timeline, how, show)
        except asyncio.CancelledError:
            output.remark("stopped; the hands put everything back" if not arguments.keep else "stopped")
            return 130
    nodes = "1 node" if played == 1 else f"{played} nodes"
    output.confirm(f"played on {played - failed} of {nodes}" if failed else f"played on {nodes}")
    return 1 if failed else 0


# Ways to the hands.


@contextlib.asynccontextmanager
async def _client(arguments: argparse.Namespace) -> AsyncIterator[Client]:
    from kubeapi import errors, kubeconfig
    from kubeapi.client import Client

    try:
        access = kubeconfig.find(arguments.kubeconfig, context=arguments.context)
    except errors.AccessError as error:
        raise InputError(f"{error} (--kubeconfig)") from None
    connections = arguments.parallel if "parallel" in arguments else 8
    async with Client(access, connections=connections, retry_for_s=_RETRY_FOR_S, user_agent="kubectl-fakehw") as client:
        yield client


@contextlib.asynccontextmanager
async def _reaching(
    arguments: argparse.Namespace, *, needs_cluster: bool = False
) -> AsyncIterator[tuple[Sequence[Place], Reach, Client | None]]:
    """Yield the places, the way to a hand at each, and the client, if there is a cluster in it."""
    from kubectl_fakehw import hands, places

    async with contextlib.AsyncExitStack() as stack:
        client = None
        if arguments.root is None or needs_cluster:
            client = await stack.enter_async_context(_client(arguments))
        if arguments.root is not None:
            root: Path = arguments.root
            yield [places.Place(str(root))], lambda _: hands.here(root), client
            return
        assert client is not None
        found = await places.find(client, arguments.namespace, patterns=arguments.node, selector=arguments.selector)
        server, namespace = client, arguments.namespace
        yield found, lambda place: hands.reached(server, namespace, place), client


def _confirm_lines(text: str) -> None:
    for line in text.splitlines():
        output.confirm(line)
