"""The HTTP of the fake API server: paths, verbs, bodies, headers, whole answers; and what its owner does with it."""

import asyncio
import io
import json
import re
import socket
import time

import aiohttp
import pytest

from fakekubelet.apiserver import faults, kinds
from fakekubelet.apiserver.server import ApiServer
from tests.unit.test_apiserver_values import envelope, message

GROUP = "/apis/resource.k8s.io/v1"
SLICES, CLASSES = f"{GROUP}/resourceslices", f"{GROUP}/deviceclasses"
CLAIMS = f"{GROUP}/namespaces/ns/resourceclaims"
PODS, MAPS = "/api/v1/namespaces/ns/pods", "/api/v1/namespaces/ns/configmaps"
JSON, MERGE, APPLY = "application/json", "application/merge-patch+json", "application/apply-patch+yaml"


@pytest.fixture
async def api():
    async with ApiServer(older_versions=True) as running:
        yield running


class Client:
    """Asks, and tells status, document or text, and headers."""

    def __init__(self, session):
        self._session = session

    async def __call__(self, method, path, body=None, content_type=JSON, *, headers=(), **params):
        content = body if isinstance(body, bytes | io.BytesIO) or body is None else json.dumps(body).encode()
        sent = {**({"Content-Type": content_type} if content_type and content is not None else {}), **dict(headers)}
        async with self._session.request(method, path, data=content, headers=sent, params=params) as response:
            text = await response.text()
            self.headers = response.headers
            return response.status, json.loads(text) if response.content_type == JSON and text else text


@pytest.fixture
async def ask(api):
    async with aiohttp.ClientSession(api.url) as session:
        yield Client(session)


def said(answer):
    return answer[0], answer[1]["message"]


A_SLICE = {
    "metadata": {"name": "s"},
    "spec": {"driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "a"}]},
}  # fmt: skip


# -- paths --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        ("GET", "/api/v1/nodes", ("list", "nodes", "v1", "", "", "")), ("GET", "/api/v1/nodes/n", ("get", "nodes", "v1", "", "n", "")),
        ("GET", "/api/v1/nodes/?watch=1&timeoutSeconds=0.01", ("watch", "nodes", "v1", "", "", "")),
        ("GET", "/api/v1/nodes?watch=true&timeoutSeconds=0.01", ("watch", "nodes", "v1", "", "", "")),
        ("GET", "/api/v1/nodes?watch=0", ("list", "nodes", "v1", "", "", "")),
        ("GET", "/api/v1/nodes/n?watch=1&timeoutSeconds=0.01", ("watch", "nodes", "v1", "", "n", "")),
        ("HEAD", "/api/v1/nodes", ("list", "nodes", "v1", "", "", "")), ("HEAD", "/api/v1/nodes/n", ("get", "nodes", "v1", "", "n", "")),
        ("POST", "/api/v1/nodes", ("create", "nodes", "v1", "", "", "")), ("PUT", "/api/v1/nodes/n", ("update", "nodes", "v1", "", "n", "")),
        ("PUT", "/api/v1/nodes/n/status", ("update", "nodes", "v1", "", "n", "status")),
        ("PATCH", "/api/v1/nodes/n/status", ("patch", "nodes", "v1", "", "n", "status")), ("PATCH", "/api/v1/nodes/n", ("patch", "nodes", "v1", "", "n", "")),
        ("DELETE", "/api/v1/nodes/n", ("delete", "nodes", "v1", "", "n", "")), ("DELETE", "/api/v1/nodes", ("deletecollection", "nodes", "v1", "", "", "")),
        ("GET", "/api/v1/namespaces", ("list", "namespaces", "v1", "", "", "")), ("GET", "/api/v1/namespaces/ns", ("get", "namespaces", "v1", "", "ns", "")),
        ("GET", "/api/v1/namespaces/ns/status", ("get", "namespaces", "v1", "", "ns", "status")),
        ("GET", "/api/v1/namespaces/ns/pods", ("list", "pods", "v1", "ns", "", "")), ("GET", "/api/v1/pods", ("list", "pods", "v1", "", "", "")),
        ("GET", "/api/v1/namespaces/ns/pods/p/status", ("get", "pods", "v1", "ns", "p", "status")),
        ("POST", "/api/v1/namespaces/ns/pods/p/binding", ("create", "pods", "v1", "ns", "p", "binding")),
        ("POST", "/api/v1/namespaces/ns/pods/p/eviction", ("create", "pods", "v1", "ns", "p", "eviction")),
        ("GET", f"{SLICES}/s", ("get", "resourceslices", "v1", "", "s", "")),
        ("GET", "/apis/resource.k8s.io/v1beta1/resourceslices", ("list", "resourceslices", "v1beta1", "", "", "")),
        ("GET", f"{CLAIMS}/c/status", ("get", "resourceclaims", "v1", "ns", "c", "status")),
    ],
)  # fmt: skip
async def test_a_path_and_a_method_ask_for_one_thing(api, ask, method, path, asked):
    before = time.monotonic()
    await ask(method, path, {} if method in ("POST", "PUT", "PATCH") else None, headers={"User-Agent": "me"})

    (request,) = api.requests
    assert (
        request.verb,
        request.kind.plural,
        request.version,
        request.namespace,
        request.name,
        request.subresource,
    ) == asked
    assert (request.user_agent, request.user, request.field_selector) == ("me", "", "")
    assert before <= request.at <= time.monotonic()


