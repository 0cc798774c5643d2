"""A fleet whose nodes are dealt to several processes: the tree is built, and all is told and tidied up, here.

Each process has the nodes of its part as `ClusterFleet` has all of them, and watches of its own. One that ends is
started again, and adopts what its nodes have, as a fleet does after a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from fakehw import FakeTree
from fakehw.errors import FakehwError, InputError
from fakehw_fleet.cluster import control, foreign, leaving, orders, report
from fakehw_fleet.cluster.counted import CountedClient
from fakehw_fleet.cluster.grumbles import Grumbles
from fakehw_fleet.cluster.part import Part
from fakehw_fleet.cluster.report import Report
from fakehw_fleet.cluster.shard import MOST_BYTES, Assignment
from fakehw_fleet.cluster.tasks import Tasks
from fakehw_fleet.members import members_of
from fakehw_fleet.summary import Summary
from kubeapi import backoff, errors
from kubeapi.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from fakehw.spec.topology import Topology
    from fakehw_fleet.cluster.options import Options
    from fakehw_fleet.metrics import Counts
    from kubeapi.access import Access

END_WITHIN_S: Final = 30.0
"""What a process gets to end, when the fleet ends."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
HEALTHY_AFTER_S: Final = 60.0
"""A process that lived so long is started again at once, whatever became of those before."""


class Shard:
    """A process that is kept running while `run` runs, and what it said last."""

    def __init__(self, assignment: Assignment, nodes: int, *, tell: Callable[[str], None]) -> None:
        self.part = assignment.part
        self.directory = assignment.directory
        self.is_up = False
        """Whether it has said how its nodes are."""
        self.past = Report(Summary(0, 0, {}))
        """What those have counted that have ended."""
        self._nothing = Report(Summary(nodes, 0, {}), counts={})
        self.last = self._nothing
        self._assignment = assignment
        self._tell = tell

    async def run(self) -> None:
        """Start it, and again whenever it ends, for ever."""
        pauses = self._pauses()
        while True:
            began = time.monotonic()
            code = await self._live()
            self.past = report.total([self.past, self.last.without_nodes()])
            self.last, self.is_up = self._nothing, False
            if time.monotonic() - began > HEALTHY_AFTER_S:
                pauses = self._pauses()
            self._tell(f"{self.part} ended ({_shown(code)}): its {self.last.summary.nodes} nodes are started again")
            await asyncio.sleep(next(pauses))

    @staticmethod
    def _pauses() -> Iterator[float]:
        return backoff.pauses(first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S)

    async def _live(self) -> int:
        """Go through one life of the process; return its exit status."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fakehw_fleet.cluster.shard",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=MOST_BYTES,
            pass_fds=[self._assignment.lock], start_new_session=True,  # Ctrl-C is for us alone
        )  # fmt: skip  # what, then how
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(self._assignment.written())
            while (line := await process.stdout.readline()).endswith(b"\n"):  # else it died in the middle
                self.last, self.is_up = Report.read(line), True
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(END_WITHIN_S):
                        while await process.stdout.read(MOST_BYTES):
                            pass  # it may wait for that
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()


class ShardedFleet:
    """Builds the tree at `root` and has its nodes join the cluster of `access`, by `processes` of them, while entered.

    To whoever shows it, it is what a ClusterFleet is. `kubeconfig` and `context` are what `access` was made of.
    """

    def __init__(
        self,
        topology: Topology,
        root: Path,
        state: Path,
        access: Access,
        *,
        processes: int,
        kubeconfig: str,
        context: str,
        domain: str,
        options: Options,
        lock: int,
        tell: Callable[[str], None],
    ) -> None:
        self.root = root
        self.has_left = False
        """Whether nothing of the fleet is left in the cluster."""
        self._topology = topology
        self._options = options
        self._tell = tell
        self._grumbles = Grumbles(tell)
        self._requests: Counter[tuple[str, str]] = Counter()
        self._client = CountedClient(
            access, counts=self._requests, credentials=Credentials(access), connections=leaving.AT_ONCE
        )
        self._members = members_of(topology)
        self._shards = []
        self._owners: dict[str, Shard] = {}
        for part in (Part(number, processes) for number in range(processes)):
            members = part.of(self._members)
            assignment = Assignment(
                topology.document, str(root), str(state), kubeconfig, context, domain, options, lock, part
            )
            shard = Shard(assignment, len(members), tell=tell)
            self._shards.append(shard)
            self._owners |= {member.name: shard for member in members}
        self._life = contextlib.AsyncExitStack()

    async def __aenter__(self) -> ShardedFleet:
        async with contextlib.AsyncExitStack() as life:
            await life.enter_async_context(self._client)
            await foreign.refuse(self._client, self._members, fleet=self._options.name, on_error=self._grumbles.hear)
            await asyncio.to_thread(FakeTree(self.root, tell=self._tell).build, self._topology)
            life.push_async_callback(self._leave)
            running = await life.enter_async_context(Tasks())
            for shard in self._shards:
                running.start(shard.run(), str(shard.part))
            self._life = life.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._life.__aexit__(kind, error, tb)

    async def _leave(self) -> None:
        """Take Nodes and leases along, unless they are to stay: those of a process too that was not running."""
        if self._options.keeps:
            return
        try:
            found = await leaving.nodes_of(self._client, self._options.name)
        except errors.ApiError as error:
            self._grumbles.hear(error)
            self._tell("nodes may be left behind: `fakehw-fleet down` takes them away")
            return
        uids = {name: uid for name, uid in found.items() if name in self._owners}
        self.has_left = await leaving.leave(self._client, uids, on_error=self._grumbles.hear, tell=self._tell)

    async def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Have the processes do what is asked whose nodes are meant; FakehwError says why not."""
        names = orders.check(order, self._owners)
        parts: dict[Shard, list[str]] = {}
        for name in names:
            parts.setdefault(self._owners[name], []).append(name)
        await asyncio.gather(*(self._ask(shard, {**order, "nodes": part}) for shard, part in parts.items()))
        return {"nodes": names}

    async def _ask(self, shard: Shard, order: dict[str, Any]) -> None:
        try:
            await control.ask(shard.directory, order)
        except InputError:
            raise FakehwError(f"{shard.part} is starting: try again in a moment") from None

    # What it looks like.

    @property
    def requests(self) -> Counter[tuple[str, str]]:
        """Return what the API server was asked for by all of them."""
        return self._report().requests

    @property
    def counts(self) -> Counts:
        """Return what their plugins have counted."""
        return self._report().counts

    def summary(self) -> Summary:
        """Return it in numbers."""
        summary = self._report().whole_summary
        starting = [str(shard.part) for shard in self._shards if not shard.is_up]
        if starting:
            summary.notes.append(f"{', '.join(starting)}: starting")
        return summary

    def _report(self) -> Report:
        whole = report.total(one for shard in self._shards for one in (shard.past, shard.last))
        whole.requests += self._requests
        return whole


def _shown(code: int) -> str:
    """Return how a process ended, for people."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
