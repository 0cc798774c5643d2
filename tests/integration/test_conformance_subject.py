"""The plugin under test as a process, and the commands that break and mend its devices."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from fakekubelet.conformance import subject
from fakekubelet.conformance.settings import Settings
from tests.running import DEADLINE_S


@pytest.fixture
async def make(tmp_path):
    async with contextlib.AsyncExitStack() as stack:

        def make(*command):
            made = subject.Subject(Settings(command=tuple(command), plugin_dir=tmp_path / "device-plugins"))
            stack.push_async_callback(in_time, made.close)
            return made

        yield make


async def ended(plugin):
    gone = asyncio.Event()
    plugin.on_exit = gone.set
    if plugin.is_running:
        done, _ = await asyncio.wait([asyncio.ensure_future(gone.wait())], timeout=DEADLINE_S)
        assert done, "nobody was told of its end"


async def in_time(call, *given):
    """Return what comes of a call that takes no time, or fail."""
    task = asyncio.ensure_future(call(*given))
    done, _ = await asyncio.wait([task], timeout=DEADLINE_S)
    assert done, f"{call} does not end"
    return task.result()


async def gone(pid):
    """Wait until a process has ended, be it that nobody has asked how."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        async with asyncio.timeout(DEADLINE_S):
            while ") Z" not in Path(f"/proc/{pid}/stat").read_text():
                await asyncio.sleep(0.002)


async def printed(plugin, text):
    async with asyncio.timeout(DEADLINE_S):
        while text not in plugin.output:
            await asyncio.sleep(0.002)


async def test_places_are_put_into_its_words_and_its_environment(make, tmp_path):
    script = 'echo "$1 $PLUGIN_DIR $POD_RESOURCES $PLUGINS_REGISTRY"; test -n "$HOME" && cat && echo told >&2; exit 3'
    plugin = make("sh", "-c", script, "sh", "{plugin_dir}:{plugins_registry}:{plugin_dir}:{other}")
    assert (plugin.is_ours, plugin.is_running, plugin.exit_code) == (True, False, None)

    await plugin.start()
    assert plugin.is_running
    await ended(plugin)

    d, r = tmp_path / "device-plugins", tmp_path / "plugins_registry"
    assert plugin.output == f"{d}:{r}:{d}:{{other}} {d} {tmp_path}/pod-resources/kubelet.sock {r}\ntold"
    assert (plugin.exit_code, plugin.is_running) == (3, False)


async def test_it_leads_a_session_of_its_own(make):
    plugin = make(sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())")

    await plugin.start()
    await ended(plugin)

    assert plugin.output == "True"


async def test_something_may_be_put_around_its_command_from_the_next_start_on(make):
    plugin = make("echo", "{plugin_dir}")
    plugin.around = lambda command: ["echo", *command]

    await plugin.start()
    await ended(plugin)

    assert plugin.output.startswith("echo /")


async def test_of_much_that_it_printed_the_end_is_told(make):
    plugin = make("sh", "-c", "printf '%01990d' 7; printf '\\377abcdefghij\\n'")

    await plugin.start()
    await ended(plugin)

    assert plugin.output == "0" * 1987 + "7\ufffdabcdefghij"


async def test_sigterm_goes_to_the_process_and_it_is_waited_for(make):
    plugin = make("sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done")
    await plugin.start()
    await printed(plugin, "up")

    assert await in_time(plugin.terminate, DEADLINE_S) is True
    assert (plugin.exit_code, plugin.output) == (5, "up\nbye")


async def test_what_does_not_end_in_time_is_killed_with_its_children(make):
    plugin = make("sh", "-c", "trap '' TERM; sleep 600 & echo $!; wait")
    await plugin.start()
    async with asyncio.timeout(DEADLINE_S):
        while not plugin.output.isdigit():
            await asyncio.sleep(0.002)
    child = int(plugin.output)

    assert await in_time(plugin.terminate, 0.01) is False
    assert plugin.exit_code == -signal.SIGKILL
    await gone(child)