@pytest.mark.parametrize(
    "path",
    [
        "/", "/api/v1", "/nodes", "/api/v2/nodes", "/api/v1/gadgets", "/api/v1/nodes/n/scale", "/api/v1/nodes/n/binding", "/api/v1/nodes/n/status/x",
        "/api/v1/namespaces/ns/gadgets", "/api/v1/namespaces/ns/pods/p/q/r", "/api/v1/configmaps/m/status", f"{SLICES}/s/status", f"{CLASSES}/c/eviction",
        "/apis/gadgets.example.com/v1/a", "/apis/resource.k8s.io/v1alpha3/resourceslices", "/openapi/v1/x/y", "/api/v1/namespaces/ns/finalize/x",
    ],
)  # fmt: skip
async def test_what_is_nowhere_is_not_found(api, ask, path):
    method = "GET" if path != "/api/v1" else "POST"

    assert said(await ask(method, path)) == (404, "the server could not find the requested resource")
    assert list(api.requests) == []


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/api/v1/nodes"), ("PATCH", "/api/v1/nodes"), ("POST", "/api/v1/nodes/n"), ("OPTIONS", "/api/v1/nodes"), ("TRACE", "/api/v1/nodes/n")]
)  # fmt: skip
async def test_a_method_that_a_path_has_not_is_not_allowed(api, ask, method, path):
    code, document = await ask(method, path, {})

    assert (code, document["reason"], document["message"]) == (
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource",
    )  # fmt: skip


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
async def test_it_says_that_it_is_well(ask, path):
    assert await ask("GET", path) == (200, "ok")


async def test_documents_about_itself_are_read_and_not_written(ask):
    code, document = await ask("GET", GROUP)

    assert (code, document["kind"], document["groupVersion"]) == (200, "APIResourceList", "resource.k8s.io/v1")
    assert (await ask("DELETE", "/version"))[0] == 404
    assert (await ask("GET", "/version"))[1]["gitVersion"] == "v1.36.0+fakehw"


# -- answers ------------------------------------------------------------------------------------------------------------


async def test_objects_come_as_the_version_shows_them(api, ask):
    code, made = await ask("POST", SLICES, A_SLICE)
    assert code == 201
    assert made == {**api.find("resourceslices", "s"), "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice"}
    assert await ask("GET", f"{SLICES}/s") == (200, made)
    assert ask.headers["Content-Type"] == "application/json"

    old = {
        **made,
        "apiVersion": "resource.k8s.io/v1beta1",
        "spec": {**made["spec"], "devices": [{"name": "a", "basic": {}}]},
    }
    path = f"{SLICES.replace('/v1/', '/v1beta1/')}/s"
    assert await ask("GET", path) == (200, old)
    old["spec"]["devices"][0]["basic"] = {"attributes": {"x": {"int": 1}}}
    code, changed = await ask("PUT", path, old)
    assert (code, changed["spec"]["devices"], changed["apiVersion"]) == (
        200,
        old["spec"]["devices"],
        "resource.k8s.io/v1beta1",
    )
    patch = {"spec": {"devices": [{"name": "b", "basic": {"attributes": {"x": {"int": 2}}}}]}}
    code, changed = await ask("PATCH", path, patch, MERGE)
    assert (code, changed["spec"]["devices"]) == (200, patch["spec"]["devices"])
    assert api.find("resourceslices", "s")["spec"]["devices"] == [{"name": "b", "attributes": {"x": {"int": 2}}}]


