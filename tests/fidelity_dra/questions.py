"""What an API server is asked: each question makes its own objects and returns what is to be compared."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.fidelity_dra import bad_claims, bad_slices
from tests.fidelity_dra.api import CLASSES, GROUP, SLICES, Api

Object = dict[str, Any]
Change = Callable[[Object], None]
Question = Callable[[Api], Awaitable[Any]]
QUESTIONS: dict[str, Question] = {}
JSON, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


class NotHereError(Exception):
    """A server cannot be asked this as it is set up; the text says why."""


def question(text: str) -> Callable[[Question], Question]:
    """Add a question."""

    def add(asked: Question) -> Question:
        assert text not in QUESTIONS, text
        QUESTIONS[text] = asked
        return asked

    return add


def a_slice(api: Api, name: str = "slice", **spec: Any) -> Object:
    """Return a slice of this question's own driver and node."""
    whole = {**copy.deepcopy(bad_slices.GOOD), "driver": f"{api.tag}.example.com", "nodeName": api.name("node"), **spec}
    return {"metadata": {"name": api.name(name)}, "spec": whole}


def a_claim(api: Api, name: str = "claim") -> Object:
    """Return a claim that is in order."""
    return {"metadata": {"name": api.name(name)}, "spec": bad_claims.good()}


def own(api: Api) -> dict[str, str]:
    """Return the parameters that find the slices of this question only."""
    return {"fieldSelector": f"spec.driver={api.tag}.example.com"}


def _kinds(events: list[Object]) -> list[Any]:
    """Return type and name of events, and what a bookmark says."""
    found: list[Any] = []
    for event in events:
        metadata = event["object"].get("metadata", {})
        if event["type"] == "BOOKMARK":
            found.append(
                ["BOOKMARK", event["object"]["kind"], metadata.get("annotations", {}), sorted(event["object"])]
            )
        elif event["type"] in ("ERROR", "HTTP"):
            status = event["object"]
            found.append([event["type"], status.get("code"), status.get("reason")])
        else:
            found.append([event["type"], metadata.get("name")])
    return found


# -- what is refused ----------------------------------------------------------------------------------------------------


def _add_tables() -> None:
    for name, change in bad_slices.CHANGES.items():

        async def of_slice(api: Api, change: Change = change) -> Any:
            made = {"metadata": {"name": api.name("slice")}, "spec": bad_slices.spec_of(change)}
            return await api.said("POST", SLICES, made)

        QUESTIONS[f"slice: {name}"] = of_slice
    for name, (first, second) in bad_slices.SECOND.items():

        async def of_second(api: Api, first: Change = first, second: Change = second) -> Any:
            before = bad_slices.spec_of(first)
            stored = await api.make(SLICES, {"metadata": {"name": api.name("slice")}, "spec": before})
            path = f"{SLICES}/{stored['metadata']['name']}"
            return await api.said("PUT", path, {**stored, "spec": bad_slices.spec_of(second)})

        QUESTIONS[f"slice in the place of another: {name}"] = of_second
    for name, change in bad_claims.CHANGES.items():

        async def of_claim(api: Api, change: Change = change) -> Any:
            made = {"metadata": {"name": api.name("claim")}, "spec": bad_claims.spec_of(change)}
            return await api.said("POST", api.claims, made)

        async def of_template(api: Api, change: Change = change) -> Any:
            made = {"metadata": {"name": api.name("claim")}, "spec": {"spec": bad_claims.spec_of(change)}}
            return await api.said("POST", api.templates, made)

        QUESTIONS[f"claim: {name}"] = of_claim
        if name in (
            "no class",
            "a class in capitals",
            "a count of zero",
            "no count",
            "admin access in a namespace without it",
        ):
            QUESTIONS[f"template: {name}"] = of_template
    for name, status in bad_claims.STATUS.items():

        async def of_status(api: Api, status: Object = status) -> Any:
            claim = await api.make(api.claims, a_claim(api))
            return await api.said(
                "PUT", f"{api.claims}/{claim['metadata']['name']}/status", {**claim, "status": status}
            )

        QUESTIONS[f"claim's status: {name}"] = of_status
    for name, spec in bad_claims.CLASSES.items():

        async def of_class(api: Api, spec: Object = spec) -> Any:
            return await api.said("POST", CLASSES, {"metadata": {"name": api.name("class")}, "spec": spec})

        QUESTIONS[f"class: {name}"] = of_class


_add_tables()


@question("a claim whose spec is changed")
async def _(api: Api) -> Any:
    claim = await api.make(api.claims, a_claim(api))
    claim["spec"]["devices"]["requests"][0]["exactly"]["count"] = 2
    return await api.said("PUT", f"{api.claims}/{claim['metadata']['name']}", claim)


