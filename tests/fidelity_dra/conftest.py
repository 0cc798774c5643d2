"""The API server that a question is put to."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kubeapi import kubeconfig
from kubeapi.access import Access
from tests.fidelity_dra.api import Api
from tests.fidelity_dra.driver import StubDriver
from tests.fidelity_dra.node import Node

NAMESPACE = "fakehw-fidelity"
RELEASE = os.environ.get("FIDELITY_MODE") or "1.36"
"""The release that is played."""
_numbers = itertools.count(1)

real = pytest.param("real", marks=[pytest.mark.cluster, pytest.mark.timeout(600)])


@pytest.fixture(params=["fake", real])
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    tag = f"f{os.getpid()}x{next(_numbers)}"
    if request.param == "fake":
        from fakekubelet.apiserver.server import ApiServer

        async with ApiServer(RELEASE) as server:
            server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
            made = await Api.at(Access(server.url), NAMESPACE, tag)
            for number in range(20):  # something to be older than
                server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"other-{number}"}})
            server.forget_history()
            try:
                yield made
            finally:
                await made.close()
    else:
        made = await Api.at(kubeconfig.find(), NAMESPACE, tag)
        await made.make_namespace()
        try:
            yield made
        finally:
            await made.close()


@pytest.fixture(params=["fake", real])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    tag = f"f{os.getpid()}x{next(_numbers)}"
    if request.param == "fake":
        from tests.fidelity_dra.fake import fake_node

        async with fake_node(request.getfixturevalue("short_dir"), RELEASE, NAMESPACE, tag) as played:
            yield played
    else:
        from tests.fidelity_dra.real import real_node

        async with real_node(NAMESPACE, tag) as served:
            yield served


@pytest.fixture
async def make_driver(node: Node) -> AsyncIterator[Callable[..., Awaitable[StubDriver]]]:
    """Start drivers; `starts=False` leaves that to the test. Pods go before they do."""
    made: list[StubDriver] = []

    async def make(*, starts: bool = True, same: StubDriver | None = None, **fields: Any) -> StubDriver:
        name = f"d{len(made)}.{node.api.tag}.example.com" if same is None else same.name
        driver = StubDriver(node.places, name, pool=node.name, **fields)
        made.append(driver)
        if starts:
            await driver.start()
            await node.until(lambda: _answer(any(notice.plugin_registered for notice in driver.notices)))
        return driver

    yield make
    for driver in made:
        driver.behaviors.clear()
    await node.clean()
    for driver in made:
        await driver.stop()


async def _answer(value: bool) -> bool:
    return value


ANSWERS = Path(__file__).with_name("answers.json")


def answers() -> dict[str, object]:
    """Return what a real one answered."""
    return json.loads(ANSWERS.read_text()) if ANSWERS.exists() else {}
