"""The face for code without an event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

import fakekubelet
from fakekubelet import pod, stub_plugin


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "fakekubelet"]


class Life:
    """Something that lives in an event loop."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.is_up = False

    async def __aenter__(self) -> Life:
        if self.fails:
            raise OSError("no room")
        self.is_up = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_up = False

    async def wait(self) -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    def call(self, function):
        return function()


Life.__module__ = "fakekubelet.life"  # parts are known by where they come from


def test_methods_are_done_when_they_return():
    life = Life()

    with fakekubelet.Blocking(life) as blocking:
        assert blocking.is_up
        assert blocking.wait() == "fakekubelet"
        assert threads() == ["fakekubelet"]

    assert not life.is_up
    assert threads() == []


def test_a_function_called_by_it_may_look_but_not_wait():
    with fakekubelet.Blocking(Life()) as blocking:
        assert blocking.call(lambda: blocking.is_up) is True
        with pytest.raises(RuntimeError, match="cannot wait"):
            blocking.call(blocking.wait)


def test_what_cannot_start_says_so_and_leaves_no_thread():
    with pytest.raises(OSError, match="no room"), fakekubelet.Blocking(Life(fails=True)):
        pass

    assert threads() == []


def test_what_is_not_up_has_no_attributes():
    blocking = fakekubelet.Blocking(Life())

    with pytest.raises(AttributeError, match="is not up; enter it by `with`"):
        _ = blocking.is_up
    with blocking:
        with pytest.raises(AttributeError, match="no_such"):
            _ = blocking.no_such
        assert {"wait", "is_up"} <= set(dir(blocking))


def test_an_error_is_raised_where_the_call_was_made(short_dir):
    with fakekubelet.Blocking(fakekubelet.FakeKubelet(short_dir / "dp", node_name="n1")) as kubelet:
        with pytest.raises(TimeoutError, match="kubelet of n1"):
            kubelet.wait_for(lambda: False, timeout=0.01)
        with pytest.raises(ZeroDivisionError):
            kubelet.wait_for(lambda: 1 / 0)
        with pytest.raises(RuntimeError, match="already up"):
            kubelet.start()


def test_a_plugin_a_kubelet_and_a_cluster_meet(short_dir):
    with (
        fakekubelet.Blocking(fakekubelet.LocalCluster(["n1"])) as cluster,
        fakekubelet.Blocking(
            fakekubelet.StubPlugin(cluster.nodes["n1"].plugin_dir, "example.com/x", stub_plugin.devices("a", "b"))
        ) as plugin,
    ):
        plugin.register()
        cluster.wait_for(lambda: cluster.nodes["n1"].node_status.allocatable.get("example.com/x") == 2)
        admitted = cluster.nodes["n1"].admit(pod.simple("p", {"example.com/x": 1}))
        cluster.nodes["n1"].start_container(admitted)

        assert admitted.phase == "Running"
        assert plugin.count("Allocate") == 1
