"""What a driver writes down: whole files, whole plans, in which order, and what is left when a step fails."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import logs
from fakehw_plugin.allocation import Allocation, BindMount
from fakehw_plugin.attribute import Attribute, AttributeType, Effect, Taint
from fakehw_plugin.device import Details, Health
from fakehw_plugin.dra import cdi, checkpoint, claim, durable, entry, health_list, names, placement, plan
from fakehw_plugin.dra.checkpoint import Checkpoint, Prepared, PreparedDevice
from fakehw_plugin.dra.pool import DevicePool, PoolListing
from fakehw_plugin.dra.preparation import Preparation
from fakehw_plugin.tree.attributes import StarvedError
from kubeletapi.drahealth.v1 import api_pb2 as health_v1
from tests.factories import make_device, make_tree
from tests.timeless import elapsed, running, settled, timeless

POOL = plan.Pool("d.io", "a-node", "node-uid")
REFERENCE = claim.Reference("ns", "c", "uid-c")
DEVICE = PreparedDevice("r", "name", "id", "/node2/dev3/1", "DEV_3_ID_0", has_device_node=True, share_id="s")
ADMIN = PreparedDevice("see", "admin", "id-admin", "/node2/dev3/2", "DEV_3_ID_1", is_admin=True)


# Files that appear whole.


def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what touches the disk, in order."""
    noted: list[str] = []

    def wrap(owner: Any, name: str, show: Any) -> None:
        real = getattr(owner, name)

        def call(*values: Any, **more: Any) -> Any:
            noted.append(show(*values))
            return real(*values, **more)

        monkeypatch.setattr(owner, name, call)

    wrap(os, "open", lambda path, flags, *mode: f"open {Path(path).name} {[oct(one) for one in mode]}")
    wrap(os, "write", lambda fd, content: f"write {bytes(content).decode()}")
    wrap(os, "fchmod", lambda fd, mode: f"fchmod {oct(mode)}")
    wrap(os, "fsync", lambda fd: "fsync")
    wrap(os, "close", lambda fd: "close")
    wrap(Path, "replace", lambda path, target: f"rename to {target.name}")
    return noted


def test_a_file_is_written_beside_its_place_synced_and_moved_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.json"
    target.write_text("old")
    noted = steps(monkeypatch)
    durable.write(target, b"new")
    monkeypatch.undo()

    assert noted == [
        f"open .fakehw-x.json.{os.getpid()}.tmp ['0o600']", "write new", "fchmod 0o644", "fsync", "close",
        "rename to x.json", f"open {tmp_path.name} []", "fsync", "close",
    ]  # fmt: skip  # one step after the other
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_disk_that_takes_a_few_bytes_at_a_time_has_the_whole_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: real(fd, bytes(content)[:3]))
    durable.write(tmp_path / "x", b"0123456789")
    assert (tmp_path / "x").read_bytes() == b"0123456789"


@pytest.mark.parametrize("step", ["write", "fchmod", "fsync"])
def test_what_cannot_be_written_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (tmp_path / "x").write_text("old")
    before = len(list(Path("/proc/self/fd").iterdir()))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(OSError, match="No space left"):
            durable.write(tmp_path / "x", b"new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "old")]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_not_there_is_removed_and_what_cannot_be_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").touch()
    (tmp_path / "link").symlink_to("gone")
    durable.remove(tmp_path / "x")
    durable.remove(tmp_path / "x")
    assert not (tmp_path / "x").exists()

    def read_only(self: Path, *, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", read_only)
    durable.remove(tmp_path / "x")
    with pytest.raises(OSError, match="Read-only"):
        durable.remove(tmp_path / "link")


def test_leftovers_are_swept_by_how_they_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".fakehw-a.1.tmp", ".fakehw-b.1.tmp", ".fakehw-a", "a.tmp", "a.json"):
        (tmp_path / name).touch()
    durable.sweep(tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".fakehw-a", ".fakehw-b.1.tmp", "a.json", "a.tmp"]
    durable.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".fakehw-a", "a.json", "a.tmp"]
    durable.sweep(tmp_path / "gone")


# The checkpoint.