async def test_an_object_is_read_at_a_version_that_there_is(api, ask):
    await ask("POST", CLASSES, {"metadata": {"name": "c"}})

    assert (await ask("GET", f"{CLASSES}/c", resourceVersion="1001"))[0] == 200
    assert (await ask("GET", f"{CLASSES}/c", resourceVersion="rubbish"))[0] == 200
    assert said(await ask("GET", f"{CLASSES}/c", resourceVersion="1002")) == (
        504,
        "Too large resource version: 1002, current: 1001",
    )
    assert ask.headers["Retry-After"] == "1"
    assert said(await ask("GET", f"{CLASSES}/d")) == (404, 'deviceclasses.resource.k8s.io "d" not found')
    assert "Retry-After" not in ask.headers


async def test_a_dry_run_is_answered_and_not_done(api, ask):
    assert (await ask("POST", CLASSES, {"metadata": {"name": "c"}}, dryRun="All"))[0] == 201
    assert api.all("deviceclasses") == []
    await ask("POST", CLASSES, {"metadata": {"name": "c"}}, dryRun="")
    before = api.find("deviceclasses", "c")
    for method, body, content_type in (
        ("PUT", {"metadata": {"name": "c", "labels": {"a": "b"}}}, JSON), ("PATCH", {"metadata": {"labels": {"a": "b"}}}, MERGE),
    ):  # fmt: skip
        code, document = await ask(method, f"{CLASSES}/c", body, content_type, dryRun="All")
        assert (code, document["metadata"]["labels"]) == (200, {"a": "b"})
    assert (await ask("DELETE", f"{CLASSES}/c", dryRun="All"))[0] == 200
    assert api.find("deviceclasses", "c") is before


async def test_fields_nobody_knows_and_fields_twice_are_warned_of_or_refused_or_ignored(ask):
    body = b'{"metadata": {"name": "c", "name": "d"}, "spec": {"a\\"b": [1], "config": [{"x": 1, "x": 2}]}}'
    unknown = [f'unknown field "spec.{name}"' for name in ('a"b', "config[0].x")]
    twice = ['duplicate field "metadata.name"', 'duplicate field "spec.config[0].x"']
    body = body.replace(b'"config"', b'"selectors": [], "x": [[{"y": {"z": 1, "z": 2}}]], "config"').replace(
        b', "config": [{"x": 1, "x": 2}]', b""
    )
    twice[1] = 'duplicate field "spec.x[0][0].y.z"'
    unknown[1] = 'unknown field "spec.x"'

    code, _ = await ask("POST", CLASSES, body)
    assert code == 201
    assert [text.replace('\\"', '"') for text in ask.headers.getall("Warning")] == [
        f'299 - "{text}"' for text in (*twice, *unknown)
    ]
    code, _ = await ask("PUT", f"{CLASSES}/d", body, fieldValidation="Ignore")
    assert (code, ask.headers.getall("Warning", [])) == (200, [])
    answer = await ask("PUT", f"{CLASSES}/d", body, fieldValidation="Strict")
    text = f'DeviceClass in version "v1" cannot be handled as a DeviceClass: strict decoding error: {", ".join((*twice, *unknown))}'
    assert said(answer) == (400, text)
    code, _ = await ask("PUT", f"{CLASSES}/d", {"metadata": {"name": "d"}}, fieldValidation="Strict")
    assert (code, ask.headers.getall("Warning", [])) == (200, [])


async def test_a_patch_after_a_write_that_ignored_warns_of_its_own(ask):
    await ask("POST", CLASSES, {"metadata": {"name": "c"}, "spec": {"x": 1}}, fieldValidation="Ignore")
    await ask("POST", CLASSES, {"metadata": {"name": "d"}, "spec": {"x": 1}})

    await ask("PATCH", f"{CLASSES}/c", {"spec": {"y": 1}}, MERGE)

    assert ask.headers.getall("Warning") == ['299 - "unknown field \\"spec.y\\""']


