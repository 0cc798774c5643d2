"""The store and what lists and watches make of it, against what client-go relies on."""

import asyncio
import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakekubelet.apiserver import api_error, kinds, selectors, store, watching

PODS, SLICES, NODES = (kinds.of_plural(plural) for plural in ("pods", "resourceslices", "nodes"))


def pod(name, namespace="ns", **fields):
    return {"metadata": {"name": name, "namespace": namespace, "labels": fields}}


def names(found):
    return [stored.key for stored in found]


def test_what_is_stored_gets_the_next_version_and_is_there_by_its_name():
    objects = store.Store()
    document = pod("a")

    stored = objects.put(PODS, document)

    assert (objects.revision, stored.revision, stored.kind, stored.key) == (1001, 1001, PODS, ("ns", "a"))
    assert stored.document is document
    assert document["metadata"]["resourceVersion"] == "1001"
    assert objects.get(PODS, ("ns", "a")) is stored
    assert objects.get(PODS, ("other", "a")) is None
    assert objects.get(NODES, ("ns", "a")) is None
    assert objects.put(NODES, {"metadata": {"name": "n"}}).key == ("", "n")


def test_objects_are_listed_by_namespace_and_name():
    objects = store.Store()
    for namespace, name in (("b", "x"), ("a", "z"), ("a", "y")):
        objects.put(PODS, pod(name, namespace))
    objects.put(NODES, {"metadata": {"name": "n"}})

    assert names(objects.all(PODS)) == names(objects.all(PODS, "")) == [("a", "y"), ("a", "z"), ("b", "x")]
    assert names(objects.all(PODS, "a")) == [("a", "y"), ("a", "z")]
    assert objects.all(PODS, "c") == []


def test_what_is_removed_is_given_back_as_it_was_with_the_version_of_its_end():
    objects = store.Store()
    stored = objects.put(PODS, pod("a"))

    last = objects.remove(PODS, ("ns", "a"))

    assert objects.get(PODS, ("ns", "a")) is None
    assert (objects.revision, last.revision) == (1002, 1002)
    assert last.document == {"metadata": {"name": "a", "namespace": "ns", "labels": {}, "resourceVersion": "1002"}}
    assert stored.document["metadata"]["resourceVersion"] == "1001"
    with pytest.raises(KeyError):
        objects.remove(PODS, ("ns", "a"))
    assert objects.revision == 1002


def test_who_listens_to_a_kind_hears_each_change_with_what_was_there_before():
    objects, heard, also = store.Store(), [], []
    stop = objects.listen(PODS, heard.append)
    objects.listen(PODS, also.append)

    first = objects.put(PODS, pod("a"))
    objects.put(NODES, {"metadata": {"name": "n"}})
    second = objects.put(PODS, pod("a", x="1"))
    last = objects.remove(PODS, ("ns", "a"))
    stop()
    objects.put(PODS, pod("b"))

    assert heard == [
        store.Change(store.ChangeType.ADDED, first, None), store.Change(store.ChangeType.MODIFIED, second, first),
        store.Change(store.ChangeType.DELETED, last, second),
    ]  # fmt: skip
    assert len(also) == 4


def test_a_listener_may_stop_listening_while_it_hears():
    objects, heard = store.Store(), []

    def once(change):
        heard.append(change)
        stop()

    stop = objects.listen(PODS, once)
    objects.listen(PODS, heard.append)
    objects.put(PODS, pod("a"))
    objects.put(PODS, pod("b"))

    assert len(heard) == 3


def refused(call):
    with pytest.raises(api_error.ApiError) as caught:
        call()
    return caught.value


def test_changes_of_a_kind_are_known_from_a_version_on():
    objects = store.Store()
    objects.put(PODS, pod("a"))
    objects.put(NODES, {"metadata": {"name": "n"}})
    objects.put(PODS, pod("b"))

    def since(revision):
        return [change.new.revision for change in objects.since(PODS, revision)]

    assert (since(1000), since(1001), since(1002), since(1003)) == ([1001, 1003], [1003], [1003], [])
    assert [change.new.revision for change in objects.since(NODES, 1000)] == [1002]


