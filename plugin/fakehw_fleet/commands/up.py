"""`fakehw-fleet up`: bring a fleet up and show it until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fakehw import durations, output, parser
from fakehw.errors import FakehwError, InputError
from fakehw_fleet import plugin_log
from fakehw_fleet import state as states
from fakehw_fleet.commands import cluster_flags
from fakehw_fleet.members import served_by_dra
from fakehw_plugin import config
from fakehw_plugin.errors import ConfigError

if TYPE_CHECKING:
    from fakehw.spec.topology import Topology
    from fakehw_fleet.cluster.fleet import ClusterFleet
    from fakehw_fleet.cluster.options import Options
    from fakehw_fleet.cluster.shards import ShardedFleet
    from fakehw_fleet.local import LocalFleet
    from kubeapi.access import Access

_EVERY_S: Final = 0.5
"""Between two looks at all nodes."""
_ROOM: Final = 1 << 30
_MOST_PROCESSES: Final = 64
_EXAMPLES: Final = """\
  fakehw-fleet up gpu-server                            # four servers with 8 GPUs each, no cluster needed
  fakehw-fleet up gpu-server --nodes 100 --plain        # lines instead of a table
  fakehw-fleet up my.yaml --pods pods.yaml --root /tmp/tree
  fakehw scenario run random-failures --root /tmp/tree  # meanwhile, from another terminal
  fakehw-fleet up gpu-server --nodes 1000 --kubeconfig ~/.kube/config"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands,
        "up",
        "bring up every node of a topology, each with a fake kubelet and the real plugin, until Ctrl-C",
        run=run,
        examples=_EXAMPLES,
    )
    cluster_flags.add_spec(command)
    command.add_argument(
        "--root", metavar="DIR", type=Path, help="where the tree is to be, and to stay (default: in a temporary place)"
    )
    parser.add_domain(command)
    command.add_argument(
        "--pods",
        metavar="FILE",
        action="append",
        default=[],
        help="pods to run, as local processes, - for stdin; may be given several times",
    )
    command.add_argument(
        "--kubeconfig",
        metavar="FILE",
        nargs="?",
        const="",
        help="join the cluster of this kubeconfig; without FILE, the one that kubectl would take",
    )
    cluster_flags.add(command)
    command.add_argument(
        "--status-every",
        metavar="DURATION",
        type=parser.duration,
        default=10.0,
        help="a node tells the cluster what changed so often, as kubelets do; 0: at once (default 10s)",
    )
    command.add_argument(
        "--processes",
        metavar="NUMBER",
        type=parser.whole_number(1, _MOST_PROCESSES),
        default=1,
        help="deal the nodes to so many processes (default 1), for a machine with cores to spare",
    )
    command.add_argument("--keep", action="store_true", help="leave the Nodes when it ends, for the next one to adopt")
    command.add_argument(
        "--no-taint", action="store_true", help="let every pod come: no taint fakehw.io/fake on new Nodes"
    )
    command.add_argument(
        "--run",
        dest="runs",
        action="store_true",
        help="run each container's command as a process of this machine: whoever may create pods in that cluster runs "
        "commands here, as you; their output is in the state directory, under pods/",
    )
    command.add_argument("--plain", action="store_true", help="a line for each change, on a terminal too")
    command.add_argument(
        "--http", metavar="IP:PORT", type=_address, help="serve /metrics, /healthz and /readyz here, such as :9120"
    )
    command.add_argument(
        "--for",
        dest="for_s",
        metavar="DURATION",
        type=parser.duration,
        help="end after this time, once all nodes are ready; with exit code 1 if they are not by then",
    )


def run(arguments: argparse.Namespace) -> int:
    """Bring it up, and take it down whatever happens."""
    topology = cluster_flags.topology(arguments)
    if arguments.kubeconfig is None:
        if arguments.processes > 1:
            problem = "without a cluster one process has all nodes, for its scheduler to see"
            raise InputError(f"{arguments.processes}: {problem}: must be 1, or with --kubeconfig (--processes)")
        for resource in served_by_dra(topology):
            output.remark(f"{resource}: is served by DRA, which needs a cluster (--kubeconfig): it is not advertised")
    with contextlib.suppress(asyncio.CancelledError):
        return asyncio.run(_interruptible(arguments, topology))
    return 0


async def _interruptible(arguments: argparse.Namespace, topology: Topology) -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await (_local if arguments.kubeconfig is None else _joined)(arguments, topology)


async def _local(arguments: argparse.Namespace, topology: Topology) -> int:
    from fakehw_fleet import local  # gRPC, which --help can do without

    texts = [_read(path) for path in arguments.pods]
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fakehw-fleet-", dir="/tmp")))
        root = arguments.root or _scratch(stack)
        stack.enter_context(plugin_log.writing(scratch))
        async with local.LocalFleet(topology, root, domain=arguments.domain, tell=output.remark) as fleet:
            output.remark(f"tree: {root}; plugins' log: {scratch}/{plugin_log.NAME}")
            for text in texts:
                await fleet.cluster.apply(text)
            return await _show(arguments, fleet)


