"""Fixtures used everywhere, and the watch over what tests leave behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import pytest_asyncio
import structlog

from tests import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


# How long an example takes says something of the machine, which other tests keep busy.
busy = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("brief", busy, max_examples=40)
hypothesis.settings.register_profile("thorough", busy, max_examples=3000)  # make fuzz
hypothesis.settings.load_profile("brief")

# A shell's background job ignores Ctrl-C, and so would every command that a test starts and stops by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of commands are started: each takes the bytecode that the first one left.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A CI system's NODE_NAME is no --host of the plugin's.
running.forget_settings(os.environ)

# Where tmp_path is: a file on a disk takes three to ten times as long to make. Integration tests have theirs on one.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", running.roomy_place())


# What is imported and collected stays to the end: looking through it for garbage again and again is work for nothing.
gc.disable()


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what the tests make, and only at that."""
    gc.freeze()
    gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what would be deselected whole: the client of a real cluster takes long to load."""
    is_of_a_cluster = collection_path.name in ("test_cluster.py", "test_cluster_dra.py")
    return True if is_of_a_cluster and "not cluster" in config.option.markexpr else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two processes for every core: many tests wait for sockets, events and others; one more costs what it collects."""
    return 2 * len(os.sched_getaffinity(0))


FIRST = (
    "test_conformance.py", "test_faults_played.py", "test_testing_your_plugin.py", "test_scenario_run.py",
    "test_rpc_faults_played.py", "test_fakehw_tree.py", "test_model.py",
)  # fmt: skip  # one list
"""Files that wait most, which leave the cores to the others meanwhile, and two that take long and would be late."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have those files handed out first."""
    order = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(FIRST)))


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A fresh directory with a path short enough for sockets in it (contract PATH-4)."""
    with running.fresh_directory(running.roomy_place()) as path:
        yield path


@pytest.fixture
def roomy_dir() -> Iterator[Path]:
    """A fresh directory for trees of many files, in memory where there is room: on a disk they cost ten times as much."""
    with running.fresh_directory(running.roomy_place()) as path:
        yield path


@pytest.fixture(autouse=True)
def _log_configuration() -> Iterator[None]:
    """Every test starts with structlog as it comes, so that capture_logs sees every line."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    """Watch over every test that has an event loop: to make one for the others takes longer than most of them."""
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("_watch_over_tasks")


@pytest.fixture
async def _watch_over_tasks() -> AsyncIterator[None]:
    """Fail a test that leaves tasks running."""
    before = asyncio.all_tasks()
    yield
    await running.grpc_ended(before)
    leaked = [task for task in asyncio.all_tasks() - before if not task.done() and task is not asyncio.current_task()]
    assert not leaked, f"tasks left behind: {[task.get_name() for task in leaked]}"