@question("an allocation that is changed")
async def _(api: Api) -> Any:
    claim = await api.make(api.claims, a_claim(api))
    path = f"{api.claims}/{claim['metadata']['name']}/status"
    _, stored = await api.ask("PUT", path, {**claim, "status": bad_claims.STATUS["allocated and reserved"]})
    stored["status"]["allocation"]["devices"]["results"][0]["device"] = "gem-2"
    return await api.said("PUT", path, stored)


@question("an allocation that is taken back while it is reserved, then with it")
async def _(api: Api) -> Any:
    claim = await api.make(api.claims, a_claim(api))
    path = f"{api.claims}/{claim['metadata']['name']}/status"
    _, stored = await api.ask("PUT", path, {**claim, "status": bad_claims.STATUS["allocated and reserved"]})
    held = {**stored, "status": {"reservedFor": stored["status"]["reservedFor"]}}
    return [await api.said("PUT", path, held), await api.said("PUT", path, {**stored, "status": {}})]


@question("a status written to the claim itself, a spec written to its status")
async def _(api: Api) -> Any:
    status = bad_claims.STATUS["allocated and reserved"]
    claim = await api.make(api.claims, {**a_claim(api), "status": status})
    path = f"{api.claims}/{claim['metadata']['name']}"
    _, again = await api.ask("PUT", path, {**claim, "status": status})
    other = bad_claims.spec_of(bad_claims.CHANGES["all"])
    labels = {"metadata": {**again["metadata"], "labels": {"a": "b"}}}
    return [
        api.plain(again),
        await api.said("PUT", f"{path}/status", {**again, **labels, "spec": other, "status": status}),
    ]


@question("a class whose spec is changed")
async def _(api: Api) -> Any:
    made = await api.make(CLASSES, {"metadata": {"name": api.name("class")}, "spec": {}})
    made["spec"] = bad_claims.CLASSES["a selector"]
    return await api.said("PUT", f"{CLASSES}/{made['metadata']['name']}", made)


@question("names that are none")
async def _(api: Api) -> Any:
    names = ["", "Capital", "a_b", "-a", "a" * 254, "a..b", "ü"]
    return [await api.said("POST", SLICES, {**a_slice(api), "metadata": {"name": name}}) for name in names]


@question("no metadata, no spec, nothing")
async def _(api: Api) -> Any:
    bodies: list[Any] = [{"spec": a_slice(api)["spec"]}, {"metadata": {"name": api.name("slice")}}, {}]
    return [await api.said("POST", SLICES, body) for body in bodies]


@question("labels and annotations that are none")
async def _(api: Api) -> Any:
    more: list[Object] = [{"labels": {"a b": "c"}}, {"labels": {"a": "b c"}}, {"annotations": {"a b": "c"}}]
    bodies = [{**a_slice(api), "metadata": {"name": api.name("slice"), **fields}} for fields in more]
    return [await api.said("POST", SLICES, body) for body in bodies]


@question("finalizers and owners that are none")
async def _(api: Api) -> Any:
    owner = {"apiVersion": "v1", "kind": "Node", "name": "a", "uid": bad_slices.UID}
    more: list[Object] = [
        {"finalizers": ["a b"]},
        {"ownerReferences": [{**owner, "name": ""}]},
        {"ownerReferences": [{**owner, "uid": ""}]},
        {"ownerReferences": [{**owner, "kind": ""}]},
        {"ownerReferences": [{**owner, "controller": True}, {**owner, "controller": True, "name": "b"}]},
    ]  # fmt: skip  # a list
    bodies = [{**a_slice(api), "metadata": {"name": api.name("slice"), **fields}} for fields in more]
    return [await api.said("POST", SLICES, body) for body in bodies]


# -- bodies that are none -----------------------------------------------------------------------------------------------


@question("a body that is no JSON, a list, a text, null")
async def _(api: Api) -> Any:
    answers = [await api.said("POST", SLICES, body) for body in (b"{", b"[]", b'"a"', b"null", b"")]
    return [{"code": answer["code"], "reason": answer.get("reason")} for answer in answers]


@question("fields of another type")
async def _(api: Api) -> Any:
    bad: list[Object] = [
        {"driver": 5},
        {"pool": []},
        {"devices": {}},
        {"devices": ["gem"]},
        {"devices": [{"name": "gem", "attributes": []}]},
        {"devices": [{"name": "gem", "attributes": {"a": {"int": "1"}}}]},
        {"devices": [{"name": "gem", "capacity": {"a": {"value": "much"}}}]},
        {"devices": [{"name": "gem", "taints": [{"key": "a", "effect": "None", "timeAdded": "today"}]}]},
        {"allNodes": "yes"},
    ]  # fmt: skip  # a list
    answers = [await api.said("POST", SLICES, a_slice(api, **fields)) for fields in bad]
    return [{"code": answer["code"], "reason": answer.get("reason")} for answer in answers]


