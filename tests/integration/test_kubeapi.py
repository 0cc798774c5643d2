"""The API client against a server on a socket: what it sends, what it does about each kind of failure, TLS, watches."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess

import pytest

from kubeapi import credentials, errors, follow
from kubeapi.access import Access
from kubeapi.client import Client, Patch
from kubeapi.follow import EventType, Follow
from kubeapi.resources import NODES, PODS, RESOURCE_SLICES
from tests.kube_server import breaks_off, fails, hangs_until, kube_server, says, watch

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
async def server():
    async with kube_server() as running:
        yield running


@pytest.fixture
async def client(server):
    async with Client(server.access, retry_for_s=2.0) as entered:
        yield entered


def node(name, version, **more):
    return {"metadata": {"name": name, "resourceVersion": str(version)}, **more}


# One request.


async def test_each_verb_asks_what_the_api_has(server, client):
    server.answers = [says(body={"metadata": {"name": "n"}, "unknown": {"to": ["us"]}})]

    found = await client.get(NODES, "n")
    await client.list(PODS, field_selector="spec.nodeName=n", label_selector="a=b")
    await client.create(NODES, {"metadata": {"name": "n"}})
    await client.create(PODS, {"target": {}}, name="p", namespace="d", subresource="binding")
    await client.update(NODES, found, subresource="status")
    await client.patch(NODES, "n", {"spec": {}}, kind=Patch.STRATEGIC)
    await client.delete(PODS, "p", namespace="d", uid="u", grace_s=0, propagation="Orphan")
    await client.delete_collection(RESOURCE_SLICES, field_selector="spec.nodeName=n")
    await client.version()

    assert [(asked.method, asked.path) for asked in server.asked] == [
        ("GET", "/api/v1/nodes/n"),
        ("GET", "/api/v1/pods"),
        ("POST", "/api/v1/nodes"),
        ("POST", "/api/v1/namespaces/d/pods/p/binding"),
        ("PUT", "/api/v1/nodes/n/status"),
        ("PATCH", "/api/v1/nodes/n"),
        ("DELETE", "/api/v1/namespaces/d/pods/p"),
        ("DELETE", "/apis/resource.k8s.io/v1/resourceslices"),
        ("GET", "/version"),
    ]
    assert server.asked[1].query == {"fieldSelector": "spec.nodeName=n", "labelSelector": "a=b"}
    assert server.asked[2].body == {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}
    assert server.asked[3].body == {"target": {}}
    assert server.asked[4].body == {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n"},
        "unknown": {"to": ["us"]},
    }
    assert server.asked[5].headers["Content-Type"] == "application/strategic-merge-patch+json"
    assert server.asked[6].body == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": "u"},
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Orphan",
    }


async def test_a_collection_is_not_deleted_by_mistake(client):
    with pytest.raises(ValueError, match="without a selector"):
        await client.delete_collection(NODES)


async def test_the_answer_of_the_server_is_the_error(server, client):
    server.answers = [fails(409, 'nodes "n" already exists', "AlreadyExists")]

    with pytest.raises(errors.ConflictError, match='nodes "n" already exists') as raised:
        await client.create(NODES, {"metadata": {"name": "n"}})

    assert raised.value.already_exists
    assert len(server.asked) == 1


@pytest.mark.parametrize("first", [fails(429, **{"Retry-After": "0"}), fails(500), fails(503), breaks_off])
async def test_what_is_not_now_is_tried_again(server, client, first):
    server.answers = [first, first, says(body=node("n", 1))]

    assert (await client.patch(NODES, "n", {}))["metadata"]["name"] == "n"
    assert len(server.asked) == 3


async def test_the_pause_that_the_server_asks_for_is_kept(server):
    server.answers = [fails(429, **{"Retry-After": "1"}), says()]
    loop = asyncio.get_running_loop()
    async with Client(server.access) as client:
        began = loop.time()
        await client.get(NODES, "n")

        assert loop.time() - began >= 1.0


@pytest.mark.parametrize("first", [fails(500), breaks_off])
async def test_what_may_have_been_done_is_not_done_twice(server, client, first):
    server.answers = [first]

    with pytest.raises(errors.UnavailableError):
        await client.create(PODS, {"metadata": {"generateName": "p-"}}, namespace="d")
    with pytest.raises(errors.UnavailableError):
        await client.patch(NODES, "n", [{"op": "add", "path": "/a/-", "value": 1}], kind=Patch.JSON)

    assert len(server.asked) == 2


async def test_a_generated_name_is_tried_again_after_a_429(server, client):
    server.answers = [fails(429, **{"Retry-After": "0"}), says()]

    await client.create(PODS, {"metadata": {"generateName": "p-"}}, namespace="d")

    assert len(server.asked) == 2


async def test_a_server_that_is_away_is_an_error_once_the_time_is_over():
    async with kube_server() as gone:
        pass
    async with Client(gone.access, retry_for_s=0.2) as client:
        with pytest.raises(errors.UnavailableError, match=r"127\.0\.0\.1") as raised:
            await client.get(NODES, "n")

    assert not raised.value.may_have_acted


async def test_a_server_that_does_not_answer_is_an_error_too(server, client):
    release = asyncio.Event()
    server.answers = [hangs_until(release)]

    with pytest.raises(errors.UnavailableError):
        await client.get(NODES, "n", timeout_s=0.1, retry_for_s=0)
    release.set()


async def test_something_else_than_an_api_server_is_an_error(server, client):
    server.answers = [says(body=["no", "object"])]

    with pytest.raises(errors.UnavailableError, match="answered no object"):
        await client.get(NODES, "n", retry_for_s=0)


async def test_a_token_that_was_replaced_is_read_again_when_it_is_refused(server, tmp_path):
    token = tmp_path / "token"
    token.write_text("old")
    async with Client(Access(server.url, token_file=token)) as client:
        server.answers = [says()]
        await client.get(NODES, "n")
        token.write_text("new")
        server.answers = [fails(401, "Unauthorized"), says()]
        await client.get(NODES, "n")

    bearers = [asked.headers["Authorization"] for asked in server.asked]
    assert bearers == ["Bearer old", "Bearer old", "Bearer new"]


async def test_a_token_that_stays_refused_is_an_error(server, client):
    server.answers = [fails(401, "Unauthorized")]

    with pytest.raises(errors.UnauthorizedError):
        await client.get(NODES, "n")

    assert len(server.asked) == 2


async def test_a_lane_does_not_wait_for_another(server):
    release = asyncio.Event()
    server.answers = [hangs_until(release), says()]
    async with Client(server.access, connections=1) as client, client.lane(connections=1) as leases:
        stuck = asyncio.create_task(client.get(NODES, "slow"))
        async with asyncio.timeout(5):
            while not server.asked:
                await asyncio.sleep(0.001)
        waiting = asyncio.create_task(client.get(NODES, "behind"))

        await leases.get(NODES, "lease")

        assert not waiting.done()
        assert [asked.path[-5:] for asked in server.asked] == ["/slow", "lease"]
        release.set()
        await asyncio.gather(stuck, waiting)


# TLS.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Make an authority, a server's certificate for 127.0.0.1 and a client's, with the system's openssl."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=30)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca")
    for name in ("server", "client"):
        (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:kubernetes")
        openssl("req", *key[:5], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.crt",
        )  # fmt: skip
    return folder


@pytest.fixture
async def tls_server(certificates):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13 asks more of certificates than an API server does
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    async with kube_server(tls=context) as running:
        running.answers = [says(body=node("n", 1))]
        yield running


def trusting(server, certificates, **more):
    how = {
        "ca": certificates / "ca.crt",
        "certificate": certificates / "client.crt",
        "key": (certificates / "client.key").read_bytes(),
    }
    return Access(server.url, **{**how, **more})


@pytest.mark.parametrize("more", [{}, {"tls_server_name": "kubernetes"}, {"ca": None, "is_insecure": True}])
async def test_a_server_is_trusted_by_its_authority_and_we_by_our_certificate(tls_server, certificates, more):
    async with Client(trusting(tls_server, certificates, **more)) as client:
        assert await client.get(NODES, "n") == node("n", 1)


@pytest.mark.parametrize("more", [{"ca": None}, {"tls_server_name": "other"}])
async def test_a_server_that_is_not_trusted_is_refused_at_once(tls_server, certificates, more):
    async with Client(trusting(tls_server, certificates, **more)) as client:
        with pytest.raises(errors.AccessError):
            await client.get(NODES, "n")

    assert not tls_server.asked


async def test_a_certificate_that_was_renewed_is_used(certificates, tls_server, tmp_path):
    renewed = tmp_path / "client.crt"
    renewed.write_text("not yet")
    access = trusting(tls_server, certificates, certificate=renewed)
    async with Client(access) as client:
        with pytest.raises(errors.AccessError):
            await client.get(NODES, "n")
        renewed.write_bytes((certificates / "client.crt").read_bytes())

        assert await client.get(NODES, "n") == node("n", 1)


async def test_a_context_is_kept_while_its_files_say_the_same(certificates):
    now = 0.0
    access = Access("https://c", ca=certificates / "ca.crt")
    source = credentials.Credentials(access, clock=lambda: now)

    first = await source.current()
    now = 2 * credentials.REREAD_S
    second = await source.current()

    assert second is not first
    assert second.ssl is first.ssl


# Watches.


class Seen:
    """What a Follow told, and its failures."""

    def __init__(self):
        self.events, self.failures, self.changed = [], [], asyncio.Condition()
        self._happened = asyncio.Event()

    def event(self, event):
        self.events.append((event.type.value, event.object.get("metadata", {}).get("name", "")))
        self._happened.set()

    def failure(self, error):
        self.failures.append(error)
        self._happened.set()

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                self._happened.clear()
                await self._happened.wait()


@contextlib.asynccontextmanager
async def following(client, seen, **how):
    followed = Follow(client, NODES, on_event=seen.event, on_error=seen.failure, **how)
    task = asyncio.create_task(followed.run())
    try:
        yield followed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def event(kind, found):
    return {"type": kind, "object": found}


def bookmark(version, *, ends_list=False):
    metadata = {"resourceVersion": str(version)}
    if ends_list:
        metadata["annotations"] = {follow.INITIAL_EVENTS_END: "true"}
    return event("BOOKMARK", {"metadata": metadata})


NO_STREAMED_LISTS = fails(422, "sendInitialEvents is forbidden", "Invalid")
OLD_ETCD = fails(500, "the required storage feature RequestWatchProgress is disabled", "InternalError")


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def forever():
    return asyncio.Event()


async def test_a_list_is_streamed_and_then_followed(server, client, seen, forever):
    events = [event("ADDED", node("a", 1)), bookmark(5, ends_list=True), event("MODIFIED", node("a", 6))]
    server.answers = [watch(*events, event("DELETED", node("a", 7)), until=forever)]
    async with following(client, seen, field_selector="x=y") as followed:
        await seen.until(lambda: len(seen.events) == 4)

        assert seen.events == [("ADDED", "a"), ("SYNCED", ""), ("MODIFIED", "a"), ("DELETED", "a")]
        assert followed.is_synced
        assert not followed.objects
        forever.set()
    query = server.asked[0].query
    assert (query["sendInitialEvents"], query["resourceVersionMatch"], query["fieldSelector"]) == (
        "true",
        "NotOlderThan",
        "x=y",
    )
    assert "resourceVersion" not in query


@pytest.mark.parametrize("refusal", [NO_STREAMED_LISTS, OLD_ETCD])
async def test_a_server_that_streams_no_lists_is_asked_for_one(server, client, seen, forever, refusal):
    found = {"metadata": {"resourceVersion": "9"}, "items": [node("a", 1)]}
    server.answers = [refusal, says(body=found), watch(event("ADDED", node("b", 10)), until=forever)]
    async with following(client, seen):
        await seen.until(lambda: len(seen.events) == 3)
        forever.set()

    assert seen.events == [("ADDED", "a"), ("SYNCED", ""), ("ADDED", "b")]
    assert server.asked[2].query["resourceVersion"] == "9"
    assert not seen.failures


async def test_a_watch_that_ends_goes_on_where_it_ended(server, client, seen, forever):
    first = watch(bookmark(5, ends_list=True), event("ADDED", node("a", 6)), bookmark(8))
    server.answers = [first, watch(event("MODIFIED", node("a", 9)), until=forever)]
    async with following(client, seen):
        await seen.until(lambda: ("MODIFIED", "a") in seen.events)
        forever.set()

    assert server.asked[1].query["resourceVersion"] == "8"
    assert "sendInitialEvents" not in server.asked[1].query


@pytest.mark.parametrize(
    "lost", [watch(event("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})), fails(410, "too old")]
)
async def test_what_changed_while_the_place_was_lost_is_told(server, client, seen, forever, lost):
    first = watch(*(event("ADDED", node(name, 1)) for name in "abc"), bookmark(5, ends_list=True))
    again = [event("ADDED", found) for found in (node("b", 1), node("c", 8), node("d", 8))]
    server.answers = [first, lost, watch(*again, bookmark(9, ends_list=True), until=forever)]
    async with following(client, seen) as followed:
        await seen.until(lambda: seen.events.count(("SYNCED", "")) == 2)

        assert seen.events[4:] == [("DELETED", "a"), ("MODIFIED", "c"), ("ADDED", "d"), ("SYNCED", "")]
        assert sorted(name for _, name in followed.objects) == ["b", "c", "d"]
        forever.set()
    assert [type(failure) for failure in seen.failures] == [errors.GoneError]


@pytest.mark.parametrize(
    "broken",
    [
        watch(event("ADDED", node("b", 5)), breaks=True),
        fails(500),
        fails(403),
        watch(event("ADDED", {})),
        watch(event("ERROR", {"code": 500, "message": "etcd"})),
    ],
)
async def test_a_watch_that_breaks_is_begun_again_and_told(server, client, seen, forever, broken):
    synced = watch(bookmark(5, ends_list=True))
    server.answers = [synced, broken, watch(event("ADDED", node("a", 6)), until=forever)]
    async with following(client, seen):
        await seen.until(lambda: ("ADDED", "a") in seen.events)
        forever.set()

    assert len(seen.failures) == 1
    assert server.asked[2].query["resourceVersion"] == "5"


async def test_a_streamed_list_that_breaks_off_is_not_taken_for_whole(server, client, seen, forever):
    server.answers = [
        watch(event("ADDED", node("a", 1))),
        watch(event("ADDED", node("b", 1)), bookmark(5, ends_list=True), until=forever),
    ]
    async with following(client, seen) as followed:
        await seen.until(lambda: followed.is_synced)
        forever.set()

    assert seen.events == [("ADDED", "b"), ("SYNCED", "")]


async def test_an_object_of_megabytes_is_one_event(server, client, seen, forever):
    large = node("a", 1, text="x" * 3_000_000)
    server.answers = [watch(event("ADDED", large), bookmark(5, ends_list=True), until=forever)]
    async with following(client, seen, keep=lambda found: {"metadata": found["metadata"]}) as followed:
        await seen.until(lambda: followed.is_synced)

        assert len(json.dumps(followed.objects["", "a"])) < 100
        forever.set()


async def test_a_watch_that_dies_without_a_word_is_begun_again(server, client, seen, forever, monkeypatch):
    monkeypatch.setattr(follow, "SILENCE_S", 0.1)
    server.answers = [watch(bookmark(5, ends_list=True), until=forever)]
    async with following(client, seen):
        await seen.until(lambda: bool(seen.failures))
        forever.set()

    assert isinstance(seen.failures[0], errors.UnavailableError)


async def test_watches_that_end_at_once_do_not_follow_each_other_without_a_pause(server, client, seen):
    server.answers = [watch(bookmark(5, ends_list=True))]
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with following(client, seen):
        async with asyncio.timeout(10):
            while len(server.asked) < 5:
                await asyncio.sleep(0.01)

    assert loop.time() - began > 0.025 + 0.05 + 0.1 + 0.2
    assert EventType.SYNCED in {kind for kind, _ in seen.events}