def test_what_is_yet_to_come_and_what_is_forgotten_is_refused():
    objects = store.Store()
    objects.put(PODS, pod("a"))
    objects.put(PODS, pod("b"))

    late = refused(lambda: objects.since(PODS, 1003))
    assert (late.code, late.reason, late.message) == (504, "Timeout", "Too large resource version: 1003, current: 1002")
    assert late.retry_after_s == 1
    early = refused(lambda: objects.since(PODS, 999))
    assert (early.code, early.reason, early.message) == (410, "Expired", "too old resource version: 999 (1000)")

    objects.forget_history()
    assert refused(lambda: objects.since(PODS, 1001)).message == "too old resource version: 1001 (1002)"
    assert list(objects.since(PODS, 1002)) == []
    objects.reach(1002)
    assert refused(lambda: objects.reach(1003)).code == 504


def test_of_many_changes_the_newest_ten_thousand_are_known():
    objects = store.Store()
    for _ in range(store.HISTORY):
        objects.put(NODES, {"metadata": {"name": "n"}})
    assert store.HISTORY == 10_000
    assert len(list(objects.since(NODES, 1000))) == store.HISTORY

    objects.put(NODES, {"metadata": {"name": "n"}})
    objects.put(NODES, {"metadata": {"name": "n"}})

    assert refused(lambda: objects.since(NODES, 1001)).message == "too old resource version: 1001 (1002)"
    assert len(list(objects.since(NODES, 1002))) == store.HISTORY


def test_each_version_shows_an_object_in_its_shape_and_it_is_encoded_once():
    objects = store.Store()
    stored = objects.put(SLICES, {"metadata": {"name": "s"}, "spec": {"devices": [{"name": "a", "x": "ü"}]}})
    metadata = {"name": "s", "resourceVersion": "1001"}
    v1 = {"metadata": metadata, "spec": {"devices": [{"name": "a", "x": "ü"}]}}
    old = {"metadata": metadata, "spec": {"devices": [{"name": "a", "basic": {"x": "ü"}}]}}

    for version, shape in (("v1", v1), ("v1beta1", old)):
        whole = {**shape, "apiVersion": f"resource.k8s.io/{version}", "kind": "ResourceSlice"}
        assert stored.shown(version) == whole
        assert json.loads(stored.encoded(version)) == whole
        assert json.loads(stored.as_item(version)) == shape
        assert stored.as_item(version) is stored.as_item(version)
    assert b" " not in stored.encoded("v1")
    node = objects.put(NODES, {"metadata": {"name": "n"}})
    assert json.loads(node.encoded("v1")) == node.shown("v1") == {
        "metadata": {"name": "n", "resourceVersion": "1002"}, "apiVersion": "v1", "kind": "Node",
    }  # fmt: skip


# -- what is asked of lists and watches -----------------------------------------------------------------------------------


def chosen(kind=PODS, namespace="", name="", version="v1", **query):
    return watching.selection(kind, version, namespace, name, query)


def test_a_query_without_anything_chooses_all_and_asks_for_nothing():
    found = chosen()

    assert (found.kind, found.version, found.namespace, found.resource_version, found.limit, found.continue_token) == (
        PODS,
        "v1",
        "",
        "",
        0,
        "",
    )
    assert (found.sends_initial_events, found.allows_bookmarks, found.timeout_s) == (None, False, None)
    assert found.takes(store.Stored(PODS, pod("a"), 1))
    assert not found.takes(None)


def test_a_query_says_what_it_wants():
    found = chosen(
        resourceVersion="7", limit="3", sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="1", timeoutSeconds="5",
        watch="1", **{"continue": "c"},
    )  # fmt: skip

    assert (found.resource_version, found.limit, found.continue_token) == ("7", 3, "c")
    assert (found.sends_initial_events, found.allows_bookmarks, found.timeout_s) == (True, True, 5.0)
    assert watching.Selection(PODS, "v1", "", selectors.always) == watching.Selection(
        PODS, "v1", "", selectors.always, "", 0, "", None, False, None
    )


@pytest.mark.parametrize(
    ("word", "is_on"),
    [("true", True), ("1", True), ("false", False), ("0", False), ("", False), ("yes", False), ("True", False)],
)
def test_bookmarks_are_asked_for_by_true_or_1(word, is_on):
    assert chosen(allowWatchBookmarks=word, watch="true").allows_bookmarks is is_on