@question("a field that nobody knows")
async def _(api: Api) -> Any:
    body = a_slice(api)
    body["spec"]["color"] = "red"
    body["spec"]["devices"][0]["color"] = "red"
    said = await api.said("POST", SLICES, body)
    return [said, api.warnings]


@question("a field that nobody knows, and the client wants to be told")
async def _(api: Api) -> Any:
    body = a_slice(api)
    body["spec"]["color"] = "red"
    return await api.said("POST", SLICES, body, fieldValidation="Strict")


@question("a field that is there twice")
async def _(api: Api) -> Any:
    text = json.dumps(a_slice(api)).replace('"nodeName":', '"nodeName": "first", "nodeName":')
    return [await api.said("POST", SLICES, text.encode()), api.warnings]


@question("another kind in the body")
async def _(api: Api) -> Any:
    bodies = [{**a_slice(api), **fields} for fields in ({"kind": "Pod"}, {"apiVersion": "v1"}, {"apiVersion": "a/b/c"})]
    answers = [await api.said("POST", SLICES, body) for body in bodies]
    return [{"code": answer["code"], "reason": answer.get("reason")} for answer in answers]


@question("another name in the body, another namespace")
async def _(api: Api) -> Any:
    claim = await api.make(api.claims, a_claim(api))
    path = f"{api.claims}/{claim['metadata']['name']}"
    other = {**claim["metadata"], "name": "other"}
    elsewhere = {**claim["metadata"], "namespace": "other"}
    return [
        await api.said("PUT", path, {**claim, "metadata": other}),
        await api.said("PUT", path, {**claim, "metadata": elsewhere}),
        await api.said("POST", api.claims, {**a_claim(api, "b"), "metadata": {"name": "b", "namespace": "other"}}),
    ]


@question("a body of 3 MiB and more")
async def _(api: Api) -> Any:
    body = a_slice(api)
    body["metadata"]["annotations"] = {"a": "x" * (3 * 2**20 + 1)}
    return (await api.said("POST", SLICES, body))["code"]


@question("annotations of 256 KiB and more")
async def _(api: Api) -> Any:
    body = a_slice(api)
    body["metadata"]["annotations"] = {"a": "x" * (256 * 2**10)}
    return await api.said("POST", SLICES, body)


@question("a body of a type that there is not")
async def _(api: Api) -> Any:
    return (await api.said("POST", SLICES, a_slice(api), content_type="text/plain"))["code"]


@question("a kind, a version, a group that there is not")
async def _(api: Api) -> Any:
    paths = [
        f"{GROUP}/gadgets",
        "/apis/resource.k8s.io/v1alpha9/resourceslices",
        "/apis/gadgets.example.com/v1/a",
        "/apis/x",
    ]
    return [(await api.ask("GET", path))[0] for path in paths]


@question("a subresource that there is not")
async def _(api: Api) -> Any:
    made = await api.make(SLICES, a_slice(api))
    path = f"{SLICES}/{made['metadata']['name']}"
    return [(await api.ask("GET", f"{path}/status"))[0], (await api.ask("PUT", f"{path}/scale", made))[0]]


@question("a method that there is not")
async def _(api: Api) -> Any:
    return [
        await api.said("PUT", SLICES, a_slice(api)),
        await api.said("POST", f"{SLICES}/{api.name('slice')}", a_slice(api)),
    ]


# -- what is stored -----------------------------------------------------------------------------------------------------


@question("generateName")
async def _(api: Api) -> Any:
    names = []
    for prefix in (api.name("a-"), "x" * 70):
        made = await api.make(SLICES, {**a_slice(api), "metadata": {"generateName": prefix}})
        name = made["metadata"]["name"]
        names.append(
            [name.startswith(prefix[:58]), len(name) - len(prefix[:58]), made["metadata"]["generateName"] == prefix]
        )
    return names


@question("a name and a generateName, neither")
async def _(api: Api) -> Any:
    both = await api.said("POST", SLICES, {**a_slice(api), "metadata": {"name": api.name("a"), "generateName": "b-"}})
    return [both, await api.said("POST", SLICES, {**a_slice(api), "metadata": {}})]


@question("what the server sets in metadata")
async def _(api: Api) -> Any:
    metadata = {"name": api.name("slice"), "uid": "mine", "generation": 7, "creationTimestamp": "2000-01-01T00:00:00Z"}
    return await api.said("POST", SLICES, {**a_slice(api), "metadata": metadata})


@question("a resource version at a create")
async def _(api: Api) -> Any:
    metadata = {"name": api.name("slice"), "resourceVersion": "5"}
    return await api.said("POST", SLICES, {**a_slice(api), "metadata": metadata})


@question("a name that is taken")
async def _(api: Api) -> Any:
    await api.make(SLICES, a_slice(api))
    return await api.said("POST", SLICES, a_slice(api))


