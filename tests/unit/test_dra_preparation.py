"""Claims prepared and taken back, killed at every step of it, on real files."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import logs
from fakehw_plugin.dra import checkpoint, claim
from fakehw_plugin.dra.preparation import LOCK_FILE, Preparation
from tests.factories import make_device, make_tree

if TYPE_CHECKING:
    from collections.abc import Callable

DRIVER, POOL = "myplugin.io", "kind-worker2"


class Killed(BaseException):
    """What stands for SIGKILL: nothing of ours catches it."""


class Desk:
    """A driver's files, and an API server that knows the claims it is given."""

    def __init__(self, path: Path) -> None:
        self.state_dir, self.cdi_dir, self.tree = path / "state", path / "cdi", path / "tree"
        self.state_dir.mkdir()
        make_tree(self.tree, *(f"node2/dev3/{number}" for number in range(1, 5)))
        self.devices = {device.id: device for device in (make_device(number) for number in range(1, 5))}
        self.claims: dict[str, dict[str, Any]] = {}
        self.reads = 0
        self.held: list[set[str]] = []
        self.preparation = self.started()

    def started(self) -> Preparation:
        """Return what a new process has."""
        self.preparation = Preparation(
            driver=DRIVER,
            pool=POOL,
            devices=self.devices,  # type: ignore[arg-type]
            read_claim=self._read,
            state_dir=self.state_dir,
            cdi_dir=self.cdi_dir,
            root=str(self.tree),
            host_root="/fakehw",
            on_held=lambda: (
                self.held.append(self.preparation.checkpoint.held()) if hasattr(self, "preparation") else None
            ),
            log=logs.get_logger(),
        )
        self.preparation.open()
        return self.preparation

    async def _read(self, reference: claim.Reference) -> dict[str, Any] | None:
        self.reads += 1
        return self.claims.get(reference.name)

    def allocate(self, name: str, *devices: int, extended: bool = False, **results: dict[str, Any]) -> claim.Reference:
        found = [self.result(number) for number in devices]
        for request, more in results.items():
            found.append({**self.result(more["number"]), "request": request, **more})
        annotations = {claim.EXTENDED: "true"} if extended else {}
        self.claims[name] = {
            "metadata": {"uid": f"uid-{name}", "annotations": annotations},
            "status": {"allocation": {"devices": {"results": found}}},
        }
        return claim.Reference("default", name, f"uid-{name}")

    @staticmethod
    def result(number: int) -> dict[str, Any]:
        return {"request": "r", "driver": DRIVER, "pool": POOL, "device": f"node2-dev3-{number}"}

    def cdi_devices(self) -> dict[str, list[str]]:
        """Return what the runtime would read: the variables by the device's full name."""
        found = {}
        for path in self.cdi_dir.glob("*.json") if self.cdi_dir.exists() else ():
            spec = json.loads(path.read_text())
            for device in spec["devices"]:
                found[f"{spec['kind']}={device['name']}"] = device["containerEdits"]["env"]
        return found

    def answer(self, prepared: checkpoint.Prepared) -> list[tuple[str, list[str]]]:
        return [(device.device, self.preparation.cdi_ids(prepared, device)) for device in prepared.devices]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_a_prepared_claim_is_known_to_the_runtime_and_gone_when_it_is_taken_back(desk: Desk) -> None:
    reference = desk.allocate("c", 1, 2)

    prepared = await desk.preparation.prepare(reference)

    ids = [cdi_id for _, ids in desk.answer(prepared) for cdi_id in ids]
    assert ids == ["k8s.myplugin.io/claim=uid-c-node2-dev3-1", "k8s.myplugin.io/claim=uid-c-node2-dev3-2"]
    assert desk.cdi_devices() == {ids[0]: ["DEV_3_ID_0=/node2/dev3/1"], ids[1]: ["DEV_3_ID_1=/node2/dev3/2"]}
    assert desk.preparation.checkpoint.held() == {"node2-dev3-1", "node2-dev3-2"}

    await desk.preparation.unprepare(reference)

    assert desk.cdi_devices() == {}
    assert not desk.preparation.checkpoint.prepared
    assert [path.name for path in desk.state_dir.rglob("*") if path.is_file()] == [LOCK_FILE]


async def test_preparing_again_gives_the_same_and_asks_nobody(desk: Desk) -> None:
    reference = desk.allocate("c", 2)
    first = await desk.preparation.prepare(reference)
    desk.claims.clear()

    assert await desk.preparation.prepare(reference) == first
    assert await desk.started().prepare(reference) == first
    assert desk.reads == 1


async def test_a_reboot_that_wiped_the_cdi_files_is_made_good(desk: Desk) -> None:
    reference = desk.allocate("c", 2)
    await desk.preparation.prepare(reference)
    before = desk.cdi_devices()
    for path in desk.cdi_dir.iterdir():
        path.unlink()
    desk.cdi_dir.rmdir()

    await desk.started().prepare(reference)

    assert desk.cdi_devices() == before