@pytest.mark.parametrize(
    ("word", "initial"), [("true", True), ("1", True), ("false", False), ("0", False), ("", None), ("yes", None)]
)
def test_initial_events_are_asked_for_or_not_or_left_open(word, initial):
    match = {"resourceVersionMatch": "NotOlderThan"} if initial is not None else {}
    assert chosen(sendInitialEvents=word, watch="true", **match).sends_initial_events is initial


@pytest.mark.parametrize(
    ("where", "taken"),
    [
        ({}, ["ns/a", "ns/b", "other/a"]), ({"namespace": "ns"}, ["ns/a", "ns/b"]), ({"name": "a"}, ["ns/a", "other/a"]),
        ({"namespace": "ns", "name": "a"}, ["ns/a"]), ({"labelSelector": "x=1"}, ["ns/a"]), ({"fieldSelector": "metadata.name=b"}, ["ns/b"]),
        ({"labelSelector": "x=1", "fieldSelector": "metadata.name=b"}, []), ({"name": "b", "labelSelector": "x=1"}, []),
        ({"name": "a", "labelSelector": "x=1"}, ["ns/a"]),
    ],
)  # fmt: skip
def test_an_object_is_taken_if_place_name_labels_and_fields_are_right(where, taken):
    found = chosen(**where)
    pods = [pod("a", x="1"), pod("b"), pod("a", "other")]

    assert [
        "/".join(stored.key) for stored in (store.Stored(PODS, one, 1) for one in pods) if found.takes(stored)
    ] == taken


OPTIONS = 'ListOptions.meta.k8s.io "" is invalid: '
NEEDS_VERSION = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
NO_EXACT = 'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
FOR_LISTS = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"
NEEDS_MATCH = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
FOR_WATCHES = (
    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
)
NO_SUCH_MATCH = 'resourceVersionMatch: Unsupported value: "Some": supported values: "Exact", "NotOlderThan", ""'
PARSE = 'strconv.ParseUint: parsing "{}": invalid syntax'


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ({"resourceVersionMatch": "Exact"}, 422, OPTIONS + NEEDS_VERSION),
        ({"resourceVersionMatch": "Some", "resourceVersion": "7"}, 422, OPTIONS + NO_SUCH_MATCH),
        ({"resourceVersionMatch": "Some"}, 422, f"{OPTIONS}[{NEEDS_VERSION}, {NO_SUCH_MATCH}]"),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, 422, OPTIONS + NO_EXACT),
        ({"sendInitialEvents": "false"}, 422, OPTIONS + FOR_LISTS),
        ({"watch": "1", "sendInitialEvents": "true"}, 422, OPTIONS + NEEDS_MATCH),
        (
            {"watch": "1", "sendInitialEvents": "false", "resourceVersionMatch": "Exact"}, 422,
            f'{OPTIONS}[{NEEDS_MATCH}, resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]',
        ),
        ({"watch": "true", "resourceVersionMatch": "NotOlderThan"}, 422, OPTIONS + FOR_WATCHES),
        ({"resourceVersion": "a\""}, 400, 'invalid resource version: resourceVersion: Invalid value: "a\\"": ' + PARSE.format('a\\"')),
        ({"watch": "1", "resourceVersion": "-1"}, 500, PARSE.format("-1")),
    ],
)  # fmt: skip
def test_a_query_that_means_nothing_is_refused(query, code, message):
    error = refused(lambda: chosen(**query))

    assert (error.code, error.message) == (code, message)
    assert error.reason == {422: "Invalid", 400: "BadRequest", 500: ""}[code]


@pytest.mark.parametrize(
    "query",
    [
        {"resourceVersionMatch": "Exact", "resourceVersion": "7"}, {"resourceVersionMatch": "NotOlderThan", "resourceVersion": "0"},
        {"resourceVersion": "0"}, {"watch": "1", "sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan"},
        {"watch": "0", "resourceVersion": "7", "resourceVersionMatch": "Exact"},
    ],
)  # fmt: skip
def test_a_query_that_means_something_is_read(query):
    assert chosen(**query).resource_version == query.get("resourceVersion", "")