@question("an update of an old version")
async def _(api: Api) -> Any:
    made = await api.make(SLICES, a_slice(api))
    path = f"{SLICES}/{made['metadata']['name']}"
    newer = copy.deepcopy(made)
    newer["spec"]["pool"]["generation"] = 2
    await api.ask("PUT", path, newer)
    return await api.said("PUT", path, made)


@question("an update without a version")
async def _(api: Api) -> Any:
    made = await api.make(SLICES, a_slice(api))
    path = f"{SLICES}/{made['metadata']['name']}"
    del made["metadata"]["resourceVersion"]
    made["spec"]["pool"]["generation"] = 2
    slices = await api.said("PUT", path, made)
    claim = await api.make(api.claims, a_claim(api))
    del claim["metadata"]["resourceVersion"]
    return [slices, await api.said("PUT", f"{api.claims}/{claim['metadata']['name']}", claim)]


@question("an update of something else of that name")
async def _(api: Api) -> Any:
    made = await api.make(SLICES, a_slice(api))
    made["metadata"]["uid"] = bad_slices.UID
    return await api.said("PUT", f"{SLICES}/{made['metadata']['name']}", made)


@question("an update of nothing")
async def _(api: Api) -> Any:
    claim = {**a_claim(api), "metadata": {"name": api.name("claim"), "resourceVersion": "5"}}
    made = {**a_slice(api), "metadata": {"name": api.name("slice"), "resourceVersion": "5"}}
    return [
        await api.said("PUT", f"{api.claims}/{api.name('claim')}", claim),
        await api.said("PUT", f"{api.claims}/{api.name('claim')}/status", claim),
        await api.said("PUT", f"{SLICES}/{api.name('slice')}", made),
        await api.said("PUT", f"{SLICES}/{api.name('slice')}", a_slice(api)),
    ]


