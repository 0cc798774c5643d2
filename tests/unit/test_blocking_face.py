"""The face without an event loop, in detail: what is handed in and out, and where things happen."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fakekubelet import blocking
from fakekubelet.blocking import Blocking, LoopThread


class Part:
    """Something with a method to wait for."""

    def __init__(self, name):
        self.name = name

    async def wait(self):
        await asyncio.sleep(0)
        return f"{self.name} in {threading.current_thread().name}"


class Plain:
    """Something without one."""

    def look(self):
        return 1


class Hidden:
    """Something whose only method to wait for is its own affair."""

    async def _wait(self):
        return 1


class Life(Part):
    """Something that lives in an event loop, with parts."""

    def __init__(self, name="life", error=None):
        super().__init__(name)
        self.error, self.log = error, []
        self.part, self.plain, self.hidden = Part("part"), Plain(), Hidden()
        self.parts = {"a": Part("a"), "b": 2}
        self.plains = {"a": 1, "b": Plain()}
        self.listed = [Part("listed")]

    async def __aenter__(self):
        self.log.append(("enter", threading.current_thread().name))
        if self.error is not None:
            raise self.error
        return self

    async def __aexit__(self, kind, error, trace):
        self.log.append(("exit", kind, error, trace is not None))

    def myself(self):
        return self

    def of(self, *given, **named):
        """Say what was given."""
        return given, named

    async def later(self, *given, **named):
        return given, named

    def future(self):
        return asyncio.get_running_loop().create_future()

    async def fails(self):
        raise ZeroDivisionError("one")

    @property
    def where(self):
        return threading.current_thread().name


class Other:
    """What an `async with` gives that is another than what it was."""

    def __init__(self, life):
        self.life = life

    async def __aenter__(self):
        return self.life

    async def __aexit__(self, *_):
        pass


for kind in (Part, Plain, Hidden, Life):
    kind.__module__ = "fakekubelet.parts"  # parts are known by where they come from


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name == "fakekubelet"]


def test_it_is_entered_and_left_in_its_own_thread_with_what_happened():
    life = Life()
    with Blocking(life) as face:
        assert isinstance(face, Blocking)
        assert threads() == ["fakekubelet"]
        assert next(thread for thread in threading.enumerate() if thread.name == "fakekubelet").daemon
    assert life.log == [("enter", "fakekubelet"), ("exit", None, None, False)]
    assert threads() == []

    life, error = Life(), ZeroDivisionError("one")
    with pytest.raises(ZeroDivisionError), Blocking(life):
        raise error
    assert life.log[1:] == [("exit", ZeroDivisionError, error, True)]
    assert threads() == []


def test_what_cannot_come_up_ends_the_thread_that_it_was_to_live_in():
    face = Blocking(Life(error=OSError("no room")))

    with pytest.raises(OSError, match="no room"):
        face.__enter__()
    assert threads() == []


def test_an_error_while_it_is_left_ends_the_thread_all_the_same():
    life = Life()
    face = Blocking(life)
    face.__enter__()
    life.__class__ = type("Failing", (Life,), {"__aexit__": Life.fails, "__module__": "fakekubelet.parts"})

    with pytest.raises(TypeError):
        face.__exit__(None, None, None)
    assert threads() == []
    with pytest.raises(AttributeError, match="is not up"):
        _ = face.name


def test_attributes_are_read_in_its_thread_and_methods_called_there():
    with Blocking(Life()) as face:
        assert face.where == "fakekubelet"
        assert face.wait() == "life in fakekubelet"
        assert face.of(1, two=2) == ((1,), {"two": 2})
        assert face.later(1, two=2) == ((1,), {"two": 2})
        assert (face.of.__name__, face.of.__doc__) == ("of", "Say what was given.")
        with pytest.raises(ZeroDivisionError, match="one"):
            face.fails()


def test_a_part_that_has_to_be_waited_for_is_blocking_too_and_nothing_else_is():
    life = Life()
    with Blocking(life) as face:
        assert isinstance(face.part, Blocking)
        assert face.part.wait() == "part in fakekubelet"
        assert repr(face.part) == f"<Blocking {life.part!r}>"
        assert face.parts["a"].wait() == "a in fakekubelet"
        assert (face.parts["b"], list(face.parts)) == (2, ["a", "b"])
        assert face.plain is life.plain
        assert face.hidden is life.hidden
        assert face.plains is life.plains
        assert face.listed is life.listed
        assert face.myself() is face
        with pytest.raises(AttributeError):
            _ = face._private
        assert threads() == ["fakekubelet"]


def test_a_part_is_handed_back_in_as_what_it_is():
    life = Life()
    with Blocking(life) as face:
        assert face.of(face.part, 1, whole=face) == ((life.part, 1), {"whole": life})
        assert face.later(face.part, part=face.part) == ((life.part,), {"part": life.part})


def test_what_is_entered_may_be_another_thing():
    life = Life()
    with Blocking(Other(life)) as face:
        assert face.name == "life"
        assert face.myself() is face


def test_a_thread_is_entered_and_left_at_once():
    done = []

    def use():
        with LoopThread() as thread:
            done.append(thread.call(lambda: 5))

    user = threading.Thread(target=use, daemon=True)
    user.start()
    user.join(5)

    assert (done, user.is_alive()) == ([5], False)


def test_several_may_share_a_thread():
    with LoopThread() as thread:
        with Blocking(Life("one"), thread=thread) as one, Blocking(Life("two"), thread=thread) as two:
            assert (one.wait(), two.wait()) == ("one in fakekubelet", "two in fakekubelet")
            assert threads() == ["fakekubelet"]
        assert threads() == ["fakekubelet"], "it is not theirs to end"
        with pytest.raises(OSError, match="no room"), Blocking(Life(error=OSError("no room")), thread=thread):
            pytest.fail("it came up")
        assert threads() == ["fakekubelet"]
    assert threads() == []


def test_names_are_those_of_what_it_is_without_its_own_affairs():
    with Blocking(Life()) as face:
        names = dir(face)

    assert {"wait", "part", "where", "name"} <= set(names)
    assert [name for name in names if name.startswith("_")] == []


def test_what_is_not_up_says_who_it_is():
    with pytest.raises(AttributeError, match=r"^wait: Life is not up; enter it by `with`$"):
        _ = Blocking(Life()).wait


def test_within_the_loop_a_value_is_returned_and_nothing_is_waited_for():
    with LoopThread() as thread:

        async def wait():
            return 1

        def within():
            with pytest.raises(RuntimeError, match=r"^a function that is called by the kubelet cannot wait for it$"):
                thread.call(wait)
            return thread.call(lambda: 5)

        assert thread.call(within) == 5
        assert thread.call(wait) == 1
        assert thread.call(lambda: thread.call(lambda: 6)) == 6


def test_a_call_that_is_interrupted_is_cancelled(monkeypatch):
    cancelled = threading.Event()

    async def wait():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with LoopThread() as thread:
        real = asyncio.run_coroutine_threadsafe

        def interrupted(coroutine, loop):
            future = real(coroutine, loop)
            monkeypatch.setattr(future, "result", _interrupt)
            return future

        monkeypatch.setattr(blocking.asyncio, "run_coroutine_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            thread.call(wait)
        assert cancelled.wait(2), "it goes on"


def _interrupt():
    raise KeyboardInterrupt