# -- lists ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def objects():
    made = store.Store()
    for name in "edcba":
        made.put(PODS, pod(name, x=name))
    return made


def listed(objects, **query):
    return json.loads(watching.listed(objects, chosen(**query)))


def test_a_list_is_whole_with_the_version_of_its_moment(objects):
    assert listed(objects, namespace="ns", labelSelector="x in (a,b)") == {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "1005"},
        "items": [
            {"metadata": {"name": "a", "namespace": "ns", "labels": {"x": "a"}, "resourceVersion": "1005"}},
            {"metadata": {"name": "b", "namespace": "ns", "labels": {"x": "b"}, "resourceVersion": "1004"}},
        ],
    }
    assert listed(objects, kind=SLICES, version="v1beta2") == {
        "kind": "ResourceSliceList", "apiVersion": "resource.k8s.io/v1beta2", "metadata": {"resourceVersion": "1005"}, "items": [],
    }  # fmt: skip


def test_a_list_comes_in_parts_that_say_what_is_left_and_all_have_the_first_ones_version(objects):
    first = listed(objects, limit="2")
    objects.put(PODS, pod("aa"))
    objects.remove(PODS, ("ns", "c"))
    second = listed(objects, limit="2", **{"continue": first["metadata"]["continue"]})

    def shown(part):
        metadata = {key: value for key, value in part["metadata"].items() if key != "continue"}
        return [item["metadata"]["name"] for item in part["items"]], metadata

    assert shown(first) == (["a", "b"], {"resourceVersion": "1005", "remainingItemCount": 3})
    assert shown(second) == (["d", "e"], {"resourceVersion": "1005"})
    assert "continue" not in second["metadata"]


@pytest.mark.parametrize(
    ("limit", "sizes"), [("1", [1] * 5), ("4", [4, 1]), ("5", [5]), ("6", [5]), ("0", [5]), ("", [5])]
)
def test_parts_are_as_large_as_they_may_be(objects, limit, sizes):
    found, more = [], {}
    while True:
        part = listed(objects, limit=limit, **more)
        found.append(part["items"])
        if "continue" not in part["metadata"]:
            break
        more = {"continue": part["metadata"]["continue"]}

    assert [len(part) for part in found] == sizes
    assert [item["metadata"]["name"] for part in found for item in part] == list("abcde")


def token(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "text", ["rubbish", "a", token(7), token({}), token({"rv": "x", "start": ["a", "b"]}), token({"rv": 1000, "start": ["a"]}), token({"rv": 1000}), token([1])]
)  # fmt: skip
def test_a_part_that_continues_nothing_is_refused(objects, text):
    error = refused(lambda: listed(objects, limit="2", **{"continue": text}))

    assert (error.code, error.reason) == (400, "BadRequest")
    assert error.message.startswith("continue key is not valid: ")


def test_a_part_that_continues_something_forgotten_is_gone(objects):
    first = listed(objects, limit="2")
    objects.put(PODS, pod("f"))
    objects.forget_history()

    assert refused(lambda: listed(objects, limit="2", **{"continue": first["metadata"]["continue"]})).code == 410


def test_a_list_from_the_future_is_refused(objects):
    assert refused(lambda: listed(objects, resourceVersion="1006")).code == 504
    assert len(listed(objects, resourceVersion="1005")["items"]) == 5


# -- watches --------------------------------------------------------------------------------------------------------------


def read(content):
    """Return the events in a piece of what a client gets, as (type, name, version)."""
    events = [json.loads(line) for line in content.splitlines()]
    return [
        (event["type"], event["object"]["metadata"].get("name"), event["object"]["metadata"]["resourceVersion"])
        for event in events
    ]


class Reader:
    """A client of a watch, which waits no longer than ten seconds for anything."""

    def __init__(self, objects, period_s=100.0, **query):
        self.watch = watching.Watch(objects, chosen(watch="1", **query), bookmark_period_s=period_s)
        self._lines = self.watch.lines()

    async def piece(self):
        return await asyncio.wait_for(anext(self._lines), 10)

    async def events(self):
        return read(await self.piece())

    async def ends(self):
        with pytest.raises(StopAsyncIteration):
            await self.piece()