@question("an update that changes nothing")
async def _(api: Api) -> Any:
    made = await api.make(SLICES, a_slice(api))
    _, again = await api.ask("PUT", f"{SLICES}/{made['metadata']['name']}", made)
    return made["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]


@question("the generation in metadata")
async def _(api: Api) -> Any:
    made = await api.make(SLICES, a_slice(api))
    path = f"{SLICES}/{made['metadata']['name']}"
    seen = [made["metadata"].get("generation")]
    made["metadata"]["labels"] = {"a": "b"}
    _, made = await api.ask("PUT", path, made)
    seen.append(made["metadata"].get("generation"))
    made["spec"]["pool"]["generation"] = 2
    _, made = await api.ask("PUT", path, made)
    claim = await api.make(api.claims, a_claim(api))
    return [*seen, made["metadata"].get("generation"), claim["metadata"].get("generation")]


@question("reading what is not there")
async def _(api: Api) -> Any:
    return [
        await api.said("GET", f"{path}/{api.name('no')}") for path in (SLICES, api.claims, CLASSES, "/api/v1/nodes")
    ]


@question("dry runs")
async def _(api: Api) -> Any:
    created = await api.said("POST", SLICES, a_slice(api), dryRun="All")
    code, _ = await api.ask("GET", f"{SLICES}/{api.name('slice')}")
    made = await api.make(SLICES, a_slice(api))
    path = f"{SLICES}/{made['metadata']['name']}"
    deleted, _ = await api.ask("DELETE", path, dryRun="All")
    return [created["code"], code, deleted, (await api.ask("GET", path))[0]]


# -- taints' times, gates -----------------------------------------------------------------------------------------------


async def _tainted(api: Api, **fields: Any) -> tuple[str, Object]:
    taint = {"key": "a", "effect": "NoSchedule", **fields}
    made = await api.make(SLICES, a_slice(api, devices=[{"name": "gem-1", "taints": [taint]}]))
    return f"{SLICES}/{made['metadata']['name']}", made


@question("a taint's time is set, to the second")
async def _(api: Api) -> Any:
    _, made = await _tainted(api)
    return [
        len(made["spec"]["devices"][0]["taints"][0]["timeAdded"]),
        made["spec"]["devices"][0]["taints"][0]["timeAdded"][-1],
    ]


@question("a taint's time is kept when it comes along, and set anew when it does not")
async def _(api: Api) -> Any:
    path, made = await _tainted(api, timeAdded="2024-01-02T03:04:05Z")
    made["spec"]["pool"]["generation"] = 2
    _, made = await api.ask("PUT", path, made)
    kept = made["spec"]["devices"][0]["taints"][0]["timeAdded"]
    del made["spec"]["devices"][0]["taints"][0]["timeAdded"]
    _, made = await api.ask("PUT", path, made)
    return [kept == "2024-01-02T03:04:05Z", made["spec"]["devices"][0]["taints"][0]["timeAdded"] > "2025"]


@question("a taint's time in another zone, with a fraction, of null")
async def _(api: Api) -> Any:
    times = []
    for number, time in enumerate(("2024-01-02T03:04:05+01:00", "2024-01-02T03:04:05.678Z", None)):
        taint = {"key": "a", "effect": "None", "timeAdded": time}
        made = await api.make(SLICES, a_slice(api, f"s{number}", devices=[{"name": "gem-1", "taints": [taint]}]))
        times.append(made["spec"]["devices"][0]["taints"][0]["timeAdded"])
    return [time.replace("2024", "year") for time in times[:2]] + [times[2] > "2025"]


@question("fields whose gate is off are dropped without a word")
async def _(api: Api) -> Any:
    device = {"name": "gem-1", "nodeAllocatableResourceMappings": {"cpu": {"allocationMultiplier": "1"}}}
    said = await api.said("POST", SLICES, a_slice(api, devices=[device]))
    return [said, [warning.replace(api.tag, "TAG") for warning in api.warnings]]


@question("DeviceTaintRule, whose API is not served")
async def _(api: Api) -> Any:
    versions = ("v1", "v1beta2", "v1beta1", "v1alpha3")
    return [(await api.ask("GET", f"/apis/resource.k8s.io/{version}/devicetaintrules"))[0] for version in versions]


@question("the kinds of resource.k8s.io/v1")
async def _(api: Api) -> Any:
    _, document = await api.ask("GET", GROUP)
    wanted = {"resourceslices", "resourceclaims", "resourceclaims/status", "resourceclaimtemplates", "deviceclasses"}
    found = [kind for kind in document["resources"] if kind["name"] in wanted]
    keys = ("name", "kind", "namespaced", "singularName")
    return sorted([[kind[key] for key in keys] + [sorted(kind["verbs"])] for kind in found])


@question("the group's versions")
async def _(api: Api) -> Any:
    _, document = await api.ask("GET", "/apis/resource.k8s.io")
    return document


@question("the version")
async def _(api: Api) -> Any:
    _, document = await api.ask("GET", "/version")
    return [document["major"], document["minor"], sorted(set(document) & {"gitVersion", "major", "minor", "platform"})]


# -- lists --------------------------------------------------------------------------------------------------------------


async def _several(api: Api, count: int) -> list[Object]:
    return [await api.make(SLICES, a_slice(api, f"s{number}")) for number in range(count)]


@question("a list by driver, by node, by both, by neither")
async def _(api: Api) -> Any:
    await _several(api, 2)
    await api.make(SLICES, a_slice(api, "elsewhere", nodeName=api.name("other")))
    driver, node = f"spec.driver={api.tag}.example.com", f"spec.nodeName={api.name('node')}"
    chosen = [driver, f"{driver},{node}", f"{driver},spec.nodeName!={api.name('node')}", f"{node},spec.driver==other"]
    found = []
    for selector in chosen:
        _, listed = await api.ask("GET", SLICES, fieldSelector=selector)
        found.append([api.plain(one["metadata"]["name"]) for one in listed["items"]])
    return found


@question("field selectors that there are not")
async def _(api: Api) -> Any:
    asked = [
        (SLICES, "spec.pool.name=a"),
        (SLICES, "spec.color=a"),
        (SLICES, "color"),
        (api.claims, "spec.driver=a"),
        (SLICES, "a=b=c"),
        ("/api/v1/nodes", "status.phase=a"),
    ]
    return [await api.said("GET", path, fieldSelector=selector) for path, selector in asked]


@question("by name, by namespace")
async def _(api: Api) -> Any:
    claim = await api.make(api.claims, a_claim(api))
    await api.make(api.claims, a_claim(api, "other"))
    _, named = await api.ask("GET", api.claims, fieldSelector=f"metadata.name={claim['metadata']['name']}")
    _, spaced = await api.ask(
        "GET",
        f"{GROUP}/resourceclaims",
        fieldSelector=f"metadata.namespace={api.namespace},metadata.name={claim['metadata']['name']}",
    )
    return [len(named["items"]), len(spaced["items"])]


@question("label selectors")
async def _(api: Api) -> Any:
    for name, labels in (("a", {"x": "1", "tag": api.tag}), ("b", {"x": "2", "tag": api.tag}), ("c", {"tag": api.tag})):
        body = a_slice(api, name)
        body["metadata"]["labels"] = labels
        await api.make(SLICES, body)
    found = []
    for selector in ("x=1", "x!=1", "x", "!x", "x in (1,2)", "x notin (1)", "x=3"):
        _, listed = await api.ask("GET", SLICES, labelSelector=f"tag={api.tag},{selector}")
        found.append([api.plain(one["metadata"]["name"]) for one in listed["items"]])
    bad = [await api.said("GET", SLICES, labelSelector=selector) for selector in ("x in 1", "a b", "=")]
    return [found, [(answer["code"], answer["reason"]) for answer in bad]]


@question("a list in parts")
async def _(api: Api) -> Any:
    await _several(api, 5)
    parts: list[Any] = []
    more = {}
    while True:
        _, listed = await api.ask("GET", SLICES, limit="2", **own(api), **more)
        metadata = listed["metadata"]
        parts.append(
            [[one["metadata"]["name"].removeprefix(api.tag) for one in listed["items"]], "continue" in metadata]
        )
        if not metadata.get("continue"):
            return parts
        more = {"continue": metadata["continue"]}


@question("a part that continues nothing")
async def _(api: Api) -> Any:
    answer = await api.said("GET", SLICES, limit="2", **{"continue": "rubbish"})
    return [answer["code"], answer["reason"]]


@question("lists from versions that there were, may be, cannot be")
async def _(api: Api) -> Any:
    made = await api.make(SLICES, a_slice(api))
    version = made["metadata"]["resourceVersion"]
    asked: list[dict[str, str]] = [
        {"resourceVersion": "0"},
        {"resourceVersion": version},
        {"resourceVersion": version, "resourceVersionMatch": "NotOlderThan"},
        {"resourceVersionMatch": "Exact"},
        {"resourceVersion": "0", "resourceVersionMatch": "Exact"},
        {"resourceVersion": "abc"},
        {"resourceVersion": "-1"},
        {"resourceVersion": version, "resourceVersionMatch": "Some"},
    ]  # fmt: skip  # a list
    answers = [await api.said("GET", SLICES, **own(api), **one) for one in asked]
    return [[answer["code"], answer.get("reason"), answer.get("message")] for answer in answers]


@question("a version of the future")
async def _(api: Api) -> Any:
    made = await api.make(SLICES, a_slice(api))
    version = str(int(made["metadata"]["resourceVersion"]) + 100000)
    listed = await api.said("GET", SLICES, **own(api), resourceVersion=version)
    got = await api.said("GET", f"{SLICES}/{made['metadata']['name']}", resourceVersion=version)
    return [[answer["code"], answer["reason"]] for answer in (listed, got)]


@question("the shape of lists")
async def _(api: Api) -> Any:
    await api.make(SLICES, a_slice(api))
    _, listed = await api.ask("GET", SLICES, **own(api))
    _, none = await api.ask("GET", SLICES, fieldSelector="spec.driver=nobody.example.com")
    return [listed["kind"], listed["apiVersion"], sorted(listed["metadata"]), sorted(listed["items"][0]), none["items"]]


# -- watches ------------------------------------------------------------------------------------------------------------


async def _version(api: Api) -> str:
    _, listed = await api.ask("GET", SLICES, **own(api))
    return str(listed["metadata"]["resourceVersion"])


@question("a watch from a version tells what came since")
async def _(api: Api) -> Any:
    version = await _version(api)
    (made,) = await _several(api, 1)
    made["spec"]["pool"]["generation"] = 2
    await api.ask("PUT", f"{SLICES}/{made['metadata']['name']}", made)
    await api.ask("DELETE", f"{SLICES}/{made['metadata']['name']}")
    return api.plain(_kinds(await api.watched(SLICES, 3, resourceVersion=version, **own(api))))


@question("a watch from nowhere, from zero, begins with what is there")
async def _(api: Api) -> Any:
    await _several(api, 2)
    return [
        sorted(api.plain(_kinds(await api.watched(SLICES, 2, **own(api))))),
        sorted(api.plain(_kinds(await api.watched(SLICES, 2, resourceVersion="0", **own(api))))),
    ]


@question("a deletion has the version of the deletion")
async def _(api: Api) -> Any:
    version = await _version(api)
    (made,) = await _several(api, 1)
    await api.ask("DELETE", f"{SLICES}/{made['metadata']['name']}")
    events = await api.watched(SLICES, 2, resourceVersion=version, **own(api))
    last = int(events[-1]["object"]["metadata"]["resourceVersion"])
    return [events[-1]["type"], last > int(made["metadata"]["resourceVersion"])]


@question("a WatchList: what is there, a bookmark that says so, what comes")
async def _(api: Api) -> Any:
    (first,) = await _several(api, 1)
    how = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        **own(api),
    }
    events: list[Object] = []
    async for event in api.watch(SLICES, **how):
        events.append(event)
        if len(events) == 2:
            await api.ask("DELETE", f"{SLICES}/{first['metadata']['name']}")
        if len(events) == 3:
            break
    if _kinds(events) == [["ERROR", 500, "InternalError"]]:
        raise NotHereError("the etcd of this cluster is too old for WatchList")
    return api.plain(_kinds(events))