def test_a_claim_s_file_says_all_of_it_and_reads_back_the_same() -> None:
    prepared = Prepared(REFERENCE, "a-node", (DEVICE, ADMIN))
    assert json.loads(checkpoint.encode(prepared)) == {
        "version": 1,
        "claim": {"namespace": "ns", "name": "c", "uid": "uid-c"},
        "pool": "a-node",
        "devices": [
            {
                "request": "r", "device": "name", "device_id": "id", "path": "/node2/dev3/1", "variable": "DEV_3_ID_0",
                "has_device_node": True, "share_id": "s", "is_admin": False,
            },
            {
                "request": "see", "device": "admin", "device_id": "id-admin", "path": "/node2/dev3/2",
                "variable": "DEV_3_ID_1", "has_device_node": False, "share_id": "", "is_admin": True,
            },
        ],
    }  # fmt: skip  # some lines a device
    assert checkpoint.decode(checkpoint.encode(prepared)) == prepared


def test_what_is_prepared_survives_and_who_holds_what_is_known(tmp_path: Path) -> None:
    damaged: list[tuple[str, str]] = []
    first = Checkpoint(tmp_path / "claims", on_damage=lambda *values: damaged.append(values))
    first.load()
    prepared = Prepared(REFERENCE, "a-node", (DEVICE, ADMIN))
    first.put(prepared)
    assert [path.name for path in (tmp_path / "claims").iterdir()] == ["uid-c.json"]

    second = Checkpoint(tmp_path / "claims", on_damage=lambda *values: damaged.append(values))
    assert second.prepared == {}
    second.load()
    for one in (first, second):
        assert one.prepared == {"uid-c": prepared}
        assert one.holders() == {"name": REFERENCE}
        assert one.held() == {"id"}
    second.remove("uid-c")
    second.remove("uid-c")
    assert second.prepared == {}
    assert first.prepared == {"uid-c": prepared}
    first.load_if_changed()
    assert first.prepared == {}
    assert damaged == []


def test_only_what_others_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Checkpoint(tmp_path, on_damage=lambda *_: None)
    loads = []
    real = one.load
    monkeypatch.setattr(one, "load", lambda: (loads.append(1), real()))
    one.load()
    one.put(Prepared(REFERENCE, "p", ()))
    one.load_if_changed()
    one.remove("uid-c")
    one.load_if_changed()
    assert len(loads) == 1
    os.utime(tmp_path, ns=(1, 1))
    one.load_if_changed()
    assert len(loads) == 2
    tmp_path.rmdir()
    with pytest.raises(FileNotFoundError):
        one.load_if_changed()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"version": 2}', "ValueError: version 2 is not known"),
        ("{", "JSONDecodeError: "),
        ("{}", "KeyError: 'version'"),
        ('{"version": 1, "devices": [{}], "claim": {}, "pool": ""}', "TypeError: "),
        ("[" * 100_000, "RecursionError: "),
    ],
)
def test_a_file_that_is_damaged_is_named_with_the_reason_and_hides_no_other(
    tmp_path: Path, content: str, reason: str
) -> None:
    damaged: list[tuple[str, str]] = []
    one = Checkpoint(tmp_path, on_damage=lambda *values: damaged.append(values))
    one.load()
    one.put(Prepared(REFERENCE, "p", ()))
    (tmp_path / "a.json").write_text(content)
    (tmp_path / "b.tmp").write_text("no file of ours")
    one.load()
    ((path, why),) = damaged
    assert path == str(tmp_path / "a.json")
    assert why.startswith(reason)
    assert set(one.prepared) == {"uid-c"}


# CDI files.


def test_a_cdi_file_is_whole() -> None:
    granted = Allocation({"A": "/a", "B": "/b"}, (BindMount("/in", "/out"),), (BindMount("/in/node", "/out/node"),))
    assert cdi.spec("d.io", "uid", [("one", granted), ("two", Allocation({}))]) == {
        "cdiVersion": "0.5.0",
        "kind": "k8s.d.io/claim",
        "devices": [
            {
                "name": "uid-one",
                "containerEdits": {
                    "env": ["A=/a", "B=/b"],
                    "mounts": [{"hostPath": "/out", "containerPath": "/in", "options": ["rbind", "rprivate", "ro"]}],
                    "deviceNodes": [{"path": "/in/node", "hostPath": "/out/node", "permissions": "rw"}],
                },
            },
            {"name": "uid-two", "containerEdits": {"env": [], "mounts": []}},
        ],
    }
    assert cdi.device_id("d.io", "uid", "one") == "k8s.d.io/claim=uid-one"
    assert cdi.path(Path("/cdi"), driver="d.io", uid="uid") == Path("/cdi/k8s.d.io-claim_uid.json")


