"""The documentation does what it says: the tutorial is played, examples are checked, links lead somewhere."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fakehw import cli, load_topology
from fakehw.scenario import script
from fakehw.spec import check
from fakehw_fleet import cli as fleet_cli
from fakehw_plugin import cli as plugin_cli
from tests import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("*.md"))
INDEX_PAGE = REPOSITORY / "deploy/index-page.md"
DEADLINE_S = 60.0


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


# The tutorial.


class Demo:
    """The first terminal of the tutorial."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._text = ""
        self._since = 0

    async def says(self, line: str) -> None:
        """Wait until `line` is printed, after what was waited for before."""
        assert self.process.stdout is not None
        wanted = re.sub(r" +", " ", line)
        async with asyncio.timeout(DEADLINE_S):
            while (at := self._text.find(wanted, self._since)) < 0:
                chunk = await self.process.stdout.read(65536)
                assert chunk, f"the demo ended without {line!r}:\n{self._text}"
                self._text += re.sub(r" +", " ", chunk.decode())
        self._since = at + len(wanted)

    def root(self) -> str:
        found = re.findall(r"echo unhealthy > (\S+)/node2/dev3/1/health", self._text)
        return str(found[-1])


@contextlib.asynccontextmanager
async def demo() -> AsyncIterator[Demo]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(REPOSITORY / "hack/demo.py"), "--play",
        stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"]}, cwd=REPOSITORY,
    )  # fmt: skip  # the command stays on one line
    try:
        yield Demo(process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.communicate()


def steps(page: Path) -> list[tuple[str, str]]:
    """Return what the tutorial shows, in its order: ("text", what the demo says) and ("console", a session)."""
    return re.findall(r"^```(text|console)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


async def run(command: str, root: str) -> str:
    directory = Path(sys.executable).parent
    environ = {"PATH": f"{directory}:{os.environ['PATH']}", "FAKEHW_ROOT": root}
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environ
    )
    async with asyncio.timeout(DEADLINE_S):
        out, _ = await process.communicate()
    assert process.returncode == 0, f"{command}: {out.decode()}"
    return out.decode()


async def test_the_tutorial_happens_as_it_is_told() -> None:
    async with demo() as first_terminal:
        await first_terminal.says("Ctrl-C ends it and cleans up.")
        first_terminal._since = 0
        told = steps(DOCS / "tutorial.md")
        assert [kind for kind, _ in told] == ["text", "console", "console", "text", "console", "console", "console"]
        for kind, text in told:
            if kind == "text":
                await first_terminal.says(text.strip())
                continue
            for session in text.split("$ ")[1:]:
                command, _, expected = session.partition("\n")
                printed = await run(command, first_terminal.root())
                pattern = re.escape(expected.strip()).replace(r"\.\.\.", ".*")
                assert re.fullmatch(pattern, printed.strip(), re.DOTALL), f"{command} printed\n{printed}"

        first_terminal.process.send_signal(signal.SIGINT)  # "Ctrl-C in the first terminal ends everything"
        await first_terminal.says("Everything is cleaned up.")
        async with asyncio.timeout(DEADLINE_S):
            assert await first_terminal.process.wait() == 0
        assert not Path(first_terminal.root()).exists()
        assert not running.commands_with(first_terminal.root())


# Examples.


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_spec_and_scenario_in_a_page_is_valid(page: Path) -> None:
    for text in blocks(page, "yaml"):
        if text.startswith(("nodes:", "domain:")) or "\nnodes:" in text:
            check.parse(text.encode(), source=page.name)
        elif "\nsteps:" in text or text.startswith("steps:"):
            script.read(io.BytesIO(text.encode()), source=page.name)


def test_every_spec_that_is_shipped_is_valid() -> None:
    shipped = sorted((REPOSITORY / "deploy").rglob("topology.yaml"))
    assert len(shipped) >= 2
    for path in shipped:
        assert load_topology(path).device_count


def commands(page: Path) -> list[str]:
    """Return the commands of ours that a page shows, without what follows them on the line."""
    shown = re.findall(
        r"^(?: {4,}|\$ )((?:fakehw|fakehw-plugin|fakehw-fleet) (?:.*\\\n)*.*)", page.read_text(), re.MULTILINE
    )
    inline = re.findall(r"`(fakehw(?:-plugin|-fleet)? [a-z-][^`\n]*)`", page.read_text())
    return [re.split(r"  +#| +[|&>]| *;|  +or | {3,}", one.replace("\\\n", " "))[0] for one in (*shown, *inline)]


@pytest.mark.parametrize("page", [*PAGES, INDEX_PAGE], ids=lambda page: page.name)
def test_every_command_in_a_page_is_one_that_there_is(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in commands(page):
        if "..." in text or "|" in text:
            continue
        name, *arguments = shlex.split(text, comments=True)
        try:
            if name == "fakehw":
                if arguments[:1] in (["build"],) and "--spec" not in arguments:
                    arguments += ["--spec", "x"]
                known = {"list", "run", "import", "synthesize"} if arguments[0] == "scenario" else set()
                if len(arguments) == 1 and known:
                    continue
                cli.make_parser().parse_args(arguments)
            elif name == "fakehw-fleet":
                fleet_cli.make_parser().parse_args(arguments)
            else:
                plugin_cli.parser().parse_args(arguments)
        except SystemExit:
            message = capsys.readouterr().err
            if "the following arguments are required" not in message:  # a command that is only named
                pytest.fail(f"{page.name}: {text}: {message}")


def test_the_page_of_flags_is_what_the_commands_say(tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, 'hack'); import reference; sys.stdout.write(reference.page())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert (DOCS / "reference-flags.md").read_text() == result.stdout, "run make reference"


@pytest.mark.parametrize(
    "page", [*PAGES, REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"], ids=lambda page: page.name
)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "code", page.read_text())
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    assert [page.name for page in PAGES if page.name != "README.md" and f"({page.name})" not in index] == []


@pytest.mark.parametrize("rim", [0, 1], ids=["device plugin", "DRA"])
def test_the_diagrams_of_a_flip_are_well_formed(rim: int) -> None:
    diagram = blocks(DOCS / "how-a-flip-travels.md", "mermaid")[rim]
    lines = [line.strip() for line in diagram.splitlines() if line.strip()]
    assert lines[0] == "sequenceDiagram"
    actors = {match[1] for line in lines if (match := re.match(r"participant (\w) as .+", line))}
    for line in lines[1:]:
        if line.startswith(("participant ", "Note over ", "par ", "and ")) or line == "end":
            continue
        arrow = re.fullmatch(r"(\w)(->>|-->>)(\w): .+", line)
        assert arrow, line
        assert {arrow[1], arrow[3]} <= actors