@question("a WatchList that is asked for by halves")
async def _(api: Api) -> Any:
    asked = [
        {"sendInitialEvents": "true"},
        {"sendInitialEvents": "true", "allowWatchBookmarks": "true"},
        {"resourceVersionMatch": "NotOlderThan"},
        {"sendInitialEvents": "true", "resourceVersionMatch": "Exact", "allowWatchBookmarks": "true"},
    ]
    answers = []
    for how in asked:
        code, document = await api.ask("GET", SLICES, watch="1", timeoutSeconds="1", **how)
        answers.append([code, document.get("message") if isinstance(document, dict) else ""])
    code, document = await api.ask("GET", SLICES, sendInitialEvents="true")
    return [*answers, [code, document.get("message")]]


@question("a WatchList without initial events")
async def _(api: Api) -> Any:
    await _several(api, 1)
    version = await _version(api)
    how = {"sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan", "resourceVersion": version}
    watching = asyncio.create_task(api.watched(SLICES, 1, **how, **own(api)))
    await asyncio.sleep(0.3)  # whichever is first: the version says from where on
    await api.make(SLICES, a_slice(api, "later"))
    return api.plain(_kinds(await watching))


@question("a watch from a version that is forgotten")
async def _(api: Api) -> Any:
    events = await api.watched(SLICES, 1, resourceVersion="1")
    if events and events[0]["type"] == "ADDED":
        raise NotHereError("this cluster is so young that it has forgotten nothing")
    return [[event["type"], event["object"].get("code"), event["object"].get("reason")] for event in events]


