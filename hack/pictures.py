"""Make the pictures of the documentation: `make pictures`. Each is what a command shows, drawn by the program itself.

docs/pictures/top.svg    `fakehw top` on the seed's tree, with a device broken, one worn and one pulled out
docs/pictures/demo.svg   the transcript of `make demo`, of a run made for it
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

import fakehw
from fakehw.view.top import Top

REPOSITORY = Path(__file__).resolve().parents[1]
SPEC = """
nodes:
  node1: {host: kind-worker, classes: {dev1: {count: 1}, gpu: {count: 4, resource: nvidia.com/gpu, numa_node: 0}}}
  node2: {host: kind-worker2, classes: {dev2: {count: 1}, dev3: {count: 3, numa_node: 1}}}
"""
NOON = 1_767_268_800.0
"""A fixed time, so that the picture changes only when the view does."""

FONT_FACE = re.compile(r"\s*@font-face \{.*?\}\n", re.DOTALL)
DEADLINE_S = 20.0


def without_addresses(svg: str) -> str:
    """Return a picture that loads nothing from elsewhere."""
    return FONT_FACE.sub("\n", svg)


async def top() -> str:
    """Return a picture of the live view, driven by its own keys."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "tree"
        (Path(scratch) / "spec.yaml").write_text(SPEC)
        tree = fakehw.FakeTree(root)
        tree.build(fakehw.load_topology(Path(scratch) / "spec.yaml"))
        app = Top(root, clock=lambda: NOON)
        async with app.run_test(size=(80, 24)) as pilot:
            app.sub_title = "/fakehw"
            await pilot.pause()
            tree.set_health("node1/gpu/2", "unhealthy", reason="over temperature")
            tree.set_health("node2/dev3/1", "healthy", reason="4096 corrected ECC errors")
            await pilot.press("down", "down", "down", "down", "u")
            async with asyncio.timeout(DEADLINE_S):
                while not all(word in app.export_screenshot() for word in ("unplugged", "temperature", "corrected")):
                    await pilot.pause()
            await pilot.pause()
            return app.export_screenshot(title="fakehw top")


def demo() -> str:
    """Return a picture of what `make demo` prints."""
    out = subprocess.run(
        [sys.executable, str(REPOSITORY / "hack" / "demo.py")], capture_output=True, text=True, check=True
    ).stdout
    text = Text("$ make demo\n" + re.sub(r"(/fakehw)-\w+", r"\1", out).rstrip())
    text.highlight_regex(r"(?m)^== .*$", "bold cyan")
    text.highlight_regex(r"(?m)^\$ .*$", "bold")
    text.highlight_regex(r"\bRunning\b", "green")
    text.highlight_regex(r"\b(Pending|unhealthy)\b", "yellow")
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(text)
    return console.export_svg(title="make demo", unique_id="demo")


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=REPOSITORY / "docs" / "pictures", help="default: docs/pictures")
    parser.add_argument("only", nargs="*", metavar="NAME", help="which of them: top, demo (default: all)")
    given = parser.parse_args()
    drawn = {"top": lambda: asyncio.run(top()), "demo": demo}
    for name in given.only:
        if name not in drawn:
            parser.error(f"there is no picture {name!r}, only: {', '.join(drawn)}")
    directory: Path = given.to
    os.environ["TZ"] = "UTC"
    time.tzset()
    directory.mkdir(parents=True, exist_ok=True)
    for name, draw in drawn.items():
        if given.only and name not in given.only:
            continue
        (directory / f"{name}.svg").write_text(without_addresses(draw()))
        print(directory / f"{name}.svg")


if __name__ == "__main__":
    main()
