"""Write docs/reference-flags.md from the parsers of all commands: `make reference`."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference-flags.md"
HEAD = """\
# Flags

Made by `make reference` from the commands themselves; `--help` says the same. A flag wins over its variable.
Exit codes of `fakehw`, `fakehw-fleet` and `kubectl fakehw`: 0 done, 1 the system, the tree or the cluster refused, or
something is missing, 2 what was given breaks a rule, 3 a build did all but what it names, 130 Ctrl-C. Of
`fakehw-plugin`: 0 after SIGTERM or SIGINT, 2 for a bad flag, 1 for a bug.
"""


def page() -> str:
    """Return the page."""
    for name in [name for name in os.environ if name.startswith("FAKEHW_") or name == "NODE_NAME"]:
        del os.environ[name]  # defaults would be taken from them
    from fakehw import cli as fakehw_cli
    from fakehw_fleet import cli as fleet_cli
    from fakehw_plugin import cli as plugin_cli
    from fakekubelet.conformance import cli as conformance_cli
    from kubectl_fakehw import cli as kubectl_cli

    lines = [HEAD, "## fakehw-plugin\n", "| Flag | Variable | Default | |", "|---|---|---|---|"]
    lines += (
        f"| `{flag.name} {flag.metavar}` | `{flag.env}` | {code(flag.default)} | {cell(flag.help)} |"
        for flag in plugin_cli.FLAGS
    )
    parsers = itertools.chain(
        commands("fakehw", fakehw_cli.make_parser()),
        commands("fakehw-fleet", fleet_cli.make_parser()),
        commands("kubectl fakehw", kubectl_cli.make_parser()),
        commands("fakehw-conformance", conformance_cli.parser()),
    )
    for words, parser in parsers:
        lines += ["", f"## {words}", "", cell((parser.description or "").replace("\n", " ")), ""]
        rows = [row for action in parser._actions if (row := row_of(action))]
        if rows:
            lines += ["| | |", "|---|---|", *rows]
        else:
            lines.pop()
    return "\n".join(lines).rstrip() + "\n"


def commands(words: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield a parser and those below it, each with the words that call it."""
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from commands(f"{words} {name}", below)


def row_of(action: argparse.Action) -> str:
    """Return a row about one flag or argument; nothing for help and for the list of commands."""
    if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
        return ""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else "")
    shown = ", ".join(action.option_strings) or action.dest
    takes = isinstance(action, argparse._StoreTrueAction)
    if action.option_strings and not takes:
        shown = f"{shown} {value}".rstrip()
    elif not action.option_strings:
        shown = str(value)
    return f"| {code(shown)} | {cell((action.help or '').replace('%%', '%'))} |"


def code(text: str) -> str:
    """Return text as code; nothing for nothing."""
    return f"`{cell(text)}`" if text else ""


def cell(text: str) -> str:
    """Return text that can stand in a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.path.insert(0, str(PAGE.parents[1]))
    PAGE.write_text(page())
    print(PAGE)