def test_a_cdi_file_is_written_once_and_its_directory_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    real = durable.write
    monkeypatch.setattr(durable, "write", lambda target, text: (written.append(target), real(target, text)))
    directory = tmp_path / "a/b"
    for content in ({"a": 1}, {"a": 1}, {"a": 2}):
        cdi.write(directory, "d.io", "uid", content)
    path = directory / "k8s.d.io-claim_uid.json"
    assert written == [path, path]
    assert path.read_text() == '{"a": 2}'
    cdi.remove(directory, "d.io", "uid")
    assert not path.exists()


@pytest.mark.parametrize(
    ("uid", "usable"),
    [("a", True), ("0", True), ("a.b-c", True), ("a" * 253, True), ("a" * 254, False), ("a-", False), ("-a", False),
     ("a_b", False), ("", False), ("a.", False), ("é", False)],
)  # fmt: skip  # one value after the other
def test_a_uid_is_a_part_of_a_name(uid: str, usable: bool) -> None:
    assert cdi.is_usable(uid) is usable


# Plans.


def stored(name: str, devices: list[Any] | None, **changes: Any) -> dict[str, Any]:
    pool = {"name": "a-node", "generation": 1, "resourceSliceCount": 1, **changes.pop("pool", {})}
    owner = {"apiVersion": "v1", "kind": "Node", "name": "a-node", "uid": "node-uid", "controller": True}
    metadata = {"name": name, "resourceVersion": "7", "ownerReferences": [owner], **changes.pop("metadata", {})}
    return {
        "metadata": metadata,
        "spec": {"driver": "d.io", "nodeName": "a-node", "pool": pool, "devices": devices, **changes},
    }


def found(*slices: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in slices}


A, B = {"name": "a"}, {"name": "b"}


def shape(made: plan.Plan) -> dict[str, list[Any]]:
    """Return a plan in short: name, generation, count and devices of each write."""

    def short(one: dict[str, Any]) -> tuple[Any, ...]:
        pool = one["spec"]["pool"]
        return one["metadata"]["name"], pool["generation"], pool["resourceSliceCount"], one["spec"]["devices"]

    return {
        "update": [short(one) for one in made.update],
        "create": [short(one) for one in made.create],
        "delete": [one["metadata"]["name"] for one in made.delete],
    }