async def test_another_kind_or_version_in_the_body_is_refused(ask):
    def text(kind, version):
        return f'{kind} in version "{version}" cannot be handled as a DeviceClass of resource.k8s.io/v1'

    assert said(await ask("POST", CLASSES, {"kind": "Pod"})) == (400, text("Pod", "resource.k8s.io/v1"))
    assert said(await ask("POST", CLASSES, {"apiVersion": "v1"})) == (400, text("DeviceClass", "v1"))
    assert said(await ask("POST", MAPS, {"apiVersion": "v2"})) == (
        400,
        'ConfigMap in version "v2" cannot be handled as a ConfigMap of v1',
    )
    assert (await ask("POST", MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}}))[0] == 201


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "code", "text"),
    [
        ("POST", CLASSES, b"{", JSON, 400, "the request body is not JSON: "), ("POST", CLASSES, b"[" * 200_000, JSON, 400, "the request body is not JSON: "),
        ("POST", CLASSES, b'{"a": "\xff"}', JSON, 400, "the request body is not JSON: "),
        ("POST", CLASSES, b"", JSON, 400, "the body is empty: EOF"), ("PUT", f"{CLASSES}/c", b"", JSON, 400, "the body is empty: EOF"),
        ("PATCH", f"{CLASSES}/c", b"", MERGE, 400, "the body is empty: EOF"),
        ("POST", CLASSES, b"[]", JSON, 400, "the body must be an object"), ("PUT", f"{CLASSES}/c", b'"a"', JSON, 400, "the body must be an object"),
        ("POST", CLASSES, b"null", JSON, 422, 'DeviceClass.resource.k8s.io "" is invalid: metadata.name: Required value: '),
        ("PUT", f"{CLASSES}/c", b"null", JSON, 400, "the name of the object (c based on URL) was undeterminable: name must be provided"),
        ("PATCH", f"{CLASSES}/c", b"null", MERGE, 404, 'deviceclasses.resource.k8s.io "c" not found'),
        ("POST", CLASSES, b"x", "text/plain", 415,
         "the body of the request was in an unknown format - accepted media types include: application/json, application/vnd.kubernetes.protobuf"),
        ("POST", CLASSES, b"x", "application/vnd.kubernetes.protobuf", 400,
         "the request body cannot be decoded: the envelope of a protobuf body is missing"),
        ("PATCH", f"{CLASSES}/c", {}, APPLY, 422,
         'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'),
        ("POST", f"{PODS}/p/binding", [], JSON, 400, "the body must be an object"),
        ("POST", f"{PODS}/p/binding", {}, JSON, 404, 'pods "p" not found'), ("POST", f"{PODS}/p/eviction", {}, JSON, 404, 'pods "p" not found'),
    ],
)  # fmt: skip
async def test_a_body_that_is_none_is_refused_and_noted(api, ask, method, path, body, content_type, code, text):
    found, document = await ask(method, path, body, content_type)

    assert (found, document["code"]) == (code, code)
    assert document["message"].startswith(text)
    assert (api.requests[-1].code, api.requests[-1].error) == (code, document["message"])


async def test_a_body_may_have_3_mib(ask):
    async def create(size):
        head, tail = b'{"metadata": {"name": "m"}, "data": {"a": "', b'"}}'
        return await ask("POST", MAPS, io.BytesIO(head + b"x" * (size - len(head) - len(tail)) + tail), dryRun="All")

    assert (await create(3 * 2**20))[0] == 201
    code, document = await create(3 * 2**20 + 1)
    assert (code, document["reason"], document["message"]) == (
        413,
        "RequestEntityTooLarge",
        "Request entity too large: limit is 3145728",
    )


async def test_a_body_without_a_type_is_json_and_one_in_protobuf_is_read(api, ask):
    assert (await ask("POST", CLASSES, {"metadata": {"name": "a"}}, None))[0] == 201
    body = envelope("resource.k8s.io/v1", "DeviceClass", message((1, message((1, "b")))))
    assert (await ask("POST", CLASSES, body, "application/vnd.kubernetes.protobuf"))[0] == 201
    assert [document["metadata"]["name"] for document in api.all("deviceclasses")] == ["a", "b"]


