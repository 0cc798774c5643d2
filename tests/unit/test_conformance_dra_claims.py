"""The claims of the kit for DRA drivers: which it makes, in which order it asks, what a runtime makes of the answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from fakekubelet.apiserver.server import ApiServer
from fakekubelet.conformance.dra import claims, drive
from fakekubelet.conformance.dra.evidence import Entry, Exchange, Prepared
from fakekubelet.dra import cdi
from fakekubelet.kubelet import call_log
from kubeletapi.dra.v1 import api_pb2 as v1
from tests.kit_bench import DRIVER, Bench, answered, taint

A, B, C, D = (("p", name) for name in "abcd")


class Calls:
    """The calls of a bench to its driver; answers by purpose."""

    def __init__(self, bench, monkeypatch):
        self.bench, self.answers = bench, {}
        monkeypatch.setattr(claims.drive, "prepare", self.calling("prepare"))
        monkeypatch.setattr(claims.drive, "unprepare", self.calling("unprepare"))

    def calling(self, method):
        async def call(client, purpose, asked, limit_s):
            assert (client, limit_s) == ("the client", 1.5)
            told = [f"{claim.namespace}/{claim.name} {claim.uid}" for claim in asked]
            self.bench.log.append((method, purpose, told))
            return self.answers.get(purpose, Exchange(purpose, method, tuple(claim.uid for claim in asked), {}))

        return call


@pytest.fixture
def bench(monkeypatch):
    made = Bench()
    made.calls = Calls(made, monkeypatch)
    return made


def of(name):
    return f"default/{name} uid-{name}"


def no_uid(number):
    return f"00000000-0000-4000-8000-00000000000{number}"


MISSING, UNKNOWN = f"default/conformance-missing {no_uid(1)}", f"default/conformance-unknown {no_uid(3)}"


def transcript(first, second, *, single=False):
    freed = [("unprepare", "freed", [of("c1")])] if single else []
    return [
        ("prepare", "no claims", []),
        ("make", "c1", [first], {"with_stranger": True}),
        ("prepare", "first", [of("c1")]),
        ("prepare", "again", [of("c1")]),
        ("make", "c2", second, {}),
        *freed,
        ("prepare", "one good, one bad", [of("c2"), MISSING]),
        ("unprepare", "second", [of("c2")]),
        ("prepare", "replaced", [f"default/c2 {no_uid(2)}"]),
        ("make", "c3", [], {"is_allocated": False}),
        ("prepare", "unallocated", [of("c3")]),
        ("unprepare", "first unprepared", [of("c1")]),
        ("make", "c4", [first], {"request": "alternatives/first"}),
        ("prepare", "alternative", [of("c4")]),
        ("delete", "c4"),
        ("unprepare", "object deleted", [of("c4")]),
        ("unprepare", "unknown", [UNKNOWN]),
    ]


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ({}, []),
        ({A: taint(), B: {"allowMultipleAllocations": True}}, []),
        ({A: {}}, transcript(A, [A], single=True)),
        ({A: {}, B: {}}, transcript(A, [B])),
        ({A: taint(), B: {}, C: {}, D: {}}, transcript(B, [C, D])),
        ({A: {}, B: {}, C: {}, D: {}}, transcript(A, [B, C])),
    ],
)
async def test_every_call_is_made_that_a_check_reads(bench, devices, expected):
    bench.slices.now = devices

    await claims.try_all(bench)

    assert bench.log == expected
    calls = [entry for entry in expected if entry[0] in ("prepare", "unprepare")]
    assert [exchange.purpose for exchange in bench.seen.exchanges] == [purpose for _, purpose, _ in calls]


async def test_a_runtime_reads_what_the_answers_name_and_files_that_are_left_are_looked_for(bench):
    bench.slices.now = {A: {}, B: {}}
    names = ("first", "again", "one good, one bad", "replaced", "unallocated", "alternative")
    bench.calls.answers = {name: answered(name, A) for name in names}
    spec = SimpleNamespace(kind="v/c", devices={"d": {}, "uid-c2": {}}, path=Path("/c/f.json"))
    other = SimpleNamespace(kind="v/c", devices={"d": {}, "uid-c3": {}}, path=Path("/c/g.json"))
    bench.dra.cdi.specs = lambda: ([spec, other], [])

    await claims.try_all(bench)

    assert list(bench.seen.cdi_edits) == ["first", "again", "one good, one bad", "alternative"]
    assert bench.seen.cdi_edits["first"] == {"v/c=d": "edits of v/c=d"}
    assert bench.seen.cdi_left == ["f.json"], "of the second claim; the third was never allocated"


async def test_where_nobody_is_registered_any_more_nobody_is_called(bench):
    bench.client = None
    claim = v1.Claim(namespace="default", name="c", uid="u")

    prepared = await claims.prepare(bench, "first", [claim], runtime=True)
    unprepared = await claims.unprepare(bench, "second", [claim])

    text = "the driver is not registered any more"
    assert prepared == Exchange("first", "NodePrepareResources", ("u",), None, text)
    assert unprepared == Exchange("second", "NodeUnprepareResources", ("u",), None, text)
    assert bench.seen.exchanges == [prepared, unprepared]
    assert (bench.log, bench.seen.cdi_edits) == ([], {})


async def test_a_claim_that_was_refused_is_of_no_interest_to_a_runtime(bench):
    bench.calls.answers = {"first": answered("first", A, error="no"), "second": answered("second", A)}

    await claims.prepare(bench, "first", [], runtime=True)
    await claims.prepare(bench, "second", [])

    assert bench.seen.cdi_edits == {}


async def test_files_that_are_none_and_ids_that_nobody_describes_are_noted(bench):
    def inject(ids):
        (cdi_id,) = ids
        if cdi_id.endswith("gone"):
            raise cdi.CdiError(f"{cdi_id}: no such")
        return f"edits of {cdi_id}"

    bench.seen.cdi_problems = ["known"]
    bench.dra.cdi.inject, bench.dra.cdi.specs = inject, lambda: ([], ["known", "new"])
    bench.calls.answers = {"first": answered("first", A, B, ids=("v/c=a", "v/c=gone", "v/c=b"))}

    await claims.prepare(bench, "first", [], runtime=True)

    assert bench.seen.cdi_edits == {"first": {"v/c=a": "edits of v/c=a", "v/c=b": "edits of v/c=b"}}
    assert bench.seen.cdi_unresolvable == {"first": "v/c=gone: no such"}
    assert bench.seen.cdi_problems == ["known", "new"]


@pytest.mark.parametrize(
    ("name", "ids", "left"),
    [
        ("x-uid-1.json", ["d"], True), ("x.json", ["d", "uid-1"], True), ("x.json", ["d"], False), ("uid-1.json", ["e"], False),
        ("x-uid-2.json", ["d"], True), ("uid-3.json", ["d"], False),
    ],
)  # fmt: skip  # a table
def test_a_file_is_left_if_it_is_of_a_claim_and_of_the_driver(bench, name, ids, left):
    spec = SimpleNamespace(kind="v/c", devices=dict.fromkeys(ids), path=Path("/c") / name)
    bench.dra.cdi.specs = lambda: ([spec], [])
    bench.seen.cdi_edits = {"first": {"v/c=d": 1}, "second": {}}

    claims.look_for_left_files(bench, ["uid-1", "uid-2"])

    assert bench.seen.cdi_left == ([name] if left else [])


# -- the claims themselves --------------------------------------------------------------------------------------------


@pytest.fixture
def made():
    api = ApiServer("1.36")
    making = drive.Claims(api)
    making.driver = DRIVER
    return api, making


def result(device, request="req-0"):
    return {"request": request, "driver": DRIVER, "pool": "p", "device": device}


def test_a_claim_is_allocated_as_a_scheduler_would_and_reserved(made):
    api, making = made
    claim = making.make([A, B])
    exactly = {"deviceClassName": "conformance", "count": 2, "allocationMode": "ExactCount"}

    assert claim["metadata"]["name"] == "conformance-1"
    assert claim["spec"] == {"devices": {"requests": [{"name": "req-0", "exactly": exactly}]}}
    assert claim["status"] == {
        "allocation": {"devices": {"results": [result("a"), result("b")]}},
        "reservedFor": [{"resource": "pods", "name": "conformance", "uid": claim["metadata"]["uid"]}],
    }  # fmt: skip  # as the server has it
    assert api.find("resourceclaims", "conformance-1") == claim
    assert making.make([])["metadata"]["name"] == "conformance-2"
    making.delete(claim)
    assert api.find("resourceclaims", "conformance-1") is None


def test_a_claim_may_have_a_strangers_device_too(made):
    claim = made[1].make([A], with_stranger=True)

    assert [(one["name"], one["exactly"]["deviceClassName"]) for one in claim["spec"]["devices"]["requests"]] == [
        ("req-0", "conformance"), ("stranger", "conformance"),
    ]  # fmt: skip  # two requests
    assert claim["status"]["allocation"]["devices"]["results"] == [
        result("a"),
        {"request": "stranger", "driver": "another-driver.example.com", "pool": "elsewhere", "device": "stranger-0"},
    ]


def test_a_claim_may_have_an_alternative_or_no_allocation(made):
    alternative = made[1].make([A], request="alternatives/first")
    free = made[1].make([], is_allocated=False)

    (asked,) = alternative["spec"]["devices"]["requests"]
    assert (asked["name"], "exactly" in asked) == ("alternatives", False)
    (first,) = asked["firstAvailable"]
    assert (first["name"], first["count"], first["deviceClassName"]) == ("first", 1, "conformance")
    assert alternative["status"]["allocation"]["devices"]["results"] == [result("a", "alternatives/first")]
    assert not free.get("status")
    assert free["spec"]["devices"]["requests"][0]["exactly"]["count"] == 1


def test_a_kubelet_tells_of_a_claim_by_name_and_uid():
    claim = {"metadata": {"namespace": "lab", "name": "c", "uid": "u"}}

    assert drive.told(claim) == v1.Claim(namespace="lab", name="c", uid="u")
    assert drive.told(claim, uid="other").uid == "other"


class Client:
    """A driver's answers."""

    def __init__(self, reply=None, error=None):
        self.reply, self.error, self.asked = reply, error, []

    async def prepare(self, asked):
        return await self._answer("prepare", asked)

    async def unprepare(self, asked):
        return await self._answer("unprepare", asked)

    async def _answer(self, method, asked):
        self.asked.append((method, asked))
        if self.error is not None:
            raise self.error
        if self.reply is None:
            await asyncio.sleep(5)
        return self.reply