@pytest.mark.parametrize(
    ("have", "wanted", "update", "create", "delete"),
    [
        pytest.param([], {"s": [A]}, [], [("s", 1, 1, [A])], [], id="nothing is there"),
        pytest.param([stored("s", [A])], {"s": [A]}, [], [], [], id="all is right"),
        pytest.param([stored("s", [B])], {"s": [A]}, [("s", 1, 1, [A])], [], [], id="other devices"),
        pytest.param(
            [stored("s", [A], pool={"resourceSliceCount": 2})], {"s": [A]}, [("s", 1, 1, [A])], [], [], id="the count"
        ),
        pytest.param(
            [stored("s", [A], metadata={"ownerReferences": None})], {"s": [A]}, [("s", 1, 1, [A])], [], [], id="no owner"
        ),
        pytest.param([stored("s", None)], {"s": []}, [], [], [], id="no devices"),
        pytest.param(
            [stored("s", [A], pool={"generation": 4, "resourceSliceCount": 2})],
            {"s": [A], "t": [B]}, [], [("t", 4, 2, [B])], [], id="one is missing",
        ),
        pytest.param(
            [stored("s", [A], pool={"generation": 4})],
            {"s": [A], "t": [B]}, [("s", 5, 2, [A])], [("t", 5, 2, [B])], [], id="a pool that grows",
        ),
        pytest.param(
            [stored("s", [A], pool={"resourceSliceCount": 2}), stored("t", [B], pool={"resourceSliceCount": 2})],
            {"s": [A, B]}, [("s", 2, 1, [A, B])], [], ["t"], id="a pool that shrinks",
        ),
        pytest.param(
            [stored("s", [A], pool={"generation": 2}), stored("t", [B], pool={"generation": 1})],
            {"s": [A]}, [], [], ["t"], id="an old one is left",
        ),
        pytest.param(
            [stored("s", [A], pool={"generation": 2}), stored("t", [B], pool={"generation": 1})],
            {"s": [B]}, [("s", 2, 1, [B])], [], ["t"], id="an old one is in nobody's way",
        ),
        pytest.param(
            [stored("s", [A], pool={"name": "old"})], {"s": [A]}, [], [], ["s"], id="of a pool that we had before"
        ),
        pytest.param([stored("s", [A], driver="other")], {"s": [A]}, [], [], [], id="the name is another's"),
        pytest.param(
            [stored("s", [A], driver="other")],
            {"s": [A], "t": [B]}, [], [("t", 1, 2, [B])], [], id="one name of two is another's",
        ),
        pytest.param([stored("x", [A], nodeName="other")], {"s": []}, [], [("s", 1, 1, [])], [], id="of another node"),
        pytest.param(
            [stored("s", [A], pool={"generation": 3}), stored("t", [A], pool={"generation": 1})],
            {"s": [A], "t": [A]}, [("s", 4, 2, [A]), ("t", 4, 2, [A])], [], [], id="generations differ",
        ),
    ],
)  # fmt: skip  # some lines a case
def test_what_is_written_for_what_is_there(
    have: list[Any], wanted: dict[str, Any], update: list[Any], create: list[Any], delete: list[Any]
) -> None:
    made = plan.plan(POOL, wanted, found(*have), times={})
    assert shape(made) == {"update": update, "create": create, "delete": delete}
    assert bool(made) is bool(update or create or delete)
    assert all(one["metadata"]["resourceVersion"] == "7" for one in made.update)
    assert all("resourceVersion" not in one["metadata"] for one in made.create)


def test_a_slice_is_whole() -> None:
    assert POOL.name == "a-node"
    assert POOL.slice("s", [A], generation=3, count=2) == {
        "metadata": {
            "name": "s",
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "a-node", "uid": "node-uid", "controller": True}
            ],
        },
        "spec": {
            "driver": "d.io",
            "nodeName": "a-node",
            "pool": {"name": "a-node", "generation": 3, "resourceSliceCount": 2},
            "devices": [A],
        },
    }
    assert plan.Pool("d.io", "a-node", "").slice("s", [], generation=1, count=1)["metadata"] == {"name": "s"}


def test_times_are_those_of_the_same_taint_of_the_same_device() -> None:
    taints = [{"key": "k", "effect": "None", "timeAdded": "t1"}, {"key": "k", "effect": "NoExecute"}]
    times = plan.taint_times([stored("s", [{"name": "a", "taints": taints}, {"name": "b"}]), stored("t", None)])
    assert times == {("a", "k", "None"): "t1"}
    device = {"name": "a", "taints": [{"key": "k", "effect": "None"}, {"key": "k", "effect": "NoExecute"}], "more": 1}
    assert plan.with_times(device, times) == {**device, "taints": [taints[0], taints[1]]}
    assert plan.with_times({**device, "name": "b"}, times) == {**device, "name": "b"}
    assert plan.with_times(A, times) is A
    assert plan.same_devices(
        [{"name": "a", "taints": taints}], [{"name": "a", "taints": [{**one, "timeAdded": "x"} for one in taints]}]
    )
    assert not plan.same_devices([A], [B])


# What is told of a device, and where it stands.


@pytest.mark.parametrize(
    ("device_id", "name"),
    [
        ("node2-dev3-2", "node2-dev3-2"),
        ("a" * 63, "a" * 63),
        ("a" * 64, "a" * 56 + "-ffe054"),
        ("Node2-a_b-1", "node2-a-b-1-b61b5b"),
        ("_", "d2e2ad"),
        ("a-", "a-a3a0c7"),
    ],
)
def test_a_device_is_called_by_its_id_or_by_what_is_left_of_it_and_six_digits(device_id: str, name: str) -> None:
    made = names.device_name(device_id)
    if name == device_id:
        assert made == device_id
        return
    import hashlib

    digits = hashlib.sha256(device_id.encode()).hexdigest()[:6]
    readable = name.rpartition("-")[0]
    assert made == (f"{readable}-{digits}" if readable else digits)
    assert len(made) <= 63


