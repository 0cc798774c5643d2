"""The fixtures that pytest has once the package is installed: for every kind of test, and in nobody's way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fakekubelet

EVERY_KIND = """
import asyncio
import pytest
import fakekubelet

def test_plain(fake_kubelet, fake_node):
    assert isinstance(fake_kubelet, fakekubelet.Blocking)
    fake_kubelet.restart()
    fake_node.clock.advance(300)
    assert fake_node.kubelet.is_up and fake_node.kubelet.plugin_dir == fake_node.plugin_dir

@pytest.mark.asyncio
async def test_async(fake_kubelet, fake_node):
    assert type(fake_kubelet) is fakekubelet.FakeKubelet and type(fake_node) is fakekubelet.FakeNode
    await fake_kubelet.restart()
    await fake_node.clock.advance(300)

class TestInALoopOfTheClass:
    pytestmark = pytest.mark.asyncio(loop_scope="class")

    async def test_waits(self, fake_kubelet):
        asyncio.get_running_loop().call_later(0.01, lambda: fake_kubelet.patch_node({"example.com/x": 1}))
        await fake_kubelet.wait_for(lambda: fake_kubelet.node_status.capacity.get("example.com/x") == 1)

@pytest.mark.anyio
async def test_anyio(fake_kubelet):
    await fake_kubelet.restart()

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.fixture
def socket_dir():
    return "a project's own fixture of this name is no business of ours"
"""


def pytest_says(folder: Path, *arguments: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def test_every_kind_of_test_gets_its_face(tmp_path):
    (tmp_path / "test_kinds.py").write_text(EVERY_KIND)

    said = pytest_says(tmp_path)

    assert "4 passed" in said, said


def test_folders_of_a_project_with_our_names_do_not_keep_pytest_from_starting(tmp_path):
    for name in ("plugin", "fakekubelet", "kubeletapi", "fakehw"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWN = True\n")
    (tmp_path / "test_own.py").write_text(
        "import plugin, fakekubelet\ndef test_own(): assert plugin.OWN and fakekubelet.OWN\n"
    )

    said = pytest_says(tmp_path)

    assert "1 passed" in said, said


def test_a_broken_dependency_fails_the_test_that_needs_it_and_no_other(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "grpc.py").write_text("raise OSError('libstdc++.so.6: wrong ELF class')\n")
    (tmp_path / "test_both.py").write_text("def test_other(): pass\ndef test_mine(fake_kubelet): pass\n")

    said = pytest_says(tmp_path, PYTHONPATH=str(tmp_path / "broken"))

    assert "1 passed, 1 error" in said, said
    assert "wrong ELF class" in said


def test_the_entry_point_imports_nothing_that_pytest_has_not():
    code = (
        "import sys, pytest, tempfile, inspect; before = set(sys.modules);"
        "import pytest_fakekubelet; print(sorted(set(sys.modules) - before))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "['pytest_fakekubelet']"


def test_no_fakekubelet_takes_the_fixtures_away(tmp_path):
    (tmp_path / "test_one.py").write_text("def test_one(fake_kubelet): pass\n")

    assert "fixture 'fake_kubelet' not found" in pytest_says(tmp_path, "-p", "no:fakekubelet")


def test_every_public_name_is_there():
    for name in fakekubelet.__all__:
        assert getattr(fakekubelet, name) is not None
    assert set(fakekubelet.__all__) <= set(dir(fakekubelet))
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = fakekubelet.nothing_of_the_kind
