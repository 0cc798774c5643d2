"""What is written so that the API server has the slices of a pool, and what a scheduler may see in between."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin.dra import plan

POOL = plan.Pool("myplugin.io", "kind-worker2", "node-uid")


class Server:
    """As much of an API server as a plan needs."""

    def __init__(self) -> None:
        self.slices: dict[str, dict[str, Any]] = {}
        self.writes = 0

    def put(self, body: dict[str, Any]) -> None:
        self.writes += 1
        body = copy.deepcopy(body)
        metadata, name = body["metadata"], body["metadata"]["name"]
        assert metadata.pop("resourceVersion", None) == (self.slices.get(name) or {"metadata": {}})["metadata"].get(
            "resourceVersion"
        )
        metadata["resourceVersion"] = str(self.writes)
        for device in body["spec"]["devices"]:
            for taint in device.get("taints") or []:
                taint.setdefault("timeAdded", f"at write {self.writes}")
        self.slices[name] = body

    def delete(self, body: dict[str, Any]) -> None:
        self.writes += 1
        del self.slices[body["metadata"]["name"]]


def seen(slices: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return every list of devices that a consumer may allocate from; none while the pool is incomplete.

    It takes the count from whichever slice of the newest generation it meets first (pools_stable.go).
    """
    newest = max((found["spec"]["pool"]["generation"] for found in slices.values()), default=0)
    current = [found for found in slices.values() if found["spec"]["pool"]["generation"] == newest]
    devices = sorted(device["name"] for found in current for device in found["spec"]["devices"])
    return [devices for found in current if found["spec"]["pool"]["resourceSliceCount"] == len(current)]


def steps(server: Server, wanted: dict[str, list[Any]], times: Any = None) -> list[Any]:
    """Write until nothing is left; return what can be seen after each write."""
    views = []
    for _ in range(10):
        todo = plan.plan(POOL, wanted, server.slices, times=times or {})
        if not todo:
            return views
        for body in (*todo.update, *todo.create):
            server.put(body)
            views.append(seen(server.slices))
        for body in todo.delete:
            server.delete(body)
            views.append(seen(server.slices))
    raise AssertionError("it never ends")


def devices(*names: str, **taints: str) -> list[dict[str, Any]]:
    found = [{"name": name} for name in names]
    for device in found:
        if device["name"] in taints:
            device["taints"] = [{"key": "k", "effect": taints[device["name"]]}]
    return found


WANTED = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=3, unique=True), min_size=1, max_size=4).map(
    # a device stands in one slice
    lambda rows: {
        f"s{index}": devices(*(name for name in row if not any(name in before for before in rows[:index])))
        for index, row in enumerate(rows)
    }
)


@given(st.lists(WANTED, min_size=1, max_size=4), st.integers(0, 20))
def test_a_scheduler_sees_the_old_pool_or_the_new_one_or_none(wishes: list[Any], killed_after: int) -> None:
    server, before = Server(), []
    for wanted in wishes:
        views = steps(server, wanted)
        new = sorted(device["name"] for row in wanted.values() for device in row)

        for view in views:
            for one in view:
                assert one in (before, new)
        assert seen(server.slices)
        assert all(view == new for view in seen(server.slices))
        assert set(server.slices) == set(wanted)
        before = new


@given(WANTED, WANTED, WANTED, st.integers(0, 6))
def test_a_writer_that_is_killed_half_way_leaves_nothing_wrong(
    first: Any, second: Any, third: Any, writes: int
) -> None:
    server = Server()
    steps(server, first)
    todo = plan.plan(POOL, second, server.slices, times={})
    for body in (*todo.update, *todo.create)[:writes]:
        server.put(body)
    half = seen(server.slices)

    views = steps(server, third)

    new = sorted(device["name"] for row in third.values() for device in row)
    old = [sorted(device["name"] for row in wish.values() for device in row) for wish in (first, second)]
    assert all(one in old for one in half)
    assert all(one in (*old, new) for view in views for one in view)
    assert all(view == new for view in seen(server.slices))


def test_a_flip_writes_one_slice_and_keeps_the_generation() -> None:
    server = Server()
    steps(server, {"s0": devices("a", "b"), "s1": devices("c")})

    views = steps(server, {"s0": devices("a", "b", b="NoSchedule"), "s1": devices("c")})

    assert len(views) == 1
    assert {found["spec"]["pool"]["generation"] for found in server.slices.values()} == {1}