@question("a watch from a version that is none")
async def _(api: Api) -> Any:
    answers = [await api.ask("GET", SLICES, watch="1", resourceVersion=version) for version in ("abc", "-1")]
    return [[code, document.get("reason")] for code, document in answers]


@question("a watch ends after the time asked for")
async def _(api: Api) -> Any:
    version = await _version(api)
    loop = asyncio.get_running_loop()
    began = loop.time()
    events = await api.watched(SLICES, 1, resourceVersion=version, timeoutSeconds="1", **own(api))
    return [_kinds(events), 0.5 < loop.time() - began < WATCH_LIMIT_S]


WATCH_LIMIT_S = 15.0


@question("a watch by a field that changes loses the object and finds it")
async def _(api: Api) -> Any:
    claim = a_claim(api)
    claim["metadata"]["labels"] = {"x": api.tag}
    made = await api.make(api.claims, claim)
    path, version = f"{api.claims}/{made['metadata']['name']}", made["metadata"]["resourceVersion"]
    for value in ("other", api.tag):
        made["metadata"]["labels"] = {"x": value}
        _, made = await api.ask("PUT", path, made)
    return api.plain(_kinds(await api.watched(api.claims, 2, resourceVersion=version, labelSelector=f"x={api.tag}")))


@question("a watch of one object by its name")
async def _(api: Api) -> Any:
    (made, _) = await _several(api, 2)
    how = {"fieldSelector": f"metadata.name={made['metadata']['name']}"}
    return api.plain(_kinds(await api.watched(SLICES, 1, **how)))


# -- patches ------------------------------------------------------------------------------------------------------------


@question("patches")
async def _(api: Api) -> Any:
    made = await api.make(SLICES, a_slice(api))
    path = f"{SLICES}/{made['metadata']['name']}"
    asked: list[tuple[str, Any]] = [
        (MERGE, {"metadata": {"labels": {"a": "b"}}}),
        (MERGE, {"metadata": {"labels": {"a": None}}}),
        (JSON, [{"op": "replace", "path": "/spec/pool/generation", "value": 3}]),
        (JSON, [{"op": "test", "path": "/spec/pool/generation", "value": 4}]),
        (JSON, [{"op": "replace", "path": "/spec/no/such", "value": 4}]),
        (JSON, {"op": "replace"}),
        (MERGE, [1]),
        (MERGE, {"spec": {"driver": "other.example.com"}}),
        (MERGE, {"metadata": {"resourceVersion": "1"}}),
        (STRATEGIC, {"metadata": {"labels": {"c": "d"}}}),
        ("application/json", {"metadata": {}}),
    ]  # fmt: skip  # a list
    answers = [await api.said("PATCH", path, body, content_type=kind) for kind, body in asked]
    return [
        [answer["code"], answer.get("reason"), answer.get("object", {}).get("metadata", {}).get("labels"),
         answer.get("object", {}).get("spec", {}).get("pool", {}).get("generation")]
        for answer in answers
    ]  # fmt: skip  # a row an answer


@question("an apply makes it, and changes it")
async def _(api: Api) -> Any:
    body = {**a_slice(api), "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice"}
    path = f"{SLICES}/{api.name('slice')}"
    answers = [await api.ask("PATCH", path, body, content_type=APPLY, fieldManager="fidelity") for _ in range(2)]
    without, _ = await api.ask("PATCH", path, body, content_type=APPLY)
    await api.ask("DELETE", path)
    return [[code for code, _ in answers], without]


@question("a patch of nothing")
async def _(api: Api) -> Any:
    return await api.said("PATCH", f"{SLICES}/{api.name('no')}", {"metadata": {}}, content_type=MERGE)


