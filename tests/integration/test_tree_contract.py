"""`fakehw` writes, `fakehw_plugin` reads: the tree's ABI, held together by nothing else than this."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fakehw.layout
import fakehw.resource_name
from fakehw import cli
from fakehw.errors import SpecError
from fakehw.spec import check, expanded
from fakehw.tree import snapshot
from fakehw.view import pod_resources
from fakehw_plugin import attribute, device, resource_name
from fakehw_plugin.dra import names
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


class NoWatch:
    """Of a tree that is read once: to give a watch back takes the kernel longer than all the rest."""

    exhausted = "nothing is watched"

    def open(self) -> None: ...

    def add(self, path: str, target: Any) -> None: ...

    def remove(self, wd: int | None, target: Any) -> None: ...


def read(root: Path, host: str = "") -> tuple[set[str], Changes]:
    scanner = Scanner(root, host=host, domain="myplugin.io", watch=NoWatch())  # type: ignore[arg-type]
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
    assert all(device.is_healthy for found in changes.values() for device in found.values() if device)


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

    written = {record["id"]: record for record in json.loads(command("list", "-o", "json", root=root))}
    _, changes = read(root)
    read_back = {
        device.id: {
            "health": device.health.value.lower(),
            "numa_node": device.numa_node,
            "reason": device.reason,
            "path": device.path,
        }
        for found in changes.values()
        for device in found.values()
        if device
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


def test_a_list_says_who_holds_what_where_a_kubelet_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def holders(socket: Path) -> dict[str, str]:
        if socket.name == "dead":
            raise pod_resources.UnknownError(f"{socket}: nobody answers")
        return {"node2-dev3-2": "default/dp1-3/main by dp1-3-x7", "node1-dev1-1": "default/dp1-1/main"}

    monkeypatch.setattr(pod_resources, "holders", holders)
    command("build", "--spec", str(SEED), root=tmp_path)
    sockets = ("--pod-resources", "dead", "--pod-resources", "kubelet.sock")

    table = command("list", *sockets, root=tmp_path).splitlines()
    assert table[0].split() == ["PATH", "RESOURCE", "HEALTH", "NUMA", "HELD", "BY", "REASON"]
    assert [line.split("   ")[-1].strip() for line in table if "node2/dev3/" in line] == [
        "-",
        "default/dp1-3/main by dp1-3-x7",
        "-",
    ]
    records = {one["path"]: one for one in json.loads(command("list", *sockets, "-o", "json", root=tmp_path))}
    assert records["/node1/dev1/1"]["held_by"] == "default/dp1-1/main"
    assert "held_by" not in json.loads(command("list", "-o", "json", root=tmp_path))[0]


TAINT = st.from_regex(r"\A([a-z.]{0,6}/)?[A-Za-z._-]{0,4}(=[A-Za-z0-9._-]{0,4})?:(NoSchedule|NoExecute|None|Never)\Z")


@given(
    TAINT | st.sampled_from(["NoSchedule", "a=b", ":None", "a=:None", f"{'a' * 64}:None", ""]) | st.text(max_size=30)
)
def test_both_sides_take_the_same_taints(text: str) -> None:
    def is_taken(check: Any, *arguments: Any, **more: Any) -> bool:
        try:
            check(*arguments, **more)
        except ValueError:
            return False
        return True

    assert is_taken(fakehw.layout.check_taint, "x", text) == is_taken(attribute.parse_taint, text, name="x")


def test_taints_of_a_topology_come_change_and_go_and_one_that_was_added_by_hand_stays(tmp_path: Path) -> None:
    def build(taints: dict[str, str]) -> dict[str, str]:
        spec = tmp_path / "spec.json"
        device = {"taints": taints} if taints else {}
        spec.write_text(
            json.dumps({"nodes": {"node1": {"classes": {"dev1": {"api": "dra", "devices": {"1": device}}}}}})
        )
        command("build", "--spec", str(spec), root=tmp_path / "tree")
        _, changes = read(tmp_path / "tree")
        ((device,),) = (found.values() for found in changes.values())
        assert device is not None
        return {taint.key: f"{taint.value}:{taint.effect}" for taint in device.details.taints}

    assert build({}) == {}
    assert build({"xid": "gpu.example/xid=48:NoSchedule", "slow": "None"}) == {
        "gpu.example/xid": "48:NoSchedule",
        "slow": ":None",
    }
    (tmp_path / "tree/node1/dev1/1/taints/mine").write_text("NoExecute\n")
    assert build({"xid": "gpu.example/xid=79:NoExecute"}) == {"gpu.example/xid": "79:NoExecute", "mine": ":NoExecute"}
    command("unplug", "node1/dev1/1", root=tmp_path / "tree")
    command("plug", "node1/dev1/1", root=tmp_path / "tree")
    assert build({}) == {"mine": ":NoExecute"}


def test_taints_survive_being_written_out(tmp_path: Path) -> None:
    document = {"nodes": {"n": {"classes": {"dev1": {"count": 2, "taints": {"a.b": "x.io/k=v:None"}}}}}}
    again = yaml.safe_load("\n".join(expanded.lines(check.make_topology(document))))
    before, after = (dict(check.make_topology(one).nodes["n"].classes["dev1"].devices) for one in (document, again))
    assert before == after
    assert after[2].attributes == {"taints/a.b": "x.io/k=v:None"}


@pytest.mark.parametrize("taint", ["Never", "a b:None", "UPPER/x:None", 3])
def test_a_taint_that_no_api_server_takes_is_refused_with_the_rule(taint: Any) -> None:
    with pytest.raises(SpecError, match=r"dev1\.taints\.x.*EFFECT"):
        check.make_topology({"nodes": {"n": {"classes": {"dev1": {"count": 1, "taints": {"x": taint}}}}}})


@given(
    st.text(st.sampled_from("ab0.-/_A"), max_size=80)
    | st.from_regex(r"\A[A-Za-z0-9._]{1,40}-[a-z0-9_]{1,20}-[0-9]{1,9}\Z")
)
def test_both_sides_call_a_device_alike_in_a_slice(device_id: str) -> None:
    assert fakehw.layout.slice_name(device_id) == names.device_name(device_id)


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


# What anybody may write into any file of a tree, and call a directory: the same meaning for both, or refused by both.

PIECES = st.sampled_from(
    [b"healthy", b"unhealthy", b"HEALTHY", b"Healthy", b" ", b"\t", b"\n", b"\r\n", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc2\xa0",
     b"\xe2\x80\xa8", b"\x1b[31m", b"0", b"1", b"-1", b"+1", b"1_0", b"1.0", b"1e1", b"07", b"2147483647", b"2147483648", b"\xc2\xb2",
     b"\xef\xbc\x91", b"example.org/gpu", b"Example.org/x", b"kubernetes.io/x", b"kind-worker", b"KIND-worker", b"/", b"-", b"_", b".",
     b"node1", b"dev1", b"gpu", b"host", b"rpc"]
)  # fmt: skip  # some in a line
VALUES = (
    st.lists(PIECES | st.binary(max_size=3), max_size=4).map(b"".join) | st.just(b" " * 4096) | st.just(b"1" * 4097)
)
FILES = ("node1/host", "node1/dev1/resource", "node1/dev1/1/health", "node1/dev1/1/numa_node")


@pytest.fixture(scope="module")
def device_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of one device, whose files every example writes anew."""
    path = tmp_path_factory.mktemp("contract") / "tree" / "node1/dev1/1"
    path.mkdir(parents=True)
    return path