async def test_halves_of_letters_are_replaced_as_go_does(api, ask):
    body = b'{"metadata": {"name": "m"}, "data": {"a\\ud800": ["\\uDFFF", 1, {"b": "\\ud83d\\ude00"}]}}'

    assert (await ask("POST", MAPS, body))[0] == 201
    assert api.find("configmaps", "m", "ns")["data"] == {"a\ufffd": ["\ufffd", 1, {"b": "\U0001f600"}]}


async def test_a_pod_is_bound_and_evicted(api, ask):
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    for name in "ab":
        await ask("POST", PODS, {"metadata": {"name": name}})
        assert await ask("POST", f"{PODS}/{name}/binding", {"target": {"kind": "Node", "name": "w"}}) == (201, success)
    assert api.find("pods", "a", "ns")["spec"]["nodeName"] == "w"

    assert await ask("POST", f"{PODS}/a/eviction", {}) == (201, success)
    assert await ask("POST", f"{PODS}/b/eviction", {"deleteOptions": {"gracePeriodSeconds": 7}}) == (201, success)

    assert [api.find("pods", name, "ns")["metadata"]["deletionGracePeriodSeconds"] for name in "ab"] == [30, 7]


async def test_what_a_deletion_answers_depends_on_the_kind(api, ask):
    leases = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
    answers = {}
    for path in (MAPS, leases, CLASSES, PODS):
        _, made = await ask("POST", path, {"metadata": {"name": "x"}})
        code, document = await ask("DELETE", f"{path}/x")
        assert code == 200
        answers[path] = made, document

    def status(made, **details):
        return {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": {"name": "x", **details, "uid": made["metadata"]["uid"]},
        }  # fmt: skip

    assert answers[MAPS][1] == status(answers[MAPS][0], kind="configmaps")
    assert answers[leases][1] == status(answers[leases][0], kind="leases", group="coordination.k8s.io")
    for path in (CLASSES, PODS):
        made, document = answers[path]
        assert document == {
            **made,
            "metadata": {**made["metadata"], "resourceVersion": document["metadata"]["resourceVersion"]},
        }
    await ask("POST", MAPS, {"metadata": {"name": "held", "finalizers": ["a/b"]}})
    code, document = await ask("DELETE", f"{MAPS}/held")
    assert (code, document["kind"], document["metadata"]["deletionGracePeriodSeconds"]) == (200, "ConfigMap", 0)


@pytest.mark.parametrize(
    ("query", "body", "grace"),
    [({}, None, 30), ({"gracePeriodSeconds": "5"}, None, 5), ({}, {"gracePeriodSeconds": 6}, 6), ({"gracePeriodSeconds": "5"}, {"gracePeriodSeconds": 6}, 5), ({}, {}, 30), ({}, [], 30)],
)  # fmt: skip
async def test_the_time_that_a_pod_has_stands_in_the_query_or_the_body(api, ask, query, body, grace):
    await ask("POST", PODS, {"metadata": {"name": "p"}, "spec": {"nodeName": "w"}})

    code, document = await ask("DELETE", f"{PODS}/p", body, **query)

    assert (code, document["metadata"]["deletionGracePeriodSeconds"]) == (200, grace)


async def test_preconditions_stand_in_the_body(ask):
    await ask("POST", CLASSES, {"metadata": {"name": "c"}})

    assert (await ask("DELETE", f"{CLASSES}/c", {"preconditions": {"uid": "x"}}))[0] == 409
    assert (await ask("DELETE", f"{CLASSES}/c", {"preconditions": None}))[0] == 200


async def test_many_are_deleted_by_what_they_are_and_listed_as_they_were(api, ask):
    for name, label in (("a", "1"), ("b", "2"), ("c", "1")):
        await ask("POST", MAPS, {"metadata": {"name": name, "labels": {"l": label}}})
    await ask("POST", MAPS.replace("/ns/", "/other/"), {"metadata": {"name": "a", "labels": {"l": "1"}}})

    code, document = await ask("DELETE", MAPS, labelSelector="l=1")

    assert (code, document["kind"], document["apiVersion"], document["metadata"]) == (
        200,
        "ConfigMapList",
        "v1",
        {"resourceVersion": "1006"},
    )
    assert [(item["metadata"]["name"], item["metadata"]["resourceVersion"]) for item in document["items"]] == [
        ("a", "1005"),
        ("c", "1006"),
    ]
    assert [(one["metadata"]["namespace"], one["metadata"]["name"]) for one in api.all("configmaps")] == [
        ("ns", "b"),
        ("other", "a"),
    ]
    code, document = await ask("DELETE", SLICES)
    assert document == {
        "kind": "ResourceSliceList",
        "apiVersion": "resource.k8s.io/v1",
        "metadata": {"resourceVersion": "1006"},
        "items": [],
    }


