"""`fakehw set-health`: make devices healthy or unhealthy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import layout, output, parser
from fakehw.commands import places
from fakehw.errors import InputError
from fakehw.layout import Health
from fakehw.tree import selection
from fakehw.tree.writer import FakeTree

if TYPE_CHECKING:
    import argparse

_WORDS: Final = tuple(word.value for word in Health)
_SHOWN: Final = 3
_EXAMPLES: Final = """\
  fakehw set-health node2/dev3/2 unhealthy over temperature
  fakehw set-health node2/dev3/2 healthy
  fakehw set-health '*/dev3/*' unhealthy                # a pattern, as in scenarios
  fakehw set-health node2/dev3 unhealthy                # all devices of the class; node2: all of the node
  echo unhealthy > $FAKEHW_ROOT/node2/dev3/2/health     # the same by hand"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands, "set-health", "make devices healthy or unhealthy", run=run, examples=_EXAMPLES
    )
    command.add_argument(
        "words",
        metavar="WORD",
        nargs="+",
        offer=parser.Offer(lambda: _WORDS, has_files=False, has_devices=True),
        help="PATH... healthy|unhealthy [REASON...]; PATH: " + places.HELP,
    )
    command.usage = (
        "fakehw set-health [-h] [--reason TEXT] [--root DIR] PATH [PATH ...] {healthy,unhealthy} [REASON ...]"
    )
    command.add_argument(
        "--reason", metavar="TEXT", default="", help="why, as one word of the shell; the same as REASON"
    )
    parser.add_root(command)


def run(arguments: argparse.Namespace) -> None:
    """Write the health, and say what was written."""
    texts, health, reason = _split(arguments.words, arguments.reason)
    tree = FakeTree(arguments.root, tell=output.remark)
    paths = places.resolve(texts, arguments.root, lambda: selection.places(tree.read()))
    count = tree.set_health(paths, health, reason=reason)
    reason = layout.one_line(reason)
    devices = f" ({count} devices)" if count != len(paths) or len(paths) > _SHOWN else ""
    names = ", ".join(map(str, paths)) if len(paths) <= _SHOWN else ", ".join(texts)
    output.confirm(f"{names} {health}{f': {reason}' if reason else ''}{devices}")


def _split(words: list[str], flag: str) -> tuple[list[str], str, str]:
    """Return paths, health and reason: what a health file says follows the paths."""
    at = next((index for index, word in enumerate(words) if word.lower() in _WORDS), None)
    if at is None:
        suggestion = parser.did_you_mean(words[-1].lower(), _WORDS)
        raise InputError(f"{words[-1]!r}: healthy or unhealthy must follow the paths{suggestion} (HEALTH)")
    if at == 0:
        raise InputError(f"{words[0]!r}: a path must come first, such as node2/dev3/2 (PATH)")
    after = " ".join(words[at + 1 :])
    if after and flag:
        raise InputError(f"{flag!r}: must not stand beside {after!r}: one reason, in either place (--reason)")
    return words[:at], words[at].lower(), after or flag
