"""`fakehw` writes, `fakehw_plugin` reads: the tree's ABI, held together by nothing else than this."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fakehw.layout
import fakehw.resource_name
from fakehw import cli
from fakehw_plugin import device, inotify, resource_name
from fakehw_plugin.tree.scanner import Scanner
from fakekubelet import FakeKubelet
from tests.factories import make_config
from tests.running import devices_are, listed, running_daemon

if TYPE_CHECKING:
    from fakehw_plugin.tree.known import Changes

SEED = Path(__file__).parents[2] / "deploy" / "base" / "topology.yaml"
R1, R2, R3 = (f"myplugin.io/mydevice-{number}" for number in (1, 2, 3))


def command(*arguments: str, root: Path) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main([*arguments, "--root", str(root)]) == 0
    return out.getvalue()


def read(root: Path, host: str = "") -> tuple[set[str], Changes]:
    with inotify.Watcher[Any]() as watch:
        scanner = Scanner(root, host=host, domain="myplugin.io", watch=watch)
        for _ in scanner.scan():
            pass
        return set(scanner.offers), scanner.take_changes()


@pytest.mark.parametrize(
    ("host", "devices"),
    [
        ("kind-worker", {R1: ["node1-dev1-1"]}),
        ("kind-worker2", {R2: ["node2-dev2-1"], R3: ["node2-dev3-1", "node2-dev3-2", "node2-dev3-3"]}),
    ],
)
def test_the_seeds_topology_is_what_the_seed_says(host: str, devices: dict[str, list[str]], tmp_path: Path) -> None:
    command("build", "--spec", str(SEED), root=tmp_path / "tree")

    resources, changes = read(tmp_path / "tree", host)

    assert resources == {R1, R2, R3}
    assert {resource: sorted(found) for resource, found in changes.items()} == devices
    assert all(one.is_healthy for found in changes.values() for one in found.values() if one)


def test_both_list_the_same_devices_with_the_same_words(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        """
domain: example.org
nodes:
  rack-1.left:
    host: kind-worker
    classes:
      dev1: {count: 2, numa_node: 1}
      gpu: {count: 11, resource: nvidia.com/gpu, devices: {3: {health: unhealthy over temperature, numa_node: 0}}}
"""
    )
    root = tmp_path / "tree"
    command("build", "--spec", str(spec), root=root)

    written = {one["id"]: one for one in json.loads(command("list", "-o", "json", root=root))}
    _, changes = read(root)
    read_back = {
        one.id: {"health": one.health.value.lower(), "numa_node": one.numa_node, "reason": one.reason, "path": one.path}
        for found in changes.values()
        for one in found.values()
        if one
    }

    assert changes.keys() == {"example.org/mydevice-1", "nvidia.com/gpu"}
    assert read_back.keys() == written.keys()
    for device_id, values in read_back.items():
        for key, value in values.items():
            assert str(written[device_id][key] or "").strip("/") == str(value or "").strip("/"), (device_id, key)


NAMES = st.text(st.sampled_from("abz019-_.AZ é\n"), max_size=12) | st.from_regex(device.NODE_NAME, fullmatch=True)


@given(NAMES)
def test_both_take_the_same_names(name: str) -> None:
    for rule in ("NODE_NAME", "CLASS_NAME", "DEVICE_NUMBER"):
        ours, theirs = getattr(device, rule), getattr(fakehw.layout, rule)
        assert bool(ours.fullmatch(name)) == bool(theirs.fullmatch(name)), rule


@given(st.text(st.sampled_from("ab0.-/_A"), max_size=20) | st.from_regex(r"[a-z.]{1,9}/[a-zA-Z0-9._-]{1,9}"))
def test_both_take_the_same_resource_names(text: str) -> None:
    def is_taken(parse: Any) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    assert is_taken(resource_name.ResourceName.parse) == is_taken(fakehw.resource_name.check)


HEALTH = st.sampled_from(
    ["healthy", "unhealthy", "Healthy", " unhealthy too hot ", "healthy\nsince today", "", "x", "\n"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HEALTH | st.text(max_size=30))
def test_both_read_the_same_health(tmp_path: Path, text: str) -> None:
    device_dir = tmp_path / "node1/dev1/1"
    device_dir.mkdir(parents=True, exist_ok=True)
    (device_dir / "health").write_bytes(text.encode("utf-8", "surrogatepass"))

    (theirs,) = json.loads(command("list", "-o", "json", root=tmp_path))
    _, changes = read(tmp_path)
    (ours,) = changes[resource_name.ResourceName(R1)].values()

    assert ours is not None
    assert (theirs["health"] == "healthy") == ours.is_healthy


async def test_the_commands_of_fakehw_reach_the_kubelet(tmp_path: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    """set-health, unplug, plug and a second build, each followed to the kubelet."""
    root = tmp_path / "tree"
    command("build", "--spec", str(SEED), "--host", "kind-worker2", root=root)
    three = {f"node2-dev3-{number}": "Healthy" for number in (1, 2, 3)}
    async with running_daemon(make_config(root, plugin_dir, host="kind-worker2")):
        await listed(kubelet, [R1, R2, R3])
        assert kubelet.devices(R3) == three

        command("set-health", "node2/dev3/2", "unhealthy", "--reason", "over temperature", root=root)
        await devices_are(kubelet, R3, three | {"node2-dev3-2": "Unhealthy"})
        lists = len(kubelet.history(R3))
        command("build", "--spec", str(SEED), "--host", "kind-worker2", root=root)
        command("set-health", "node2/dev3/2", "healthy", root=root)
        await devices_are(kubelet, R3, three)
        assert len(kubelet.history(R3)) == lists + 1, "building again changes nothing"

        command("unplug", "node2/dev3/3", root=root)
        await kubelet.wait_for(lambda: kubelet.capacity[R3] == 2)
        command("plug", "node2/dev3/3", root=root)
        await devices_are(kubelet, R3, three)
