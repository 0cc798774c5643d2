"""What the parsers of all commands share: one line for whatever is wrong, flags with a variable, and common arguments.

A command is a module of `commands` with two functions: `add(commands)` describes it, by `add_command`, and
`run(arguments)` carries it out. `cli` lists them.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from fakehw import durations, layout, output, resource_name
from fakehw.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Commands = argparse._SubParsersAction["Parser"]
    Run = Callable[[argparse.Namespace], int | None]

_ARGUMENT_ERROR: Final = re.compile(r"argument ([^:]+): (.*)", re.DOTALL)
_CHOICE_ERROR: Final = re.compile(r"invalid choice: (.*) \(choose from (.*)\)", re.DOTALL)


class Offer(NamedTuple):
    """What a shell may complete an argument with: words, which are asked for when a script is made, and files."""

    words: Callable[[], Iterable[str]]
    has_files: bool = True
    has_devices: bool = False
    """Of the tree, or of the cluster."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line: value, rule, flag; and what may have been meant."""

    def __init__(self, *arguments: Any, **rest: Any) -> None:
        self._options: list[str] = []
        self.added: list[argparse.Action] = []
        """Every argument, and the commands below, in the order in which they were added."""
        self.offers: dict[argparse.Action, Offer] = {}
        super().__init__(*arguments, **rest)

    def add_argument(self, *names: Any, offer: Offer | None = None, **rest: Any) -> argparse.Action:
        """Add an argument, and remember it: argparse has no public way to look at what was added."""
        self._options += [name for name in names if name.startswith("--")]
        if "choices" in rest:
            rest.setdefault("type", one_of(rest["choices"]))  # before argparse looks, whose words are not ours
        action = super().add_argument(*names, **rest)
        self.added.append(action)
        if offer is not None:
            self.offers[action] = offer
        return action

    def add_subparsers(self, **rest: Any) -> Any:
        """Let commands follow, and remember that."""
        action: argparse.Action = super().add_subparsers(**rest)
        self.added.append(action)
        return action

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what is not known here, where the options of this command are known, and not further up."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            suggestion = did_you_mean(unknown[0].partition("=")[0], self._options)
            output.remark(f"{unknown[0]!r}: is not an argument of {self.prog}{suggestion}")
            self.exit(2)
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Say what argparse found in one line, and end with 2."""
        argument = _ARGUMENT_ERROR.fullmatch(message)
        if argument:
            flag, rule = argument.groups()
            choice = _CHOICE_ERROR.fullmatch(rule)
            if choice:  # of a command, which argparse itself looks up
                rule = not_one_of(ast.literal_eval(choice[1]), choice[2].replace("'", "").split(", "))
            message = f"{rule} ({flag})"
        output.remark(message)
        self.exit(2)


class Version(argparse.Action):
    """Looks the version up only when it is asked for: that reads files."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version and end."""
        from importlib import metadata

        output.say(f"{parser.prog} {metadata.version('fakehw')}")
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


def one_of(known: Iterable[str]) -> Callable[[str], str]:
    """Return what takes one of these words; argparse's error says which there are, and which may have been meant."""
    words = [str(word) for word in known]

    def convert(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(not_one_of(text, words))
        return text

    return convert


def not_one_of(word: str, known: Iterable[str]) -> str:
    """Return what is wrong with a word that is not known."""
    known = list(known)
    return f"{word!r}: must be one of {', '.join(known)}{did_you_mean(word, known)}"


def number(least: float, most: float) -> Callable[[str], float]:
    """Return what takes a number in this range; argparse's error says the rule."""

    def convert(text: str) -> float:
        with contextlib.suppress(ValueError):
            if least <= (value := float(text)) <= most:
                return value
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number from {least:.12g} to {most:.12g}")

    return convert


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return what takes a whole number in this range; argparse's error says the rule."""

    def convert(text: str) -> int:
        if text.isascii() and text.isdigit() and least <= int(text[:20]) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from {least} to {most}")

    return convert


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question to end an error with, or nothing where no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f": did you mean {near[0]}?" if near else ""


def is_flag(action: argparse.Action) -> bool:
    """Tell whether an argument is one that nothing follows, such as --help."""
    return bool(action.option_strings) and action.nargs == 0


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
    below: Commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=required, parser_class=Parser)
    return below


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
            return text if type is str else type(text)  # a str of one from the environment would forget that
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


def add_api(parser: Parser) -> None:
    """Add the flag that says by which API classes are served that do not say."""
    add_flag(
        parser,
        "--api",
        env="FAKEHW_API",
        metavar="NAME",
        type=_api,
        default=layout.DEVICE_PLUGIN,
        help="device-plugin or dra: what serves classes without a file `api`, as the plugin's own flag says it "
        f"(env FAKEHW_API; default {layout.DEVICE_PLUGIN})",
    )


def add_pod_resources(parser: Parser, asked: str) -> None:
    """Add the flag that names kubelets' PodResources sockets; `asked` says what for."""
    parser.add_argument(
        "--pod-resources",
        metavar="SOCKET",
        type=Path,
        action="append",
        default=[],
        help=f"a kubelet's PodResources socket, {asked}; may be given for several kubelets",
    )


def _api(text: str) -> str:
    if text not in layout.APIS:
        raise argparse.ArgumentTypeError(f"{text!r}: must be {' or '.join(layout.APIS)}")
    return text


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
