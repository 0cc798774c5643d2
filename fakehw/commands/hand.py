"""`fakehw hand`: serve one tree to `kubectl fakehw`, which talks to it from afar."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from fakehw import output, parser
from fakehw.hand import requests

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

_EXAMPLES: Final = """\
  echo '{"do": "list"}' | fakehw hand
  kubectl fakehw break '*/dev3/*' --wait                # starts one beside each tree of a cluster"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands, "hand", "answer requests on standard input, a line of JSON each", run=run, examples=_EXAMPLES
    )
    parser.add_root(command)
    parser.add_domain(command)


def run(arguments: argparse.Namespace) -> None:
    """Serve until standard input ends."""
    import asyncio
    from importlib import metadata

    from fakehw.hand import session

    def answer(what: Mapping[str, Any]) -> None:
        output.say_now(json.dumps(what, separators=(",", ":")))

    answer(requests.greeting(metadata.version("fakehw")))
    asyncio.run(session.serve_stdin(arguments.root, answer, domain=arguments.domain))
