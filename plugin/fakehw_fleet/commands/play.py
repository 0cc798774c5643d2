"""`fakehw-fleet play`: play failures on a fleet that has joined a cluster, and draw what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.commands import scenario
from fakehw.errors import FakehwError, InputError
from fakehw_fleet.commands import cluster_flags

if TYPE_CHECKING:
    import argparse

    from fakehw_fleet.cluster.recording import Recorder
    from kubeapi.access import Access
    from kubeapi.client import Client

_EXAMPLES: Final = """\
  fakehw-fleet play year.csv --speed 50000 --kubeconfig ~/.kube/config --picture year.svg
  fakehw-fleet play random-failures --speed 10 --replace-pods   # as a controller would that mends nodes"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands,
        "play",
        "play a scenario or a fault log on a fleet, and write what became of devices and pods: a table and a picture",
        run=run,
        examples=_EXAMPLES,
    )
    command.add_argument(
        "file", metavar="FILE", offer=scenario.offer(), help="as `fakehw scenario run` takes it; - for stdin"
    )
    scenario.add_speed(command)
    command.add_argument("--kubeconfig", metavar="FILE", default="", help="the cluster's (default: as kubectl)")
    cluster_flags.add(command)
    command.add_argument("--root", metavar="DIR", type=Path, help="the fleet's tree (default: in its state directory)")
    command.add_argument(
        "--picture",
        metavar="FILE",
        type=Path,
        default=Path("fleet.svg"),
        help="what is drawn; the table is beside it, as NAME-samples.csv (default fleet.svg)",
    )
    command.add_argument(
        "--every", metavar="DURATION", type=parser.duration, default=1.0, help="between two samples (default 1s)"
    )
    command.add_argument(
        "--settle",
        metavar="DURATION",
        type=parser.duration,
        default=15.0,
        help="how long after the play samples are taken, for the cluster to come to rest (default 15s)",
    )
    command.add_argument(
        "--replace-pods",
        action="store_true",
        help="delete pods that hold a broken device, for their controllers to make anew; Kubernetes itself does not",
    )


def run(arguments: argparse.Namespace) -> int:
    """Play, and write what became of it even where that was stopped."""
    access = cluster_flags.access(arguments)
    root = arguments.root or cluster_flags.state(arguments) / "tree"
    if not root.is_dir():
        raise InputError(f"{root}: no such directory: must be the tree of a fleet that is up (--root, --name)")
    return asyncio.run(_play(arguments, access, root))


async def _play(arguments: argparse.Namespace, access: Access, root: Path) -> int:
    from fakehw_fleet.cluster import objects, recording
    from fakehw_fleet.cluster.objects import kept_node
    from kubeapi import errors
    from kubeapi.client import Client
    from kubeapi.follow import Follow
    from kubeapi.resources import NODES, PODS

    recorder = recording.Recorder(arguments.speed)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Client(access, user_agent="fakehw-fleet") as client:
        label = f"{objects.FLEET_LABEL}={arguments.name}"
        synced = asyncio.Event()

        def note(_: object) -> None:
            if nodes.is_synced and pods.is_synced:
                synced.set()

        nodes = Follow(client, NODES, label_selector=label, on_event=note, keep=kept_node)
        pods = Follow(client, PODS, on_event=note, keep=recording.kept_pod)
        watches = [asyncio.create_task(follow.run()) for follow in (nodes, pods)]
        player = None
        try:
            await synced.wait()
            if not nodes.objects:
                raise FakehwError(f"{access.server}: has no node of the fleet {arguments.name} (--name)")
            player = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "fakehw", "scenario", "run", arguments.file,
                "--root", str(root), "--speed", str(arguments.speed),
                stdout=asyncio.subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip  # a flag beside its value
            began = time.monotonic()
            ends_at = None
            while not stopped.is_set() and (ends_at is None or time.monotonic() < ends_at):
                broken = recorder.add(time.monotonic() - began, nodes.objects.values(), pods.objects.values())
                if arguments.replace_pods:
                    for pod in broken:
                        await _replace(client, pod["metadata"])
                if ends_at is None and player.returncode is not None:
                    ends_at = time.monotonic() + arguments.settle
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(arguments.every):
                        await stopped.wait()
        except errors.ApiError as error:
            raise FakehwError(f"{access.server}: {error}") from error
        finally:
            for watch in watches:
                watch.cancel()
            if player is not None and player.returncode is None:
                player.send_signal(signal.SIGINT)
                await player.wait()
            if recorder.samples:
                _write(arguments, recorder)
    return player.returncode or 0


def _table(picture: Path) -> Path:
    """Return where the table goes: beside the picture, by a name that no fault log of the same stem has."""
    return picture.with_name(f"{picture.stem}-samples.csv")


async def _replace(client: Client, metadata: dict[str, str]) -> None:
    from kubeapi import errors
    from kubeapi.resources import PODS

    with contextlib.suppress(errors.NotFoundError, errors.ConflictError, errors.UnavailableError):
        await client.delete(PODS, metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"])


def _write(arguments: argparse.Namespace, recorder: Recorder) -> None:
    from fakehw_fleet.cluster import recording

    table = _table(arguments.picture)
    with table.open("w", newline="") as stream:
        recording.write_csv(recorder.samples, stream)
    for line in recorder.summary().splitlines():
        output.confirm(line)
    try:
        arguments.picture.write_bytes(recording.svg(recorder.samples, title=f"{arguments.file} on {arguments.name}"))
        output.confirm(f"{arguments.picture}, {table}")
    except ImportError as error:
        output.remark(f"{error.name}: not installed, so only {table} was written: pip install 'fakehw[fleet]'")