def test_a_slice_is_called_by_its_place_its_driver_and_its_node() -> None:
    assert names.slice_name(0, driver="d.io", node="a-node") == "00000-d.io-a-node"
    assert names.slice_name(0x1F, driver="d.io", node="a-node") == "0001f-d.io-a-node"
    longest = "n" * (253 - len("00000-d.io-"))
    assert names.slice_name(0, driver="d.io", node=longest) == f"00000-d.io-{longest}"
    cut = names.slice_name(0, driver="d.io", node=longest + "n")
    assert len(cut) == 253
    assert cut.startswith("00000-d.io-nnn")
    assert cut[-17] == "-"


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("00000-d.io-a-node", True), ("0001f-d.io-a-node", True), ("0001F-d.io-a-node", False), ("0000-d.io-a-node", False),
        ("00000-d.io-b-node", False), ("00000-e.io-a-node", False), ("a-node-d.io-x7k2p", False), ("", False),
    ],
)  # fmt: skip  # one name after the other
def test_a_slice_of_ours_is_known_by_its_name(name: str, is_ours: bool) -> None:
    assert names.is_slice_name(name, driver="d.io", node="a-node") is is_ours


@pytest.mark.parametrize(
    ("counts", "index"), [([], 0), ([0], 0), ([63], 0), ([64], 1), ([64, 64], 2), ([64, 3, 1], 1), ([65, 64, 63], 2)]
)
def test_a_device_goes_where_there_is_room_first(counts: list[int], index: int) -> None:
    assert placement.first_with_room(counts) == index


def test_devices_stay_where_they_were_as_far_as_there_is_room() -> None:
    ordered = [str(number) for number in range(70)]
    before = {**dict.fromkeys(ordered, 1), "69": -1, "68": 5}
    placed = placement.place(ordered, before)
    assert [placed[name] for name in ordered[:64]] == [1] * 64
    assert {name: placed[name] for name in ordered[64:]} == {"64": 0, "65": 0, "66": 0, "67": 0, "68": 5, "69": 0}
    full = placement.place([str(number) for number in range(65)], {str(number): 0 for number in range(64)})
    assert full["64"] == 1


def test_a_device_is_published_with_what_there_is_room_for() -> None:
    attributes = tuple(Attribute(f"a{number:02}", AttributeType.INT, number) for number in range(40))
    own = (Attribute("node", AttributeType.STRING, "x"), Attribute("number", AttributeType.INT, 7))
    plain = make_device()._replace(details=Details(own + attributes))
    assert [one.name for one in entry.told(plain)] == [f"a{number:02}" for number in range(29)]
    assert len(entry.told(plain._replace(numa_node=0))) == 28
    assert entry.entry(plain._replace(details=Details(own)), driver="d.io")["attributes"] == {
        "node": {"string": "node2"}, "class": {"string": "dev3"}, "number": {"int": 1},
    }  # fmt: skip  # in one line


def test_taints_are_that_of_health_and_those_of_the_tree_each_key_once() -> None:
    taints = tuple(Taint(f"t{number}", "", Effect.NONE) for number in range(20))
    ill = make_device(health=Health.UNHEALTHY, reason="a b")._replace(
        details=Details(taints=taints, unhealthy_effect=Effect.NO_EXECUTE)
    )
    found = entry.taints_of(ill)
    assert found[0] == Taint("unhealthy", "a-b", Effect.NO_EXECUTE)
    assert found[1:] == list(taints[:15])
    own = Taint("unhealthy", "mine", Effect.NONE)
    assert entry.taints_of(make_device()._replace(details=Details(taints=(own, taints[0])))) == [own, taints[0]]
    assert not entry.is_unhealthy(entry.entry(make_device(), driver="d.io"))
    assert entry.is_unhealthy(entry.entry(ill, driver="d.io"))
    assert not entry.is_unhealthy({"taints": [{"key": "d.io/unhealthy-ish"}, {"key": "unhealthy"}]})