async def test_what_was_never_prepared_is_taken_back_without_a_word(desk: Desk) -> None:
    await desk.preparation.unprepare(claim.Reference("default", "c", "uid-c"))
    await desk.preparation.unprepare(claim.Reference("default", "c", "../../etc/passwd"))


@pytest.mark.parametrize(
    ("extended", "variables"),
    [
        (True, {"a": "DEV_3_ID_0", "b": "DEV_3_ID_0"}),  # each request is for a container of its own
        (False, {"a": "DEV_3_ID_0", "b": "DEV_3_ID_1"}),  # one container may have both
    ],
)
async def test_variables_count_in_what_a_container_is_given(
    desk: Desk, extended: bool, variables: dict[str, str]
) -> None:
    reference = desk.allocate("c", extended=extended, a={"number": 3}, b={"number": 4})

    prepared = await desk.preparation.prepare(reference)

    assert {device.request: device.variable for device in prepared.devices} == variables


async def test_a_device_of_another_claim_is_refused_and_given_once_that_is_taken_back(desk: Desk) -> None:
    first, second = desk.allocate("first", 1), desk.allocate("second", 1, 2)
    await desk.preparation.prepare(first)

    with pytest.raises(claim.ClaimError, match="device node2-dev3-1 is held by claim default/first"):
        await desk.preparation.prepare(second)
    assert desk.preparation.checkpoint.held() == {"node2-dev3-1"}

    await desk.preparation.unprepare(first)
    await desk.preparation.prepare(second)


@pytest.mark.parametrize("gone", [lambda desk: desk.claims.pop("first"), lambda desk: desk.allocate("first", 3)])
async def test_a_claim_that_lost_its_device_without_a_word_does_not_hold_it(
    desk: Desk, gone: Callable[[Desk], object]
) -> None:
    await desk.preparation.prepare(desk.allocate("first", 1))
    second = desk.allocate("second", 1)
    gone(desk)

    with capture_logs() as lines:
        await desk.preparation.prepare(second)

    assert [line["event"] for line in lines] == ["stale_claim_forgotten"]
    assert list(desk.cdi_devices()) == ["k8s.myplugin.io/claim=uid-second-node2-dev3-1"]


async def test_an_admin_gets_a_device_that_others_use_and_does_not_hold_it(desk: Desk) -> None:
    await desk.preparation.prepare(desk.allocate("user", 1))
    admin = desk.allocate("admin", see={"number": 1, "adminAccess": True})

    prepared = await desk.preparation.prepare(admin)

    assert prepared.devices[0].is_admin
    await desk.preparation.unprepare(claim.Reference("default", "user", "uid-user"))
    await desk.preparation.prepare(desk.allocate("next", 1))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda desk: desk.claims.pop("c"), "claim default/c does not exist"),
        (lambda desk: desk.claims["c"]["metadata"].update(uid="new"), "was replaced"),
        (lambda desk: desk.claims["c"].update(status={}), "is not allocated"),
        (lambda desk: desk.devices.pop("node2-dev3-2"), "device node2-dev3-2 is not offered by myplugin.io"),
        (lambda desk: (desk.tree / "node2/dev3/2").rename(desk.tree / "away"), "its directory or its node is gone"),
        (lambda desk: desk.cdi_dir.write_text(""), "cannot be written down"),
    ],
)
async def test_a_claim_that_cannot_be_prepared_says_why(
    desk: Desk, spoil: Callable[[Desk], object], complaint: str
) -> None:
    reference = desk.allocate("c", 2)
    spoil(desk)

    with pytest.raises(claim.ClaimError, match=complaint):
        await desk.preparation.prepare(reference)

    assert desk.cdi_devices() == {}


async def test_a_link_in_the_place_of_a_device_is_not_mounted(desk: Desk) -> None:
    reference = desk.allocate("c", 2)
    (desk.tree / "node2/dev3/2").rename(desk.tree / "away")
    (desk.tree / "node2/dev3/2").symlink_to("/")

    with pytest.raises(claim.ClaimError, match="its directory or its node is gone"):
        await desk.preparation.prepare(reference)


async def test_a_claim_without_a_device_of_ours_leaves_no_file(desk: Desk) -> None:
    reference = desk.allocate("c", a={"number": 1, "driver": "other.io"})

    prepared = await desk.preparation.prepare(reference)

    assert prepared.devices == ()
    assert not list(desk.state_dir.rglob("*.json"))
    assert desk.cdi_devices() == {}