async def _joined(arguments: argparse.Namespace, topology: Topology) -> int:
    if arguments.pods:
        raise InputError("pods are the cluster's own there: kubectl apply (--pods)")
    access = cluster_flags.access(arguments)
    from fakehw_fleet.cluster import control  # with aiohttp, which may not be installed
    from fakehw_fleet.cluster.options import Options
    from fakehw_fleet.cluster.processes import PODS
    from kubeapi import errors

    options = Options(
        name=arguments.name,
        status_every_s=arguments.status_every or None,
        keeps=arguments.keep,
        has_taint=not arguments.no_taint,
        runs=arguments.runs,
    )
    with contextlib.ExitStack() as stack:
        state, lock = stack.enter_context(states.opened(cluster_flags.state(arguments)))
        root = arguments.root or state / "tree"
        plugin_log.begin(state)
        stack.enter_context(plugin_log.writing(state))
        try:
            made = _joining(arguments, topology, root, states.State(state, lock), access, options)
            async with made as fleet, control.serving(state, fleet.answer):
                output.remark(f"tree: {root}; plugins' log: {state}/{plugin_log.NAME}")
                if options.runs:
                    output.remark(f"pods on these nodes run commands on this machine; their output: {state}/{PODS}")
                try:
                    return await _show(arguments, fleet)
                finally:
                    stack.callback(_clear, fleet, state)
        except errors.ApiError as error:
            raise FakehwError(f"{access.server}: {error}") from error


def _joining(
    arguments: argparse.Namespace,
    topology: Topology,
    root: Path,
    state: states.State,
    access: Access,
    options: Options,
) -> ClusterFleet | ShardedFleet:
    """Return what joins the cluster when it is entered: one process, which is this, or several."""
    from fakehw_fleet.cluster.fleet import ClusterFleet
    from fakehw_fleet.cluster.shards import ShardedFleet
    from fakehw_fleet.members import members_of

    processes = min(arguments.processes, len(members_of(topology)))
    if processes == 1:
        return ClusterFleet(
            topology, root, state.path, access, domain=arguments.domain, options=options,
            tell=output.remark, lock=state.lock,
        )  # fmt: skip  # what, where, how
    return ShardedFleet(
        topology, root, state.path, access, processes=processes, kubeconfig=arguments.kubeconfig,
        context=arguments.context, domain=arguments.domain, options=options, tell=output.remark, lock=state.lock,
    )  # fmt: skip  # likewise


def _clear(fleet: ClusterFleet | ShardedFleet, state: Path) -> None:
    """Remove what nothing in the cluster needs any more."""
    if fleet.has_left:
        for one in (state / "n", state / "tree", *state.glob("p[0-9]*")):
            shutil.rmtree(one, ignore_errors=True)


def _scratch(stack: contextlib.ExitStack) -> Path:
    """Return the place of a tree that nobody keeps: memory, where there is room, for it has many small files."""
    memory = Path("/dev/shm")  # noqa: S108  # a directory of our own is made in it
    is_roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM
    where = str(memory) if is_roomy else "/tmp"  # noqa: S108  # likewise
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fakehw-fleet-", dir=where))) / "tree"


async def _show(arguments: argparse.Namespace, fleet: LocalFleet | ClusterFleet | ShardedFleet) -> int:
    """Show the fleet until it is to end; return the exit code."""
    from fakehw_fleet import metrics, table

    is_live = sys.stdout.isatty() and not arguments.plain
    screen = table.Screen(sys.stdout, title=f"fakehw-fleet {arguments.spec}", is_live=is_live)
    began = time.monotonic()
    was_ready = False
    async with metrics.serving(arguments.http, fleet, tell=output.remark):
        while True:
            summary = fleet.summary()
            screen.show(summary)
            if not was_ready and (was_ready := summary.ready == summary.nodes) and not is_live:
                output.say_now(f"ready after {durations.shown(time.monotonic() - began)}")
            if arguments.for_s is not None and time.monotonic() - began >= arguments.for_s:
                return 0 if was_ready else 1
            await asyncio.sleep(_EVERY_S)


def _read(name: str) -> str:
    try:
        with output.opened(name, "--pods") as stream:
            return stream.read().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "is no UTF-8 text"
        raise InputError(f"{name!r}: {said}: must be a file of pods (--pods)") from None


def _address(text: str) -> tuple[str, int]:
    try:
        address = config.address(text, flag="--http")
    except ConfigError as error:
        raise InputError(str(error)) from None
    if address is None:
        raise argparse.ArgumentTypeError(f"{text!r}: must be IP:PORT, [IPv6]:PORT or :PORT")
    return address
