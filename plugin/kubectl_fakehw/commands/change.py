"""`kubectl fakehw break`, `mend`, `set`, `plug` and `unplug`: change devices, and with --wait see it land."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from fakehw import layout, output
from fakehw.commands import places as tree_places
from fakehw.errors import InputError
from fakehw.layout import Health
from fakehw.tree import selection
from kubectl_fakehw import changing, showing
from kubectl_fakehw.commands import cluster_flags, command
from kubectl_fakehw.receipts import Level, summed

if TYPE_CHECKING:
    import argparse

    from fakehw import parser
    from kubectl_fakehw.changing import Change, Outcome

_WORDS: Final = {
    "break": "make devices unhealthy",
    "mend": "make devices healthy",
    "set": "give an attribute of devices a value",
    "plug": "plug devices in: back as the spec lists them, or more of their class",
    "unplug": "pull devices out",
}
_EXAMPLES: Final = """\
  kubectl fakehw %(word)s node2/dev3/2
  kubectl fakehw %(word)s '*/dev3/*' --wait                # ends when every Node object says so, with the sum
  kubectl fakehw %(word)s '*/dev3/*' --node 'worker-1*' --wait --until plugin -o json"""


def add(commands: parser.Commands) -> None:
    """Add the commands."""
    for word, text in _WORDS.items():
        added = command.add(commands, word, text, run=run, examples=_EXAMPLES % {"word": word})
        added.set_defaults(word=word)
        if word == "set":
            added.add_argument("words", metavar="WORD", nargs="+", help="PATH... ATTRIBUTE VALUE")
        else:
            tree_places.add(added)
        if word == "break":
            added.add_argument("--reason", metavar="TEXT", default="", help="why; carried to logs and metrics")
        _add_wait(added)
        cluster_flags.add_where(added)


def _add_wait(added: parser.Parser) -> None:
    added.add_argument("--wait", action="store_true", help="end when it has landed; exit 1 if it has not")
    added.add_argument(
        "--until",
        choices=[level.value for level in Level],
        default=Level.NODE.value,
        help="how far it has to come for --wait (default node: the Node object's allocatable)",
    )
    added.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")


async def run(arguments: argparse.Namespace) -> int:
    """Change them; 1 if it did not land everywhere, 2 if there was nothing to change."""
    until = Level(arguments.until) if arguments.wait else Level.TREE
    if arguments.root is not None and until is Level.PLUGIN:
        raise InputError("plugin: nobody can say what the plugin of a tree on this machine lists (--until)")
    outcome = await _carried_out(arguments, _wanted(arguments), until)
    for pattern in outcome.missed:
        output.remark(f"{pattern!r}: fits no device of any node that was reached (PATH)")
    if not outcome.receipts:
        return 2
    found = summed(outcome.receipts, until)
    if arguments.output == "json":
        output.say(showing.as_json(outcome.receipts, found))
    else:
        _confirm_lines(showing.receipts_text(outcome.receipts, until))
        _confirm_lines(showing.sum_text(found, until))
    return 1 if found.missing or outcome.missed else 0


async def _carried_out(arguments: argparse.Namespace, change: Change, until: Level) -> Outcome:
    async with contextlib.AsyncExitStack() as stack:
        reaching = cluster_flags.reaching(arguments, needs_cluster=until is not Level.TREE)
        places, reach, client = await stack.enter_async_context(reaching)
        landing = None
        if until is not Level.TREE:
            from kubectl_fakehw.landing import Landing

            assert client is not None
            landing = Landing(client, arguments.namespace, until=until)
            await stack.enter_async_context(landing.looking())
        work = changing.Changing(reach, landing, until=until, parallel=arguments.parallel, timeout_s=arguments.timeout)
        return await work.run(places, change)


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


def _confirm_lines(text: str) -> None:
    for line in text.splitlines():
        output.confirm(line)
