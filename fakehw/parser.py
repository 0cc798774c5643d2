"""What the parsers of all commands share: one line for whatever is wrong, flags with a variable, and common arguments.

A command is a module of `commands` with two functions: `add(commands)` describes it, by `add_command`, and
`run(arguments)` carries it out. `cli` lists them.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from fakehw import durations, layout, output, resource_name
from fakehw.errors import InputError
from fakehw.layout import TreePath

if TYPE_CHECKING:
    from collections.abc import Callable

    Commands = argparse._SubParsersAction["Parser"]
    Run = Callable[[argparse.Namespace], int | None]

_ARGUMENT_ERROR: Final = re.compile(r"argument ([^:]+): (.*)", re.DOTALL)
_CHOICE_ERROR: Final = re.compile(r"invalid choice: (.*) \(choose from (.*)\)", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line: value, rule, flag."""

    def error(self, message: str) -> NoReturn:
        """Say what argparse found in one line, and end with 2."""
        argument = _ARGUMENT_ERROR.fullmatch(message)
        if argument:
            flag, rule = argument.groups()
            choice = _CHOICE_ERROR.fullmatch(rule)
            if choice:
                known = choice[2].replace("'", "")
                rule = f"{choice[1]}: must be one of {known}"
            message = f"{rule} ({flag})"
        output.remark(message)
        self.exit(2)


class Version(argparse.Action):
    """Looks the version up only when it is asked for: that reads files."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version and end."""
        from importlib import metadata

        sys.stdout.write(f"{parser.prog} {metadata.version('fakehw')}\n")
        parser.exit()


class FromEnvironment(str):
    """A value that no flag gave but a variable did, so that what is wrong with it can be said of the variable."""

    __slots__ = ("variable",)
    variable: str

    @classmethod
    def named(cls, variable: str) -> FromEnvironment | None:
        """Return the value of an environment variable; None where it is not set, or empty."""
        text = os.environ.get(variable)
        if not text:
            return None
        value = cls(text)
        value.variable = variable
        return value


def make_parser(prog: str, *, description: str, examples: str) -> Parser:
    """Return the parser of a whole command line."""
    return Parser(prog=prog, description=description, **_shape(examples))


def add_command(commands: Commands, name: str, help_text: str, *, run: Run, examples: str) -> Parser:
    """Add a command whose arguments the caller adds."""
    command: Parser = commands.add_parser(
        name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.", **_shape(examples)
    )
    command.set_defaults(run=run)
    return command


def add_commands(parser: Parser, *, required: bool = True) -> Commands:
    """Let commands follow; where they are not `required`, it is the command above them that says what is missing."""
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=required, parser_class=Parser)


def add_flag(
    parser: Parser,
    *names: str,
    env: str,
    default: object = None,
    type: Callable[[str], Any] = str,  # argparse's own word
    required: bool = False,
    **rest: Any,  # as argparse takes it
) -> None:
    """Add a flag that an environment variable stands in for; what is wrong with its value names the variable then."""
    given = FromEnvironment.named(env)

    def convert(text: str) -> object:
        try:
            return type(text)
        except argparse.ArgumentTypeError as error:
            if isinstance(text, FromEnvironment):
                raise InputError(f"{error} ({text.variable})") from None  # argparse would name the flag
            raise

    parser.add_argument(
        *names, type=convert, default=default if given is None else given, required=required and given is None, **rest
    )


def add_root(parser: Parser) -> None:
    """Add the flag that names the tree."""
    add_flag(
        parser,
        "--root",
        env="FAKEHW_ROOT",
        metavar="DIR",
        type=_root,
        default=layout.DEFAULT_ROOT,
        help=f"the tree (env FAKEHW_ROOT; default {layout.DEFAULT_ROOT})",
    )


def add_domain(parser: Parser) -> None:
    """Add the flag that says what a class that names no resource is advertised as."""
    add_flag(
        parser,
        "--domain",
        env="FAKEHW_DOMAIN",
        metavar="NAME",
        type=_checked_by(resource_name.check_domain),
        default=layout.DEFAULT_DOMAIN,
        help="domain of mydevice-K where devK has no resource, as the plugin's own flag says it "
        f"(env FAKEHW_DOMAIN; default {layout.DEFAULT_DOMAIN})",
    )


def add_paths(parser: Parser) -> None:
    """Add the places in the tree that a command is about."""
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        type=_path,
        help="a device (node2/dev3/2), a class (node2/dev3) or a node (node2)",
    )


def origin(value: str, flag: str) -> str:
    """Return where a value came from: the flag, or the variable that stood in for it."""
    return value.variable if isinstance(value, FromEnvironment) else flag


def host(text: str) -> str:
    """Return the name of a Kubernetes node; argparse's error with the rule if it cannot be one."""
    return _checked_by(resource_name.check_host)(text)


def duration(text: str) -> float:
    """Return a duration in seconds; argparse's error with the rule if it is none."""
    try:
        return durations.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def _shape(examples: str) -> dict[str, Any]:
    return {
        "epilog": f"examples:\n{examples}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }


def _checked_by(check: Callable[[str], None]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        try:
            check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
        return text

    return convert


def _root(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a directory")
    return Path(text)


def _path(text: str) -> TreePath:
    try:
        return TreePath.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