@timeless
async def test_the_health_of_a_pool_is_kept_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_list.time, "time", lambda: 1_800_000_000.9)
    found = health_list.HealthList(pool="p")
    for number in (1, 2):
        found.put(f"d{number}", make_device(number))

    def told() -> dict[str, tuple[int, int, str]]:
        message = health_v1.NodeWatchResourcesResponse.FromString(found.message())
        assert {one.device.pool_name for one in message.devices} <= {"p"}
        return {one.device.device_name: (one.health, one.last_updated_time, one.message) for one in message.devices}

    assert told() == {"d1": (1, 1_800_000_000, ""), "d2": (1, 1_800_000_000, "")}
    found.put("d1", make_device(1, health=Health.UNHEALTHY, reason="worn"))
    found.remove("d2")
    assert len(told()) == 2, "not before it is published"
    found.publish()
    assert told() == {"d1": (2, 1_800_000_000, "worn")}


@timeless
async def test_a_pool_counts_its_changes_and_tells_who_subscribed() -> None:
    pool = DevicePool(driver="d.io", node="a-node")
    assert (pool.generation, pool.changed_at, pool.tainted) == (0, None, 0)
    assert list(pool.wanted()) == ["00000-d.io-a-node"]
    woken: list[int] = []
    wake = lambda: woken.append(pool.generation)  # noqa: E731  # the same one twice
    pool.subscribe(wake)
    listing = PoolListing(pool)
    assert listing.put(make_device(1).id, make_device(1, health=Health.UNHEALTHY))
    listing.put(make_device(2).id, make_device(2))
    listing.publish()
    assert (pool.generation, pool.changed_at, pool.tainted, woken) == (1, 1000.0, 1, [1])
    listing.remove(make_device(1).id)
    listing.remove(make_device(9).id)
    listing.publish()
    assert (set(pool.devices), pool.tainted) == ({"node2-dev3-2"}, 0)
    pool.publish(at=5.0)
    assert (pool.changed_at, woken) == (5.0, [1, 2, 3])
    pool.unsubscribe(wake)
    pool.unsubscribe(wake)
    pool.publish()
    assert len(woken) == 3


# Preparing.


