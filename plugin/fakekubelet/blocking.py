"""The fake kubelet for code without an event loop: plain tests, scripts, an interpreter's prompt.

    with fakekubelet.Blocking(fakekubelet.FakeKubelet(Path("/tmp/dp"))) as kubelet:
        ...                                               # start any v1beta1 plugin on /tmp/dp
        kubelet.wait_for(lambda: kubelet.allocatable.get("example.com/dongle") == 3)

Whatever is an async context manager here can be had this way: a kubelet, a node, a plugin, a cluster. It lives in an
event loop of its own, in a thread; every attribute is read and every method called in that thread, and what has to be
awaited is waited for.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType


class LoopThread:
    """An event loop in a thread of its own, as a context manager."""

    def __init__(self) -> None:
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="fakekubelet", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._is_ready.set()
        await self._ending.wait()

    def call(self, function: Callable[[], Any]) -> Any:
        """Call *function* in the loop and return what it returns or, where that has to be awaited, what comes of it.

        From within the loop, as in a predicate that is being waited for, nothing can be waited for: RuntimeError.
        """
        if threading.current_thread() is self._thread:
            value = function()
            if inspect.iscoroutine(value):
                value.close()
                raise RuntimeError("a function that is called by the kubelet cannot wait for it")
            return value
        future = asyncio.run_coroutine_threadsafe(_awaited(function), self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C, or a test's time limit
            future.cancel()
            raise


async def _awaited(function: Callable[[], Any]) -> Any:
    value = function()
    return await value if inspect.isawaitable(value) else value


class Blocking:
    """Everything that an async object has, with methods that return when they are done.

    What those return is the same; a part that has methods to wait for, such as `FakeNode.kubelet`, is blocking too.
    """

    def __init__(self, life: AbstractAsyncContextManager[Any], *, thread: LoopThread | None = None) -> None:
        """Describe it; *thread* is one that is shared with others, and by default one of its own."""
        self._life = life
        self._own_thread = LoopThread() if thread is None else None
        self._thread = thread if thread is not None else self._own_thread
        self._target: Any = None

    def __enter__(self) -> Self:
        if self._own_thread is not None:
            self._own_thread.__enter__()
        try:
            self._target = self._call(self._life.__aenter__)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._call(lambda: self._life.__aexit__(kind, error, trace))
        finally:
            self._end()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._target is None:
            raise AttributeError(f"{name}: {type(self._life).__name__} is not up; enter it by `with`")
        value = self._call(lambda: getattr(self._target, name))
        return self._method(value) if inspect.ismethod(value) else self._outward(value)

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._target) if not name.startswith("_")]

    def __repr__(self) -> str:
        return f"<Blocking {self._target!r}>"

    def _end(self) -> None:
        self._target = None
        if self._own_thread is not None:
            self._own_thread.__exit__(None, None, None)

    def _call(self, function: Callable[[], Any]) -> Any:
        assert self._thread is not None
        return self._thread.call(function)

    def _method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def blocking(*arguments: Any, **named: Any) -> Any:
            plain = [_inward(argument) for argument in arguments]
            plain_named = {name: _inward(argument) for name, argument in named.items()}
            return self._outward(self._call(lambda: method(*plain, **plain_named)))

        blocking.__name__, blocking.__doc__ = getattr(method, "__name__", "call"), method.__doc__
        return blocking

    def _outward(self, value: Any) -> Any:
        if isinstance(value, dict) and any(_must_be_waited_for(part) for part in value.values()):
            return {key: self._outward(part) for key, part in value.items()}
        if not _must_be_waited_for(value):
            return value
        if value is self._target:
            return self
        part = Blocking(value, thread=self._thread)
        part._target = value
        return part


def _inward(argument: Any) -> Any:
    return argument._target if isinstance(argument, Blocking) else argument


def _must_be_waited_for(value: Any) -> bool:
    kind = type(value)
    return kind.__module__.partition(".")[0] == __package__ and any(
        inspect.iscoroutinefunction(method) for name, method in inspect.getmembers(kind) if not name.startswith("_")
    )
