"""The API server that a question is put to."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubeapi import kubeconfig
from kubeapi.access import Access
from tests.fidelity_dra.api import Api

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


ANSWERS = Path(__file__).with_name("answers.json")


def answers() -> dict[str, object]:
    """Return what a real one answered."""
    return json.loads(ANSWERS.read_text()) if ANSWERS.exists() else {}
