"""Ends of the kit that are asked for from outside: it clears up, and says by which signal."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from fakekubelet.conformance import endings

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _as_before():
    """Put back what a test that fails leaves."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_raised_where_the_command_is_and_no_longer_afterwards(number):
    came = []
    signal.signal(number, lambda *given: came.append(given[0]))

    with pytest.raises(endings.EndedError) as caught, endings.heeded():
        send(number)

    assert (caught.value.number, caught.value.exit_code) == (number, 128 + number)
    assert str(caught.value) == f"ended by {number.name}"
    send(number)
    assert came == [number]


def test_a_signal_that_is_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with endings.heeded():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGINT) is not signal.SIG_DFL
        send(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_another_thread_heeds_nothing():
    during = []

    def work():
        with endings.heeded():
            during.append([signal.getsignal(number) for number in SIGNALS])

    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert during == [before]


def test_what_comes_of_it_is_returned():
    async def main():
        await asyncio.sleep(0)
        return 7

    assert endings.run(main()) == 7


@pytest.mark.parametrize("number", SIGNALS)
def test_in_the_event_loop_a_signal_lets_it_clear_up_first(number):
    done = []

    async def main():
        try:
            send(number)
            await asyncio.sleep(2)
        except BaseException as error:
            await asyncio.sleep(0)
            done.append(type(error))
            raise

    with endings.heeded():
        with pytest.raises(endings.EndedError) as caught:
            endings.run(main())
        assert (caught.value.number, done) == (number, [asyncio.CancelledError])
        with pytest.raises(endings.EndedError):
            send(number)  # heeded as before


def test_the_first_of_several_signals_is_told():
    async def main():
        send(signal.SIGTERM)
        try:
            await asyncio.sleep(2)
        finally:
            send(signal.SIGHUP)
            await asyncio.sleep(0)

    with endings.heeded(), pytest.raises(endings.EndedError) as caught:
        endings.run(main())

    assert caught.value.number == signal.SIGTERM


def test_a_signal_that_nobody_heeds_is_left_alone_in_the_event_loop():
    async def main():
        return [signal.getsignal(number) for number in SIGNALS[1:]]

    before = [signal.getsignal(number) for number in SIGNALS[1:]]

    assert endings.run(main()) == before
    assert [signal.getsignal(number) for number in SIGNALS[1:]] == before


def test_a_cancelling_that_comes_from_no_signal_is_one():
    async def main():
        task = asyncio.current_task()
        assert task is not None
        assert task.get_name() == "main"
        task.cancel()
        await asyncio.sleep(0)

    with endings.heeded(), pytest.raises(asyncio.CancelledError):
        endings.run(main())


def test_an_error_is_raised_as_it_is():
    async def main():
        raise ZeroDivisionError("one")

    with endings.heeded(), pytest.raises(ZeroDivisionError, match="one"):
        endings.run(main())