@given(st.dictionaries(st.sampled_from(FILES), VALUES, max_size=4))
def test_any_bytes_in_any_file_mean_the_same_to_both(device_dir: Path, contents: dict[str, bytes]) -> None:
    root = device_dir.parents[2]
    for name in FILES:
        (root / name).unlink(missing_ok=True)
        if name in contents:
            (root / name).write_bytes(contents[name])

    theirs = snapshot.read_tree(root).nodes["node1"]
    found = theirs.classes["dev1"]
    (their_device,) = found.devices.values()
    resources, changes = read(root)
    ours = [(resource, device) for resource, devices in changes.items() for device in devices.values() if device]

    is_refused = isinstance(theirs.host, snapshot.Unreadable) or not is_resource(found.resource)
    assert is_refused == (not resources), (theirs.host, found.resource, resources)
    if not is_refused:
        ((resource, our_device),) = ours
        assert resource == (R1 if found.resource is None else found.resource)
        health, reason = their_device.health
        assert our_device.health.value.lower() == health
        assert our_device.reason.rstrip("…") == reason[:255] or our_device.reason == reason
        assert our_device.numa_node == their_device.numa_node
    for host in ("kind-worker", "other"):
        is_ours = bool(read(root, host)[0])
        assert is_ours == (not is_refused and theirs.host in (None, "", host)), (theirs.host, host)


def is_resource(value: snapshot.Value | None) -> bool:
    """Tell whether fakehw would take this for the resource of dev1."""
    if value is None:
        return True
    try:
        return isinstance(value, str) and bool(fakehw.resource_name.check(value) or True)
    except ValueError:
        return False


FILE_NAMES = (
    st.lists(PIECES | st.binary(min_size=1, max_size=2), min_size=1, max_size=3)
    .map(b"".join)
    .filter(lambda name: not {0, 0x2F} & set(name) and name not in (b".", b"..") and len(name) < 200)
)


@given(FILE_NAMES, FILE_NAMES, FILE_NAMES)
def test_any_names_make_a_device_for_both_or_for_neither(
    tmp_path_factory: pytest.TempPathFactory, node: bytes, class_name: bytes, number: bytes
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as directory:
        path = Path(directory) / os.fsdecode(node) / os.fsdecode(class_name) / os.fsdecode(number)
        path.mkdir(parents=True)
        (path / "health").write_text("healthy")
        (path.parent / "resource").write_text("example.org/gpu")

        theirs = {found.id for found, _ in snapshot.read_tree(Path(directory)).devices()}
        _, changes = read(Path(directory))

    assert {device_id for devices in changes.values() for device_id in devices} == theirs


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