@question("a patch of a claim's status")
async def _(api: Api) -> Any:
    claim = await api.make(api.claims, a_claim(api))
    path = f"{api.claims}/{claim['metadata']['name']}/status"
    status = bad_claims.STATUS["allocated and reserved"]
    return [
        await api.said("PATCH", path, {"status": status}, content_type=MERGE),
        await api.said("PATCH", path, {"status": {"reservedFor": None}}, content_type=MERGE),
    ]


# -- deletions ----------------------------------------------------------------------------------------------------------


@question("a deletion, and one more")
async def _(api: Api) -> Any:
    made = await api.make(SLICES, a_slice(api))
    path = f"{SLICES}/{made['metadata']['name']}"
    return [await api.said("DELETE", path), await api.said("DELETE", path)]


@question("a deletion of a claim")
async def _(api: Api) -> Any:
    claim = await api.make(api.claims, a_claim(api))
    path = f"{api.claims}/{claim['metadata']['name']}"
    return [await api.said("DELETE", path), await api.said("GET", path)]


@question("a deletion of a class, a template, a pod, a namespaced thing of another group")
async def _(api: Api) -> Any:
    pod = {
        "metadata": {"name": api.name("pod")},
        "spec": {"containers": [{"name": "a", "image": "a"}], "schedulerName": "nobody"},
    }
    lease = {"metadata": {"name": api.name("lease")}, "spec": {}}
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
    template = {"metadata": {"name": api.name("template")}, "spec": {"spec": bad_claims.good()}}
    things = [
        (CLASSES, {"metadata": {"name": api.name("class")}, "spec": {}}),
        (api.templates, template),
        (api.pods, pod),
        (leases, lease),
    ]
    kinds = []
    for path, body in things:
        made = await api.make(path, body)
        answer = await api.said("DELETE", f"{path}/{made['metadata']['name']}")
        kinds.append([answer["code"], answer["object"]["kind"]])
    return kinds


@question("a deletion with preconditions that do not hold")
async def _(api: Api) -> Any:
    made = await api.make(SLICES, a_slice(api))
    path = f"{SLICES}/{made['metadata']['name']}"
    return [
        await api.said("DELETE", path, {"preconditions": {"uid": bad_slices.UID}}),
        await api.said("DELETE", path, {"preconditions": {"resourceVersion": "1"}}),
        (await api.said("DELETE", path, {"preconditions": {"uid": made["metadata"]["uid"]}}))["code"],
    ]


@question("a deletion of something with a finalizer")
async def _(api: Api) -> Any:
    body = a_slice(api)
    body["metadata"]["finalizers"] = ["example.com/hold"]
    made = await api.make(SLICES, body)
    path = f"{SLICES}/{made['metadata']['name']}"
    deleted = await api.said("DELETE", path)
    again = await api.said("DELETE", path)
    _, held = await api.ask("GET", path)
    added = copy.deepcopy(held)
    added["metadata"]["finalizers"].append("example.com/more")
    more = await api.said("PUT", path, added)
    held["metadata"]["finalizers"] = []
    code, _ = await api.ask("PUT", path, held)
    return [deleted, again, more, code, (await api.ask("GET", path))[0]]


@question("a deletion of many by their fields")
async def _(api: Api) -> Any:
    await _several(api, 3)
    await api.make(SLICES, a_slice(api, "elsewhere", nodeName=api.name("other")))
    selector = f"spec.nodeName={api.name('node')},spec.driver={api.tag}.example.com"
    code, answer = await api.ask("DELETE", SLICES, fieldSelector=selector)
    _, left = await api.ask("GET", SLICES, **own(api))
    return [
        code,
        answer["kind"],
        len(answer.get("items", [])),
        [api.plain(one["metadata"]["name"]) for one in left["items"]],
    ]


@question("a deletion of none")
async def _(api: Api) -> Any:
    answer = await api.said("DELETE", SLICES, fieldSelector="spec.driver=nobody.example.com")
    return [answer["code"], answer["object"]["kind"]]


# -- nodes and pods, as far as drivers see them -------------------------------------------------------------------------


@question("a pod with claims that are none")
async def _(api: Api) -> Any:
    def pod(claims: list[Object], used: list[Object]) -> Object:
        container = {"name": "main", "image": "a", "resources": {"claims": used}}
        return {"metadata": {"name": api.name("pod")}, "spec": {"containers": [container], "resourceClaims": claims}}

    asked = [
        pod([{"name": "a", "resourceClaimName": "b"}], [{"name": "c"}]),
        pod([{"name": "a"}], []),
        pod([{"name": "a", "resourceClaimName": "b", "resourceClaimTemplateName": "c"}], []),
        pod([{"name": "a", "resourceClaimName": "b"}] * 2, []),
        pod([{"name": "A", "resourceClaimName": "b"}], []),
        pod([{"name": "a", "resourceClaimName": "b"}], [{"name": "a"}, {"name": "a"}]),
        pod([{"name": "a", "resourceClaimName": "B"}], []),
    ]
    return [await api.said("POST", api.pods, body, dryRun="All") for body in asked]
