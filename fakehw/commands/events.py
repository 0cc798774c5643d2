"""`fakehw events`: say what is unhealthy, and with --follow what happens."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.errors import InputError

if TYPE_CHECKING:
    import argparse

_EXAMPLES: Final = """\
  fakehw events                                         # what is broken, since when and why
  fakehw events --follow --pod-resources /var/lib/kubelet/pod-resources/kubelet.sock   # and who takes devices
  fakehw events --follow -o json | jq 'select(.health == "unhealthy")'"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands,
        "events",
        "say what is unhealthy, and with --follow whatever happens from now on",
        run=run,
        examples=_EXAMPLES,
    )
    parser.add_root(command)
    parser.add_domain(command)
    command.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    parser.add_pod_resources(command, "asked every 2 s with --follow, who takes devices and who lets them go")
    command.add_argument("-o", "--output", choices=("lines", "json"), default="lines", help="default: lines")


def run(arguments: argparse.Namespace) -> None:
    """Say it, line by line."""
    import asyncio  # it and what follows would cost every other command half its time

    from fakehw.view import events

    if arguments.pod_resources and not arguments.follow:
        raise InputError("--pod-resources: needs --follow; who holds what now is said by `fakehw list --pod-resources`")
    as_json = arguments.output == "json"
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            events.tell(
                arguments.root,
                domain=arguments.domain,
                follow=arguments.follow,
                as_json=as_json,
                sockets=arguments.pod_resources,
                say=output.say_now,
                remark=output.remark,
            )
        )