def steps_of(monkeypatch: pytest.MonkeyPatch, kill_at: int) -> list[str]:
    """Count what touches a file system, and end the process at one of them; half of a write is done then."""
    counted: list[str] = []

    def wrap(owner: Any, name: str, label: str) -> None:
        original = getattr(owner, name)

        def step(*arguments: Any, **more: Any) -> Any:
            counted.append(label)
            if len(counted) >= kill_at:  # from then on nothing is done any more, no cleaning up either
                if name == "write" and len(counted) == kill_at:
                    original(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise Killed
            return original(*arguments, **more)

        monkeypatch.setattr(owner, name, step)

    wrap(os, "write", "write")
    wrap(os, "fsync", "fsync")
    wrap(Path, "replace", "rename")
    wrap(Path, "unlink", "unlink")
    return counted


@pytest.mark.parametrize("kill_at", range(1, 11))
async def test_a_kill_at_any_step_of_prepare_is_finished_by_the_next_call(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    reference = desk.allocate("c", 1, 2)
    with monkeypatch.context() as patch:
        steps_of(patch, kill_at)
        try:
            await desk.preparation.prepare(reference)
            killed = False
        except Killed:
            killed = True
    assert killed == (kill_at <= 8), "the steps of prepare: two files, each written, synced, renamed, synced"

    prepared = await desk.started().prepare(reference)

    assert sorted(desk.cdi_devices()) == [cdi_id for _, ids in desk.answer(prepared) for cdi_id in ids]
    await desk.started().unprepare(reference)
    assert desk.cdi_devices() == {}
    left = [path.name for place in (desk.state_dir, desk.cdi_dir) for path in place.rglob("*") if path.is_file()]
    assert left == [LOCK_FILE]


@pytest.mark.parametrize("kill_at", [1, 2])
async def test_a_kill_at_any_step_of_unprepare_is_finished_by_the_next_call(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    reference = desk.allocate("c", 1)
    await desk.preparation.prepare(reference)
    with monkeypatch.context() as patch:
        steps_of(patch, kill_at)
        with pytest.raises(Killed):
            await desk.preparation.unprepare(reference)

    await desk.started().unprepare(reference)

    assert desk.cdi_devices() == {}
    assert not desk.preparation.checkpoint.prepared


async def test_two_instances_see_what_the_other_has_done(desk: Desk) -> None:
    old, reference = desk.preparation, desk.allocate("c", 1)
    new = desk.started()
    await old.prepare(reference)

    with pytest.raises(claim.ClaimError, match="held by claim default/c"):
        await new.prepare(desk.allocate("other", 1))
    await new.unprepare(reference)

    await old.prepare(claim.Reference("default", "other", "uid-other"))


async def test_instances_take_turns(desk: Desk) -> None:
    old, reference = desk.preparation, desk.allocate("c", 1)
    new = desk.started()
    async with old._serialized():
        waiting = asyncio.create_task(new.prepare(reference))
        await asyncio.sleep(0.02)
        assert not desk.cdi_devices()
    await waiting


async def test_a_checkpoint_that_is_damaged_is_told_and_kept_and_hides_no_other(desk: Desk) -> None:
    kept = desk.allocate("kept", 1)
    await desk.preparation.prepare(kept)
    damaged = desk.state_dir / "claims" / "uid-damaged.json"
    damaged.write_text('{"version": 99}')

    with capture_logs() as lines:
        started = desk.started()

    assert [(line["event"], line["path"]) for line in lines] == [("checkpoint_unreadable", str(damaged))]
    assert set(started.checkpoint.prepared) == {"uid-kept"}
    assert damaged.exists()


async def test_half_written_files_of_a_process_that_was_killed_are_swept(desk: Desk) -> None:
    desk.cdi_dir.mkdir()
    ours = [
        desk.state_dir / "claims" / ".fakehw-x.json.1.tmp",
        desk.cdi_dir / ".fakehw-k8s.myplugin.io-claim_x.json.1.tmp",
    ]
    others = desk.cdi_dir / ".fakehw-k8s.other.io-claim_x.json.1.tmp"
    for path in (*ours, others):
        path.write_text("half")

    await desk.started().unprepare(claim.Reference("default", "c", "uid-c"))

    assert not any(path.exists() for path in ours)
    assert others.exists()


async def test_where_the_runtime_s_directory_is_read_only_claims_are_refused_with_the_reason_and_what_is_gone_is_gone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that is read-only refuses to remove what is not there, too."""
    prepared, other = desk.allocate("a", 1), desk.allocate("b", 2)
    await desk.preparation.prepare(prepared)
    real = Path.unlink, os.open

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.parent == desk.cdi_dir:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        real[0](path, missing_ok=missing_ok)

    def open_(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_CREAT and Path(path).parent == desk.cdi_dir:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real[1](path, flags, *rest, **more)

    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr(os, "open", open_)
    with pytest.raises(claim.ClaimError, match=r"default/b cannot be written down: .*Read-only"):
        await desk.preparation.prepare(other)
    with pytest.raises(claim.ClaimError, match=r"default/a cannot be taken back: .*Read-only"):
        await desk.preparation.unprepare(prepared)

    await desk.preparation.unprepare(other)  # whose file was never written
    assert set(desk.preparation.checkpoint.prepared) == {prepared.uid}