class Desk:
    """A driver's files and claims."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("state", "cdi"):
            (path / name).mkdir()
        make_tree(path / "tree", "node2/dev3/1", "node2/dev3/2")
        self.devices = {device.id: device for device in (make_device(1), make_device(2))}
        self.claims: dict[str, Any] = {}
        self.held = 0
        self.preparation = Preparation(
            driver="d.io",
            pool="a-node",
            devices=self.devices,  # type: ignore[arg-type]
            read_claim=self.read,
            state_dir=path / "state",
            cdi_dir=path / "cdi",
            root=str(path / "tree"),
            host_root="/host",
            on_held=self.note_held,
            log=logs.get_logger(driver="d.io"),
        )

    async def read(self, reference: claim.Reference) -> Any:
        return self.claims.get(reference.name)

    def note_held(self) -> None:
        self.held += 1

    def allocate(self, name: str, *results: dict[str, Any]) -> claim.Reference:
        whole = [
            {"request": "r", "driver": "d.io", "pool": "a-node", "device": "node2-dev3-1", **one} for one in results
        ]
        self.claims[name] = {
            "metadata": {"uid": f"uid-{name}"},
            "status": {"allocation": {"devices": {"results": whole}}},
        }
        return claim.Reference("ns", name, f"uid-{name}")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@timeless
async def test_a_prepared_claim_is_all_that_is_known_of_it(desk: Desk) -> None:
    desk.preparation.open()
    assert desk.preparation.is_open
    reference = desk.allocate(
        "c", {"shareID": "s"}, {"device": "node2-dev3-2", "request": "x/sub", "adminAccess": True}
    )
    prepared = await desk.preparation.prepare(reference)

    assert prepared == Prepared(
        reference,
        "a-node",
        (
            PreparedDevice("r", "node2-dev3-1", "node2-dev3-1", "/node2/dev3/1", "DEV_3_ID_0", share_id="s"),
            PreparedDevice("x", "node2-dev3-2", "node2-dev3-2", "/node2/dev3/2", "DEV_3_ID_1", is_admin=True),
        ),
    )
    ids = [desk.preparation.cdi_ids(prepared, device) for device in prepared.devices]
    assert ids == [["k8s.d.io/claim=uid-c-node2-dev3-1"], ["k8s.d.io/claim=uid-c-node2-dev3-2-x"]]
    spec = json.loads((desk.path / "cdi/k8s.d.io-claim_uid-c.json").read_text())
    assert [one["name"] for one in spec["devices"]] == ["uid-c-node2-dev3-1", "uid-c-node2-dev3-2-x"]
    assert spec["devices"][0]["containerEdits"]["mounts"][0]["hostPath"] == "/host/node2/dev3/1"
    assert desk.held == 2, "when it was opened, and now"
    await desk.preparation.prepare(reference)
    assert desk.held == 2
    await desk.preparation.unprepare(reference)
    assert desk.held == 3


@pytest.mark.parametrize(
    ("uid", "words"), [("../x", "'../x' is no UID of a claim"), ("uid-gone", "claim ns/gone does not exist")]
)
@timeless
async def test_a_claim_that_is_none_is_refused_in_words(desk: Desk, uid: str, words: str) -> None:
    desk.preparation.open()
    with pytest.raises(claim.ClaimError) as caught:
        await desk.preparation.prepare(claim.Reference("ns", "gone", uid))
    assert str(caught.value) == words


@timeless
async def test_our_own_shortage_is_a_reason_of_its_own(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.preparation.open()

    def starved(*_: object) -> bool:
        raise StarvedError("Too many open files (EMFILE)")

    monkeypatch.setattr("fakehw_plugin.tree.descent.is_real_device", starved)
    with pytest.raises(claim.ClaimError) as caught:
        await desk.preparation.prepare(desk.allocate("c", {}))
    assert str(caught.value) == "device node2-dev3-1 cannot be looked at: Too many open files (EMFILE)"


@timeless
async def test_a_state_that_cannot_be_read_is_said_and_not_open(desk: Desk) -> None:
    (desk.path / "state").rmdir()
    (desk.path / "state").write_text("")
    with capture_logs() as lines:
        desk.preparation.open()
    assert not desk.preparation.is_open
    assert desk.held == 0
    ((line),) = lines
    assert (line["event"], line["log_level"], line["path"]) == (
        "checkpoint_unreadable",
        "warning",
        str(desk.path / "state"),
    )
    assert line["reason"].startswith("[Errno 20] Not a directory")


@timeless
async def test_another_instance_has_thirty_seconds_to_let_go_of_the_lock(desk: Desk) -> None:
    desk.preparation.open()
    reference = desk.allocate("c", {})
    await desk.preparation.unprepare(reference)
    assert (desk.path / "state/serialize.lock").stat().st_mode & 0o777 == 0o644
    fd = os.open(desk.path / "state/serialize.lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(claim.ClaimError, match=r"^serialize\.lock is held by another instance$"):
        await desk.preparation.prepare(reference)
    assert elapsed() == 30
    assert len(list(Path("/proc/self/fd").iterdir())) == before

    async with running(desk.preparation.prepare(reference)) as preparing:
        await settled()
        assert not preparing.done()
        os.close(fd)
        await preparing
    assert elapsed() == pytest.approx(30.005)


@timeless
async def test_a_lock_that_cannot_be_opened_is_named(desk: Desk) -> None:
    desk.preparation.open()
    (desk.path / "state/serialize.lock").mkdir()
    with pytest.raises(claim.ClaimError) as caught:
        await desk.preparation.unprepare(claim.Reference("ns", "c", "uid-c"))
    assert str(caught.value) == f"{desk.path}/state/serialize.lock: Is a directory"


@timeless
async def test_a_claim_whose_holder_has_lost_the_device_is_forgotten_and_said(desk: Desk) -> None:
    desk.preparation.open()
    first, second = desk.allocate("first", {}), desk.allocate("second", {})
    await desk.preparation.prepare(first)
    desk.allocate("first", {"device": "node2-dev3-2"})
    with capture_logs() as lines:
        await desk.preparation.prepare(second)
    assert lines == [
        {
            "event": "stale_claim_forgotten", "log_level": "warning", "driver": "d.io", "claim": "ns/first",
            "uid": "uid-first", "device": "node2-dev3-1",
        }
    ]  # fmt: skip  # one line of the log
    assert set(desk.preparation.checkpoint.prepared) == {"uid-second"}