async def test_a_watch_from_nowhere_sends_its_headers_then_what_is_there_then_what_comes(objects):
    reader = Reader(objects, labelSelector="x in (a,b)")

    assert await reader.piece() == b""
    assert await reader.events() == [("ADDED", "a", "1005"), ("ADDED", "b", "1004")]
    objects.put(PODS, pod("b", x="b", y="1"))
    objects.put(PODS, pod("c", x="c", y="1"))
    objects.put(PODS, pod("c", x="a"))
    objects.put(PODS, pod("c", x="z"))
    objects.put(NODES, {"metadata": {"name": "n"}})
    objects.remove(PODS, ("ns", "a"))
    objects.remove(PODS, ("ns", "c"))
    assert await reader.events() == [
        ("MODIFIED", "b", "1006"), ("ADDED", "c", "1008"), ("DELETED", "c", "1009"), ("DELETED", "a", "1011"),
    ]  # fmt: skip
    reader.watch.cut()
    await reader.ends()


async def test_what_leaves_a_selection_is_deleted_as_it_was_when_it_was_in_it(objects):
    reader = Reader(objects, resourceVersion="1005", labelSelector="x=a")
    await reader.piece()
    objects.put(PODS, {**pod("a", x="z"), "spec": {"new": True}})

    event = json.loads(await reader.piece())

    assert event == {
        "type": "DELETED",
        "object": {
            "metadata": {"name": "a", "namespace": "ns", "labels": {"x": "a"}, "resourceVersion": "1006"}, "apiVersion": "v1", "kind": "Pod",
        },
    }  # fmt: skip
    assert objects.get(PODS, ("ns", "a")).document["metadata"]["labels"] == {"x": "z"}


@pytest.mark.parametrize(
    ("query", "events"),
    [
        ({}, ["ADDED a", "ADDED b", "ADDED c", "ADDED d", "ADDED e"]),
        ({"resourceVersion": "0"}, ["ADDED a", "ADDED b", "ADDED c", "ADDED d", "ADDED e"]),
        ({"resourceVersion": "1003"}, ["ADDED b", "ADDED a"]),
        ({"resourceVersion": "1003", "sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan"}, ["ADDED b", "ADDED a"]),
        (
            {"resourceVersion": "1003", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "fieldSelector": "metadata.name=e"},
            ["ADDED e"],
        ),
        ({"sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan"}, []),
        ({"resourceVersion": "0", "sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan"}, []),
        ({"resourceVersion": "1005"}, []), ({"namespace": "other"}, []),
        (
            {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "1", "labelSelector": "x=a"},
            ["ADDED a", "BOOKMARK None"],
        ),
        ({"allowWatchBookmarks": "1", "labelSelector": "x=a"}, ["ADDED a"]),
    ],
)  # fmt: skip
async def test_a_watch_begins_as_it_is_asked_to(objects, query, events):
    reader = Reader(objects, **query)
    assert await reader.piece() == b""
    objects.put(PODS, pod("z", "other" if "namespace" in query else "ns", x=query.get("labelSelector", "x=e")[2:]))
    if query.get("fieldSelector"):
        objects.put(PODS, pod("e", x="new"))

    found = await reader.events()

    assert [f"{kind} {name}" for kind, name, _ in found] == [
        *events,
        "MODIFIED e" if query.get("fieldSelector") else "ADDED z",
    ]


async def test_the_bookmark_that_ends_the_initial_events_says_so(objects):
    reader = Reader(
        objects,
        kind=SLICES,
        version="v1beta2",
        sendInitialEvents="true",
        resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true",
    )
    await reader.piece()

    assert json.loads(await reader.piece()) == {
        "type": "BOOKMARK",
        "object": {
            "kind": "ResourceSlice",
            "apiVersion": "resource.k8s.io/v1beta2",
            "metadata": {
                "resourceVersion": "1005",
                "creationTimestamp": None,
                "annotations": {"k8s.io/initial-events-end": "true"},
            },
        },
    }