def test_a_slice_that_somebody_deleted_is_all_that_is_written() -> None:
    server, wanted = Server(), {"s0": devices("a"), "s1": devices("b")}
    steps(server, wanted)
    del server.slices["s1"]

    assert steps(server, wanted) == [[["a", "b"]] * 2]


def test_a_slice_that_somebody_changed_is_put_right() -> None:
    server, wanted = Server(), {"s0": devices("a"), "s1": devices("b")}
    steps(server, wanted)
    server.slices["s0"]["spec"]["devices"] = devices("x")

    assert len(steps(server, wanted)) == 1
    assert steps(server, wanted) == []


def test_a_shrinking_pool_has_no_window() -> None:
    server = Server()
    steps(server, {"s0": devices("a"), "s1": devices("b")})

    assert all(steps(server, {"s0": devices("a")}))


def test_nothing_is_written_for_the_time_that_the_server_put() -> None:
    server, wanted = Server(), {"s0": devices("a", a="NoExecute")}

    assert len(steps(server, wanted)) == 1
    assert steps(server, wanted) == []


def test_a_taint_keeps_its_time_when_its_slice_is_written_or_made_again() -> None:
    server = Server()
    steps(server, {"s0": devices("a", "b", a="NoExecute")})
    times = plan.taint_times(server.slices.values())

    steps(server, {"s0": devices("a", "b", a="NoExecute", b="None")}, times)
    del server.slices["s0"]
    steps(server, {"s0": devices("a", "b", a="NoExecute", b="None")}, times)

    taints = {device["name"]: device["taints"][0]["timeAdded"] for device in server.slices["s0"]["spec"]["devices"]}
    assert taints == {"a": "at write 1", "b": "at write 3"}


def test_another_effect_is_another_taint_with_a_time_of_its_own() -> None:
    server = Server()
    steps(server, {"s0": devices("a", a="NoSchedule")})
    times = plan.taint_times(server.slices.values())

    steps(server, {"s0": devices("a", a="NoExecute")}, times)

    assert server.slices["s0"]["spec"]["devices"][0]["taints"][0]["timeAdded"] == "at write 2"


def test_the_slices_go_with_their_node_and_come_with_another() -> None:
    server, wanted = Server(), {"s0": devices("a")}
    steps(server, wanted)
    owner = server.slices["s0"]["metadata"]["ownerReferences"]

    assert owner == [
        {"apiVersion": "v1", "kind": "Node", "name": "kind-worker2", "uid": "node-uid", "controller": True}
    ]
    another = plan.Pool(POOL.driver, POOL.node, "another uid")
    assert len(plan.plan(another, wanted, server.slices, times={}).update) == 1


def test_what_another_driver_or_node_has_is_let_be() -> None:
    server, wanted = Server(), {"s0": devices("a")}
    for name, pool in (("s0", plan.Pool("other.io", POOL.node, "")), ("x", plan.Pool(POOL.driver, "other", ""))):
        server.put(pool.slice(name, [], generation=7, count=1))

    assert not plan.plan(POOL, wanted, server.slices, times={})


def test_a_slice_of_a_pool_that_we_had_before_is_removed() -> None:
    server = Server()
    body = POOL.slice("old", devices("a"), generation=3, count=1)
    body["spec"]["pool"]["name"] = "an older name of the pool"
    server.put(body)

    assert [found["metadata"]["name"] for found in plan.plan(POOL, {"s0": []}, server.slices, times={}).delete] == [
        "old"
    ]


def test_fields_that_a_server_drops_are_named() -> None:
    assert plan.missing_fields(devices("a", a="None"), devices("a")) == {"taints"}
    assert plan.missing_fields(devices("a"), [{"name": "a", "more": 1}]) == set()


def test_a_write_is_told_by_what_is_told_otherwise_since() -> None:
    def one(name: str, at: str = "", **taint: str) -> dict[str, Any]:
        return {"name": name, "taints": [{**taint, **({"timeAdded": at} if at else {})}]} if taint else {"name": name}

    before = [one("a"), one("b", "2026-01-01T00:00:00Z", key="x/unhealthy"), one("c")]
    now = [one("a", key="x/unhealthy"), one("b", key="x/unhealthy"), one("d")]

    assert plan.difference(before, now) == {"a": one("a", key="x/unhealthy"), "d": one("d"), "c": None}