async def test_many_pods_are_deleted_with_the_time_that_is_asked_for(api, ask):
    for name in "ab":
        await ask("POST", PODS, {"metadata": {"name": name}, "spec": {"nodeName": "w"}})

    _, document = await ask("DELETE", PODS, {"gracePeriodSeconds": 3})

    assert [item["metadata"]["deletionGracePeriodSeconds"] for item in document["items"]] == [3, 3]


# -- who may, and what goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "code"), [("Bearer secret", 200), ("Bearer other", 401), ("Basic secret", 401), ("secret", 401), ("bearer secret", 401), (None, 401)]
)  # fmt: skip
async def test_a_token_is_a_bearers(api, ask, header, code):
    api.tokens["secret"] = "me"

    found, document = await ask("GET", SLICES, headers={"Authorization": header} if header else {})

    assert found == code
    if code == 401:
        assert document == {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
        }  # fmt: skip
        assert list(api.requests) == []
        assert (await ask("GET", "/healthz"))[0] == 401
    else:
        assert api.requests[-1].user == "me"


async def test_a_server_may_have_its_tokens_from_the_start():
    tokens = {"a": "me", "b": "you"}
    api = ApiServer(tokens=tokens)

    assert api.tokens == tokens
    assert api.tokens is not tokens
    assert json.loads(api.kubeconfig())["users"] == [{"name": "fake", "user": {"token": "a"}}]
    assert json.loads(api.kubeconfig("b"))["users"] == [{"name": "fake", "user": {"token": "b"}}]
    assert json.loads(api.kubeconfig(""))["users"] == [{"name": "fake", "user": {}}]


async def test_a_request_that_meets_an_error_is_noted_with_it_and_not_done(api, ask):
    api.faults.play(faults.Fault("error", code=503))

    code, document = await ask("POST", CLASSES, {"metadata": {"name": "c"}})

    assert (code, document["reason"], api.all("deviceclasses")) == (503, "ServiceUnavailable", [])
    assert (api.requests[-1].code, api.requests[-1].error) == (
        503,
        "the server is currently unable to handle the request",
    )
    assert (await ask("POST", CLASSES, {"metadata": {"name": "c"}}))[0] == 201
    assert (api.requests[-1].code, api.requests[-1].error) == (201, "")


async def test_a_slow_answer_waits_as_long_as_the_fault_says(api, ask):
    loop = asyncio.get_running_loop()
    fault = api.faults.play(faults.Fault("slow", delay_s=0.05))
    began = loop.time()

    assert (await ask("GET", CLASSES))[0] == 200

    assert loop.time() - began >= 0.05
    assert fault.met == 1


async def test_a_watch_that_is_gone_says_so_first_and_ends(api, ask):
    api.create({**A_SLICE, "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice"})
    api.faults.play(faults.Fault("gone", times=3))

    code, event = await ask("GET", SLICES, watch="1", resourceVersion="1000")
    assert (code, event) == (200, {
        "type": "ERROR",
        "object": {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "too old resource version: 1000 (1001)",
            "reason": "Expired", "code": 410,
        },
    })  # fmt: skip
    assert said(await ask("GET", SLICES)) == (410, "too old resource version: 0 (1001)")
    assert (await ask("GET", f"{SLICES}/s"))[0] == 200


@pytest.mark.parametrize(("effect", "names"), [("cut", []), ("lost", ["c"])])
async def test_a_connection_that_ends_has_no_answer(api, ask, effect, names):
    api.faults.play(faults.Fault(effect))

    with pytest.raises(aiohttp.ClientConnectionError):
        await ask("POST", CLASSES, {"metadata": {"name": "c"}})

    assert [document["metadata"]["name"] for document in api.all("deviceclasses")] == names
    assert [(request.verb, request.code, request.error) for request in api.requests] == [("create", None, "")]


