"""`fakehw completion`: the completion script of a shell, for the command that it is asked of."""

from __future__ import annotations

import hashlib
import shlex
from typing import TYPE_CHECKING, Any, Final

from fakehw import output, parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

_SHELLS: Final = ("bash", "zsh", "fish", "powershell", "tcsh")
_EXAMPLES: Final = """\
  source <(fakehw completion bash)
  fakehw completion zsh > ~/.zfunc/_fakehw
  fakehw completion fish > ~/.config/fish/completions/fakehw.fish"""
_DEVICES: Final = {"fakehw": "fakehw list -o name", "kubectl-fakehw": "kubectl-fakehw list -o name"}
"""What prints what a PATH may be, by command."""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands, "completion", "print the completion script of a shell", run=run, examples=_EXAMPLES
    )
    add_shell(command)


def add_shell(command: parser.Parser) -> None:
    """Add the argument that names the shell."""
    command.add_argument("shell", metavar="SHELL", choices=_SHELLS, help=f"one of {', '.join(_SHELLS)}")


def run(arguments: argparse.Namespace) -> None:
    """Print the script, made from the parser of all commands."""
    output.say(script(arguments.parser, arguments.shell))


def script(whole: parser.Parser, shell: str) -> str:
    """Return the script of a shell for all of a command."""
    import shtab  # a sixth of every other command's start

    devices = _quiet(_DEVICES.get(whole.prog, _DEVICES["fakehw"]), shell)
    completes: dict[str, Any] = {
        "PATH": shtab.cmd(devices),
        "WORD": shtab.cmd(devices),
        "DIR": shtab.DIRECTORY,
        "FILE": shtab.FILE,
        "SOCKET": shtab.FILE,
    }
    for command, action in _actions(whole):
        if offer := command.offers.get(action):
            words = list(offer.words())
            if offer.has_files:
                action.complete = _words_and_files(words)  # type: ignore[attr-defined]  # where shtab looks for it
            elif offer.has_devices:
                each_on_a_line = [f"echo {shlex.quote(word)}" for word in words]
                action.complete = shtab.cmd("; ".join([devices, *each_on_a_line]))  # type: ignore[attr-defined]  # as above
            else:
                action.choices = words
        elif isinstance(action.metavar, str) and action.metavar in completes:
            action.complete = completes[action.metavar]  # type: ignore[attr-defined]  # as above
    text: str = shtab.complete(whole, shell=shell)
    # Of several arguments, zsh completes the first alone as shtab has it.
    return text.replace('\n  "(*):', '\n  "*:') if shell == "zsh" else text


def _quiet(command: str, shell: str) -> str:
    """Return a command whose complaints do not run into the line that is being typed."""
    return command if shell in ("powershell", "tcsh") else f"{command} 2>/dev/null"


def _words_and_files(words: Iterable[str]) -> dict[str, Any]:
    """Return what shtab takes for words that stand beside the names of files: a function for each shell."""
    given = shlex.join(words)
    name = f"_fakehw_words_or_files_{hashlib.sha256(given.encode()).hexdigest()[:8]}"
    listed = ", ".join(f"'{word}'" for word in words)
    return {
        "bash": name,
        "zsh": name,
        "fish": f"({name})",
        "powershell": name,
        "tcsh": "f",
        "preamble": {
            "bash": f"""
{name}() {{
  compgen -W "{given}" -- "$1"
  compgen -f -- "$1"
}}""",
            "zsh": f"""
{name}() {{
  _alternative 'names:name:({given})' 'files:file:_files'
}}""",
            "fish": f"""
function {name}
  string split ' ' -- "{given}"
  __fish_complete_path (commandline -ct)
end""",
            "powershell": f"""
function {name} {{
  param([string]$WordToComplete)
  @({listed}) | Where-Object {{ $_ -like "$WordToComplete*" }}
  _shtab_powershell_compgen_files $WordToComplete
}}""",
        },
    }


def _actions(command: parser.Parser) -> Iterator[tuple[parser.Parser, argparse.Action]]:
    """Yield every argument of a command and of those below it."""
    for action in command.added:
        yield command, action
        if isinstance(action.choices, dict):
            for below in action.choices.values():
                yield from _actions(below)
