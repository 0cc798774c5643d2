"""A hand at work: reads requests from standard input, answers on standard output, and leaves when nobody is there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import sys
from typing import TYPE_CHECKING, Any, Final

from fakehw import layout
from fakehw.errors import FakehwError, InputError
from fakehw.hand import requests
from fakehw.layout import TreePath
from fakehw.tree import selection
from fakehw.tree.writer import FakeTree
from fakehw.view import listing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fakehw.tree.selection import Wanted
    from fakehw.tree.snapshot import Snapshot

    Answer = Callable[[Mapping[str, Any]], None]

_EVENTS: Final = "events"
_PLAY: Final = "play"

MAX_REQUEST: Final = 64 << 20
"""Bytes of a line: a timeline of 100,000 changes has some 20 million."""


async def serve_stdin(root: Path, answer: Answer, *, domain: str = layout.DEFAULT_DOMAIN) -> None:
    """Answer requests of standard input until it ends; InputError where there is none, or a directory."""
    reader = asyncio.StreamReader(limit=MAX_REQUEST)
    loop = asyncio.get_running_loop()
    if sys.stdin is None:
        raise InputError("standard input is closed: must be a pipe, a socket, a terminal or a file of requests")
    if not _can_be_waited_for(sys.stdin.fileno()):
        # A file, or /dev/null: all of it is there, and there is nothing to wait for.
        reader.feed_data(sys.stdin.buffer.read(MAX_REQUEST))
        reader.feed_eof()
        await serve(root, reader, answer, domain=domain)
        return
    try:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    except ValueError:
        raise InputError("standard input must be a pipe, a socket, a terminal or a file of requests") from None
    try:
        await serve(root, reader, answer, domain=domain)
    finally:
        transport.close()


def _can_be_waited_for(fd: int) -> bool:
    with select.epoll() as poll:
        try:
            poll.register(fd)
        except PermissionError:
            return False
    return True


async def serve(
    root: Path, reader: asyncio.StreamReader, answer: Answer, *, domain: str = layout.DEFAULT_DOMAIN
) -> None:
    """Answer requests until `reader` ends; what is being played then is put back first."""
    hand = Hand(root, answer, domain=domain)
    work: dict[asyncio.Task[None], str] = {}
    try:
        while line := await reader.readline():
            task = asyncio.create_task(hand.take(line))
            work[task] = what = _what(line)
            task.add_done_callback(work.pop)
            if what not in (_EVENTS, _PLAY):
                await task  # requests are done in the order in which they come
    finally:
        hand.stop.set()
        for task, what in tuple(work.items()):
            if what == _EVENTS:
                task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


def _what(line: bytes) -> str:
    """Return what a request asks for; "" for what is none, which `take` will say."""
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(line).get("do"))
    return ""


class Hand:
    """Does what it is asked on the tree at `root`."""

    def __init__(self, root: Path, answer: Answer, *, domain: str = layout.DEFAULT_DOMAIN) -> None:
        self._root = root
        self._answer = answer
        self._domain = domain
        self.stop = asyncio.Event()
        """Ends what is played, and has it put back."""
        self._tree = FakeTree(root, tell=lambda line: answer({"remark": line}))

    async def take(self, line: bytes) -> None:
        """Do what one line asks for, and answer."""
        try:
            told = json.loads(line)
            doing = {
                "list": self._list,
                "set": self._set,
                "plug": self._plug,
                "unplug": self._unplug,
                "events": self._events,
                "play": self._play,
            }.get(told["do"])
            if doing is None:
                raise InputError(f"{told['do']!r}: is nothing that this hand can do: is its image older?")
            self._answer({"done": await doing(told)})
        except FakehwError as error:
            self._answer({"error": "; ".join(error.lines)})
        except (ValueError, KeyError, TypeError) as error:
            self._answer({"error": f"not understood: {error!r}"})
        except OSError as error:
            self._answer({"error": f"{error.strerror or error}"})

    async def _list(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [listing.as_dict(record) for record in listing.rows(self._tree.read(), domain=self._domain)]

    async def _set(self, told: Mapping[str, Any]) -> dict[str, Any]:
        wanted, name, value = requests.wanted_from_json(told), str(told["name"]), str(told["value"])
        tree = self._tree.read()
        devices = dict(tree.devices())
        paths, missed = selection.devices_of(wanted, list(devices))
        changing = [path for path in paths if devices[path].attributes.get(name) != value]
        if changing:
            self._tree.set_values(changing, name, value)
        return _done(paths, changing, missed, tree)

    async def _unplug(self, told: Mapping[str, Any]) -> dict[str, Any]:
        wanted = requests.wanted_from_json(told)
        tree = self._tree.read()
        there, _ = selection.devices_of(wanted, [path for path, _ in tree.devices()])
        known, missed = selection.devices_of(wanted, [path for path in self._tree.listed() if path.number is not None])
        if there:
            self._tree.unplug(there)
        return _done([*there, *(path for path in known if path not in set(there))], there, missed, tree)

    async def _plug(self, told: Mapping[str, Any]) -> dict[str, Any]:
        listed = self._tree.listed()
        nodes = {path.node for path in listed}
        devices = [path for path in listed if path.number is not None]
        paths: list[TreePath] = []
        missed: list[Wanted] = []
        for one in requests.wanted_from_json(told):
            hits, missing = selection.devices_of([one], devices)
            if missing and isinstance(one, TreePath) and one.number is not None and one.node in nodes:
                hits, missing = [one], []  # one more than the spec lists
            paths += hits
            missed += missing
        plugged = self._tree.plug(paths) if paths else []
        return _done(list(dict.fromkeys(paths)), plugged, missed, self._tree.read())

    async def _events(self, _: Mapping[str, Any]) -> None:
        from fakehw.view import events

        await events.tell(
            self._root,
            domain=self._domain,
            follow=True,
            as_json=True,
            say=lambda line: self._answer({"event": json.loads(line)}),
        )

    async def _play(self, told: Mapping[str, Any]) -> int:
        from fakehw.scenario import player

        timeline = [requests.change_from_json(change) for change in told["changes"]]
        outcome = await player.run(
            self._root,
            timeline,
            self._tree.read(),
            lasts_s=float(told["lasts_s"]),
            options=player.Options(speed=float(told["speed"]), keep=bool(told["keep"]), domain=self._domain),
            stop=self.stop,
            show=lambda receipt: self._answer({"receipt": receipt.as_dict()}),
            tell=lambda line: self._answer({"remark": line}),
        )
        return len(outcome.receipts)


def _done(
    paths: Sequence[TreePath], changed: Sequence[TreePath], missed: Sequence[Wanted], tree: Snapshot
) -> dict[str, Any]:
    hosts = {name: node.host for name, node in tree.nodes.items() if isinstance(node.host, str)}
    is_changed = set(changed)
    return {
        "changed": [str(path) for path in paths if path in is_changed],
        "same": [str(path) for path in paths if path not in is_changed],
        "missed": [str(one).removeprefix("/") for one in missed],
        "hosts": {str(path): layout.one_line(hosts[path.node]) for path in paths if path.node in hosts},
    }