CLAIMS = [v1.Claim(namespace="default", name=name, uid=f"uid-{name}") for name in "ab"]
UIDS = ("uid-a", "uid-b")


def within_time(exchange):
    assert 0 <= exchange.duration_s < 5
    return exchange.purpose, exchange.method, exchange.asked, exchange.entries, exchange.error


async def test_an_answer_is_kept_claim_by_claim_and_device_by_device():
    device = v1.Device(request_names=["r", "s"], pool_name="p", device_name="d", cdi_device_ids=["v/c=d", "v/c=e"])
    reply = v1.NodePrepareResourcesResponse(claims={
        "uid-a": v1.NodePrepareResourceResponse(devices=[device]), "uid-b": v1.NodePrepareResourceResponse(error="no"),
    })  # fmt: skip  # by UID
    client = Client(reply)

    exchange = await drive.prepare(client, "first", CLAIMS, 1.0)

    assert within_time(exchange) == (
        "first", "NodePrepareResources", UIDS,
        {"uid-a": Entry("", (Prepared("p", "d", ("r", "s"), ("v/c=d", "v/c=e")),)), "uid-b": Entry("no")}, "",
    )  # fmt: skip  # all of it
    assert client.asked == [("prepare", CLAIMS)]


async def test_an_answer_to_unpreparing_has_errors_only():
    reply = v1.NodeUnprepareResourcesResponse(claims={"uid-a": v1.NodeUnprepareResourceResponse(error="busy")})
    client = Client(reply)

    exchange = await drive.unprepare(client, "second", CLAIMS, 1.0)

    assert within_time(exchange) == ("second", "NodeUnprepareResources", UIDS, {"uid-a": Entry("busy")}, "")
    assert client.asked == [("unprepare", CLAIMS)]


@pytest.mark.parametrize("call", [drive.prepare, drive.unprepare])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "no answer in time"),
        (call_log.RpcError.deadline(), "no answer in time"),
        (call_log.RpcError(grpc.StatusCode.INTERNAL, "oh dear"), "rpc error: code = Internal desc = oh dear"),
    ],
)
async def test_a_call_that_fails_or_takes_too_long_has_no_entries(call, error, said):
    exchange = await call(Client(error=error), "first", CLAIMS, 0.01)

    assert within_time(exchange)[3:] == (None, said)