# -- watches over HTTP ----------------------------------------------------------------------------------------------------


async def test_open_watches_are_counted_and_can_be_cut(api):
    async with (
        aiohttp.ClientSession(api.url) as session,
        session.get(SLICES, params={"watch": "1"}) as one,
        session.get(CLASSES, params={"watch": "1"}) as other,
    ):
        assert one.content_type == JSON
        await api.wait_for(lambda: api.open_watches == 2, timeout=10)
        assert api.requests[-1].code == 200
        api.cut_watches()
        async with asyncio.timeout(10):
            assert [await one.read(), await other.read()] == [b"", b""]
        await api.wait_for(lambda: api.open_watches == 0, timeout=10)


async def test_a_client_that_goes_away_has_no_watch_any_more(api):
    async with aiohttp.ClientSession(api.url) as session:
        response = await session.get(SLICES, params={"watch": "1"})
        await api.wait_for(lambda: api.open_watches == 1, timeout=10)
        response.close()
        await api.wait_for(lambda: api.open_watches == 0, timeout=10)


async def test_a_watch_that_cannot_begin_is_refused(api, ask):
    assert said(await ask("GET", SLICES, watch="1", resourceVersion="2000")) == (
        504,
        "Too large resource version: 2000, current: 1000",
    )
    assert said(await ask("GET", SLICES, watch="1", labelSelector="=")) == (
        400,
        "unable to parse requirement: found '=' in '='",
    )
    assert api.open_watches == 0


# -- the server as its owner sees it ----------------------------------------------------------------------------------------


async def test_it_listens_between_start_and_stop_on_one_port():
    api = ApiServer()
    assert not api.is_up
    await api.stop()
    await api.start()
    url = api.url
    assert api.is_up
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", url)
    with pytest.raises(RuntimeError, match=r"^the API server is already up$"):
        await api.start()
    await api.stop()
    await api.stop()
    assert not api.is_up
    host, _, port = url.removeprefix("http://").partition(":")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)), timeout=5)

    await api.start()
    try:
        assert api.url == url
        with pytest.raises(OSError, match="in use"):
            await ApiServer(port=int(port)).start()
    finally:
        await api.stop()


async def test_it_listens_where_it_is_told_to():
    async with (
        ApiServer(host="127.0.0.2") as api,
        aiohttp.ClientSession(api.url) as session,
        session.get("/healthz") as response,
    ):
        assert api.url.startswith("http://127.0.0.2:")
        assert await response.text() == "ok"


async def test_a_release_or_a_gate_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"no such release: 2\.0"):
        ApiServer("2.0")
    with pytest.raises(ValueError, match="unrecognized feature gate: X"):
        ApiServer(feature_gates={"X": True})


async def test_a_kubeconfig_says_where_it_is(api, tmp_path):
    api.write_kubeconfig(tmp_path / "config")
    api.write_kubeconfig(tmp_path / "mine", "secret")

    text = (tmp_path / "config").read_text()
    assert text == api.kubeconfig()
    assert text.endswith("}\n")
    assert json.loads(text) == {
        "apiVersion": "v1", "kind": "Config", "clusters": [{"name": "fake", "cluster": {"server": api.url}}],
        "users": [{"name": "fake", "user": {}}], "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        "current-context": "fake",
    }  # fmt: skip
    assert json.loads((tmp_path / "mine").read_text())["users"][0]["user"] == {"token": "secret"}