async def test_a_quiet_watch_gets_bookmarks_with_the_newest_version_if_it_allows_them(objects):
    reader = Reader(objects, period_s=0.001, resourceVersion="1005", allowWatchBookmarks="true")
    await reader.piece()
    objects.put(NODES, {"metadata": {"name": "n"}})

    assert json.loads(await reader.piece()) == {
        "type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "1006", "creationTimestamp": None}},
    }  # fmt: skip
    objects.put(PODS, pod("f"))
    assert await reader.events() == [("ADDED", "f", "1007")]
    assert await reader.events() == [("BOOKMARK", None, "1007")]


async def test_a_quiet_watch_that_does_not_allow_bookmarks_gets_none_until_its_time_is_over(objects):
    reader = Reader(objects, period_s=0.001, resourceVersion="1005", timeoutSeconds="0.02")
    await reader.piece()

    await reader.ends()


async def test_a_watch_is_over_when_its_time_is_and_gives_first_what_it_has(objects):
    reader = Reader(objects, timeoutSeconds="0.000001")

    assert await reader.piece() == b""
    assert len(await reader.events()) == 5
    await reader.ends()


async def test_a_watch_from_what_is_forgotten_is_told_so_and_ends(objects):
    objects.forget_history()
    reader = Reader(objects, resourceVersion="1004")

    assert json.loads(await reader.piece()) == {
        "type": "ERROR",
        "object": {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "too old resource version: 1004 (1005)",
            "reason": "Expired", "code": 410,
        },
    }  # fmt: skip
    await reader.ends()


async def test_a_watch_from_the_future_is_refused(objects):
    reader = Reader(objects, resourceVersion="1006")

    with pytest.raises(api_error.ApiError) as caught:
        await reader.piece()
    assert caught.value.code == 504


async def test_what_happens_between_the_headers_and_the_first_events_comes_after_them(objects):
    reader = Reader(objects, labelSelector="x=a")
    await reader.piece()
    objects.put(PODS, pod("a", x="a", y="1"))

    assert await reader.events() == [("ADDED", "a", "1005"), ("MODIFIED", "a", "1006")]


async def test_a_watch_that_has_ended_hears_nothing_any_more(objects):
    heard = []
    listen = objects.listen

    def noted(kind, listener):
        forget = listen(kind, listener)
        heard.append("listens")
        return lambda: (heard.append("forgets"), forget())[1]

    objects.listen = noted
    for query in ({}, {"resourceVersion": "999"}, {"resourceVersion": "2000"}):
        reader = Reader(objects, **query)
        assert heard == []
        with contextlib.suppress(api_error.ApiError):
            await reader.piece()
        reader.watch.cut()
        while True:
            try:
                await reader.piece()
            except StopAsyncIteration:
                break
        assert heard == ["listens", "forgets"]
        heard.clear()


async def test_a_cut_wakes_a_watch_that_waits(objects):
    reader = Reader(objects, resourceVersion="1005")
    await reader.piece()
    waiting = asyncio.create_task(reader.ends())
    await asyncio.sleep(0)

    reader.watch.cut()
    await asyncio.wait_for(waiting, 10)


changes = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "x", "y"])), max_size=12)


@given(changes, st.integers(0, 12))
def test_who_lists_and_watches_from_there_has_what_a_new_list_has(done, split):
    """`""` deletes; a label says whether the object is chosen: the client keeps what it was told of."""
    objects = store.Store()

    def do(steps):
        for name, label in steps:
            there = objects.get(PODS, ("ns", name))
            if label:
                objects.put(PODS, pod(name, l=label))
            elif there:
                objects.remove(PODS, ("ns", name))

    do(done[:split])
    before = listed(objects, labelSelector="l=x")
    known = {item["metadata"]["name"] for item in before["items"]}
    do(done[split:])

    revision = before["metadata"]["resourceVersion"]
    last = int(revision)
    for kind, name, version in asyncio.run(all_events(objects, revision)):
        assert int(version) > last
        last = int(version)
        assert (name in known) is (kind != "ADDED")
        known = known - {name} if kind == "DELETED" else known | {name}
    assert known == {item["metadata"]["name"] for item in listed(objects, labelSelector="l=x")["items"]}


async def all_events(objects, revision):
    reader = Reader(objects, resourceVersion=revision, labelSelector="l=x", timeoutSeconds="0.000001")
    found = []
    while True:
        try:
            found += await reader.events()
        except StopAsyncIteration:
            return found
