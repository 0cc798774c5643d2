"""`fakehw completion`: the completion script of a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fakehw import output, parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_SHELLS: Final = ("bash", "zsh", "fish", "powershell", "tcsh")
_EXAMPLES: Final = """\
  source <(fakehw completion bash)
  fakehw completion zsh > ~/.zfunc/_fakehw
  fakehw completion fish > ~/.config/fish/completions/fakehw.fish"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands, "completion", "print the completion script of a shell", run=run, examples=_EXAMPLES
    )
    add_shell(command)


def add_shell(command: parser.Parser) -> None:
    """Add the argument that names the shell."""
    command.add_argument("shell", choices=_SHELLS, help="the shell that is to complete")


def run(arguments: argparse.Namespace) -> None:
    """Print the script, made from the parser of all commands."""
    output.say(script(arguments.parser, arguments.shell, devices="fakehw list -o name"))


def script(whole: parser.Parser, shell: str, *, devices: str) -> str:
    """Return the script of a shell; `devices` is the command that prints what a PATH may be."""
    import shtab  # a sixth of every other command's start

    completes: dict[str, Any] = {
        "PATH": shtab.cmd(devices),
        "WORD": shtab.cmd(devices),
        "DIR": shtab.DIRECTORY,
        "FILE": shtab.FILE,
        "SOCKET": shtab.FILE,
    }
    for command, action in _actions(whole):
        if isinstance(action.metavar, str) and action.metavar in completes:
            action.complete = completes[action.metavar]  # type: ignore[attr-defined]  # where shtab looks for it
        if action.metavar == "FILE" and command.prog.endswith("scenario run"):
            action.complete = shtab.cmd("fakehw scenario list --names")  # type: ignore[attr-defined]  # as above
    text: str = shtab.complete(whole, shell=shell)
    return text


def _actions(command: parser.Parser) -> Iterator[tuple[parser.Parser, argparse.Action]]:
    """Yield every argument of a command and of those below it."""
    for action in command.added:
        yield command, action
        if isinstance(action.choices, dict):
            for below in action.choices.values():
                yield from _actions(below)