async def test_its_owner_makes_finds_changes_and_deletes_objects(api):
    made = api.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "w"}}, "ns")
    api.create({"kind": "ConfigMap", "metadata": {"name": "m"}})

    assert api.find("pods", "p", "ns") is made
    assert api.find("pods", "p") is None
    assert api.find("configmaps", "m")["metadata"]["namespace"] == "default"
    assert api.all("pods", "ns") == api.all("pods") == [made]
    assert api.all("pods", "other") == []
    changed = api.update(
        {**made, "apiVersion": "v1", "kind": "Pod", "status": {"phase": "Running"}}, subresource="status"
    )
    assert changed["status"] == {"phase": "Running"}
    assert api.update({"kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}})["data"] == {"a": "b"}
    api.delete("pods", "p", "ns", grace_s=5)
    assert api.find("pods", "p", "ns")["metadata"]["deletionGracePeriodSeconds"] == 5
    api.delete("configmaps", "m")
    assert api.all("configmaps") == []


@pytest.mark.parametrize(
    ("document", "named"),
    [({"apiVersion": "apps/v1", "kind": "Pod"}, "apps/v1 Pod"), ({"kind": "Gadget"}, "None Gadget"), ({}, "None None")],
)
async def test_a_kind_that_is_not_there_is_named(api, document, named):
    with pytest.raises(ValueError, match=f"^no such kind here: {named}$"):
        api.create(document)


async def test_requests_are_found_by_what_they_asked(api, ask):
    await ask("GET", SLICES, fieldSelector="spec.driver=d")
    await ask("GET", CLASSES)
    await ask("GET", SLICES)
    await ask("GET", f"{SLICES}/s")

    assert [request.field_selector for request in api.asked("list", "resourceslices")] == ["spec.driver=d", ""]
    assert [request.name for request in api.asked("get", "resourceslices")] == ["s"]
    assert api.asked("get", "deviceclasses") == []


async def test_who_waits_is_woken_by_requests_and_by_changes(api, ask):
    waiting = asyncio.create_task(api.wait_for(lambda: api.asked("list", "deviceclasses"), timeout=10))
    found = asyncio.create_task(api.wait_for(lambda: api.find("configmaps", "m"), timeout=10))
    await asyncio.sleep(0)

    await ask("GET", CLASSES)
    assert (await waiting)[0].verb == "list"
    assert not found.done()
    api.create({"kind": "ConfigMap", "metadata": {"name": "m"}})
    assert (await found)["metadata"]["name"] == "m"


async def test_who_waits_in_vain_is_told_what_there_is(api, ask):
    assert api.describe() == "nothing is stored and nothing was asked"
    for number in range(21):
        api.create({"kind": "ConfigMap", "metadata": {"name": f"m{number:02}"}})
    api.create({"kind": "Node", "metadata": {"name": "n"}})
    for number in range(9):
        await ask("GET", f"{MAPS}/x{number}")
    await ask("PUT", f"{PODS}/p/status", {"metadata": {"name": "p"}})
    async with asyncio.timeout(10):
        await ask("GET", SLICES)

    with pytest.raises(TimeoutError) as caught:
        await api.wait_for(lambda: None, timeout=0.01)

    names = ", ".join(f"default/m{number:02}" for number in range(20))
    lines = [
        "nodes: n",
        f"configmaps: {names}",
        *(f'get configmaps/ns/x{number}: 404 configmaps "x{number}" not found' for number in range(1, 9)),
    ]
    assert str(caught.value).splitlines()[1:] == [
        *lines,
        'update pods/ns/p/status: 404 pods "p" not found',
        "list resourceslices: 200",
    ]


async def test_a_request_under_way_is_open(api):
    async with aiohttp.ClientSession(api.url) as session:
        api.faults.play(faults.Fault("slow", delay_s=100))
        asking = asyncio.create_task(session.get(SLICES))
        await api.wait_for(lambda: api.requests, timeout=10)
        assert api.describe() == "list resourceslices: open"
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_who_waits_for_an_answer_is_woken_when_it_is_known(api, ask):
    answered = asyncio.create_task(
        api.wait_for(lambda: [request.code for request in api.requests if request.code], timeout=10)
    )
    await asyncio.sleep(0)

    await ask("GET", SLICES)

    assert await answered == [200]


async def test_the_newest_ten_thousand_requests_are_remembered(api):
    assert api.requests.maxlen == 10_000


async def test_history_is_forgotten_on_demand(api, ask):
    api.create({"kind": "Node", "metadata": {"name": "n"}})
    api.forget_history()

    _, event = await ask("GET", "/api/v1/nodes", watch="1", resourceVersion="1000")
    assert event["object"]["code"] == 410


async def test_every_kind_is_listed_over_http(ask):
    for kind in kinds.KINDS:
        root = f"/apis/{kind.group}" if kind.group else "/api"
        code, document = await ask("GET", f"{root}/v1/{kind.plural}")
        if kind.name == "DeviceTaintRule":
            assert code == 404
        else:
            assert (code, document["kind"], document["items"]) == (200, f"{kind.name}List", [])