async def test_one_that_has_ended_is_ended_again_in_vain_and_in_order(make):
    plugin = make("sh", "-c", "exit 4")
    await plugin.kill()  # nothing was started
    await plugin.start()
    await ended(plugin)

    assert await in_time(plugin.terminate, DEADLINE_S) is True
    await in_time(plugin.kill)
    assert plugin.exit_code == 4


async def test_a_plugin_that_runs_already_is_neither_started_nor_ended(make, monkeypatch):
    monkeypatch.setattr(subject, "execute", None)
    plugin = make()

    await plugin.start()
    await in_time(plugin.kill)

    assert (plugin.is_ours, plugin.is_running, plugin.exit_code, plugin.output) == (False, True, None, "")


async def test_a_command_that_is_not_there_is_an_error(make):
    with pytest.raises(FileNotFoundError):
        await make("/no/such/plugin").start()


async def test_nothing_is_left_behind(make):
    plugin = make("sleep", "600")
    await plugin.start()
    before = len(list(Path("/proc/self/fd").iterdir()))

    await in_time(plugin.close)

    assert plugin.exit_code == -signal.SIGKILL
    assert len(list(Path("/proc/self/fd").iterdir())) < before
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("plugin ")] == []


async def test_a_hook_knows_the_places_and_its_success_says_nothing(tmp_path, capfd):
    settings = Settings(plugin_dir=tmp_path / "device-plugins")

    await subject.run_hook(f'echo noise; echo "$PLUGIN_DIR $HOME" > {tmp_path}/said', settings)

    assert (tmp_path / "said").read_text() == f"{tmp_path}/device-plugins {os.environ['HOME']}\n"
    assert capfd.readouterr() == ("", "")


async def test_a_hook_that_fails_is_told_with_its_last_words(tmp_path):
    with pytest.raises(subject.HookError) as caught:
        await subject.run_hook("echo first >&2; echo 'no such\n device' >&2; exit 7", Settings(plugin_dir=tmp_path))
    assert str(caught.value) == (
        "\"echo first >&2; echo 'no such\\n device' >&2; exit 7\" ended with status 7: first no such device"
    )
    with pytest.raises(subject.HookError, match=r"ended with status -9: \.\.\. (word ){38}word$"):
        await subject.run_hook("for i in $(seq 99); do echo word >&2; done; kill -9 $$", Settings(plugin_dir=tmp_path))


HAS_CHILD = "sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait"


async def there(path, task):
    async with asyncio.timeout(DEADLINE_S):
        while not path.exists() and not task.done():
            await asyncio.sleep(0.002)
    assert not task.done(), task


@pytest.fixture(params=[False, True], ids=["that runs", "that is just being started"])
def slow_start(request, tmp_path, monkeypatch):
    """Let what is started run for a while before whoever starts it knows."""
    real = asyncio.create_subprocess_exec

    async def start(*command, **named):
        process = await real(*command, **named)
        await asyncio.sleep(0.05)
        return process

    if request.param:
        monkeypatch.setattr(asyncio, "create_subprocess_exec", start)


@pytest.mark.usefixtures("slow_start")
async def test_a_hook_ends_with_the_kit_and_so_do_its_children(tmp_path):
    hook = asyncio.create_task(subject.run_hook(HAS_CHILD.format(tmp_path / "pid"), Settings()))
    await there(tmp_path / "pid", hook)
    hook.cancel()

    with pytest.raises(asyncio.CancelledError):
        await hook
    await gone(int((tmp_path / "pid").read_text()))


@pytest.mark.usefixtures("slow_start")
async def test_a_plugin_ends_with_the_kit_and_so_do_its_children(make, tmp_path):
    plugin = make("sh", "-c", HAS_CHILD.format(tmp_path / "pid"))

    async def examine():
        await plugin.start()
        await asyncio.Event().wait()

    kit = asyncio.create_task(examine())
    await there(tmp_path / "pid", kit)
    kit.cancel()
    await asyncio.wait([kit])
    await in_time(plugin.kill)

    await gone(int((tmp_path / "pid").read_text()))
