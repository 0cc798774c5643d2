"""`fakehw top`: a live view on a terminal, lines anywhere else."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.errors import InputError
from fakehw.tree.writer import FakeTree
from fakehw.view import listing

if TYPE_CHECKING:
    import argparse

_EXAMPLES: Final = """\
  fakehw top
  fakehw top --pod-resources /var/lib/kubelet/pod-resources/kubelet.sock
  fakehw top | tee what-happened.txt                    # lines, where there is no terminal"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands,
        "top",
        "live view of a tree, with keys to break, mend, plug and unplug (pip install 'fakehw[top]')",
        run=run,
        examples=_EXAMPLES,
    )
    parser.add_root(command)
    parser.add_domain(command)
    parser.add_pod_resources(command, "asked every 2 s who holds what")


def run(arguments: argparse.Namespace) -> None:
    """Show the view until it is left."""
    import asyncio

    from fakehw.view import events

    if _is_terminal():
        try:
            from fakehw.view import top
        except ImportError as error:
            raise InputError(f"{error.name}: not installed: pip install 'fakehw[top]'") from None
        top.run(arguments.root, arguments.pod_resources, domain=arguments.domain)
        return

    def table() -> str:
        return listing.as_table(FakeTree(arguments.root).read(), domain=arguments.domain)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            events.tell(
                arguments.root,
                domain=arguments.domain,
                follow=True,
                as_json=False,
                say=output.say_now,
                remark=output.remark,
                greeting=table,
            )
        )


def _is_terminal() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stdin))
