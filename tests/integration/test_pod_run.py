"""The processes of one pod, from start to end, on a node that is played: what the kubelet hears, in its order."""

import asyncio
import re
import signal

import pytest

from fakekubelet import changes, pod
from fakekubelet.clock import ManualClock
from fakekubelet.cluster import pod_run, process
from fakekubelet.kubelet import pod_status
from fakekubelet.kubelet.container_options import ContainerOptions

ALWAYS, ON_FAILURE, NEVER = pod.RestartPolicy.ALWAYS, pod.RestartPolicy.ON_FAILURE, pod.RestartPolicy.NEVER
SUCCEEDED, FAILED = pod_status.Phase.SUCCEEDED, pod_status.Phase.FAILED


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


class Node:
    """A kubelet with memory, which creates every container, after some failures where a test says so."""

    def __init__(self, clock, spec):
        self.clock, self.said, self.changes = clock, [], changes.Changes()
        containers = {
            one.name: pod_status.ContainerStatus(one.name) for one in (*spec.init_containers, *spec.containers)
        }
        self.admitted = pod_status.AdmittedPod(spec, containers=containers)
        self.failures = 0

    async def start_container(self, admitted, name):
        status = admitted.containers[name]
        self.said.append(f"create {name}")
        if self.failures:
            self.failures -= 1
            status.waiting_reason = "CreateContainerConfigError"
            return status
        status.waiting_reason, status.is_running, status.started_at = None, True, self.clock.time()
        status.starts += 1
        return status

    def container_exited(self, admitted, name, code, message=""):
        self.said.append(f"{name} exited {code}" + (f": {message}" if message else ""))
        status = admitted.containers[name]
        status.is_running = False
        status.ended = pod_status.Ended(code, status.started_at, self.clock.time(), message)

    def finish(self, admitted, phase):
        self.said.append(f"finish {phase}")
        admitted.phase = phase

    def describe(self):
        return "played"


class Run:
    """A pod that runs, with what it printed and the events that were noted."""

    def __init__(self, *containers, init=(), policy=NEVER, grace_s=30.0, **how):
        self.clock, self.rings, self.notes = ManualClock(), 0, []
        spec = pod.Pod(
            "p", tuple(containers), tuple(init), restart_policy=policy, grace_period_s=grace_s, namespace="ns", uid="u"
        )
        self.node = Node(self.clock, spec)
        self.printed = {name: process.Printed() for name in self.node.admitted.containers}
        self.run = pod_run.PodRun(
            self.node, self.node.admitted, outputs={name: printed.add for name, printed in self.printed.items()}, ring=self.ring,
            note=lambda *words: self.notes.append(words), time_source=self.clock, **how,
        )  # fmt: skip

    def ring(self):
        self.rings += 1

    @property
    def status(self):
        return self.node.admitted.containers

    async def stop(self, grace_s):
        """Stop it, which must not take for ever."""
        task = asyncio.create_task(self.run.stop(grace_s))
        await asyncio.wait([task], timeout=10)
        ended = task.done()
        task.cancel()
        assert ended, "it does not stop"
        await task

    async def ended(self):
        await until(lambda: self.run.has_ended)
        return self.node.said


@pytest.fixture
async def start():
    """Start a pod, which is stopped with the test."""
    made = []

    def begin(*containers, **how):
        made.append(Run(*containers, **how))
        made[-1].run.start()
        return made[-1]

    yield begin
    for run in made:
        await run.stop(0)


def shell(name, script, **fields):
    return pod.Container(name, command=("sh", "-c"), args=(script,), **fields)


@pytest.mark.parametrize(
    ("scripts", "phase"),
    [(["exit 0"], SUCCEEDED), (["exit 3"], FAILED), (["exit 0", "exit 3"], FAILED), (["exit 0", "exit 0"], SUCCEEDED)],
)
async def test_a_pod_that_is_never_restarted_ends_with_its_last_container(start, scripts, phase):
    run = start(*(shell(f"c{index}", script) for index, script in enumerate(scripts)))

    said = await run.ended()

    codes = [script.removeprefix("exit ") for script in scripts]
    assert sorted(said[:-1]) == sorted(
        [f"create c{i}" for i in range(len(codes))] + [f"c{i} exited {code}" for i, code in enumerate(codes)]
    )
    assert said[-1] == f"finish {phase}"
    assert run.notes == []
    assert run.rings >= 2 * len(scripts) + 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, 137), (signal.SIGTERM, 143)])
async def test_an_end_by_a_signal_is_128_and_its_number(start, number, code):
    run = start(shell("c", f"kill -{int(number)} $$$$"))

    assert await run.ended() == ["create c", f"c exited {code}", "finish Failed"]


async def test_a_container_gets_the_plugins_variables_what_the_run_adds_and_its_own(start):
    run = Run(shell("c", "echo $A $B $C $HOSTNAME $(D)", env=(("C", "$(A)!"), ("D", "d"))), env={"c": {"B": "run"}})
    run.status["c"].options = ContainerOptions(envs={"A": "plugin", "B": "plugin"})
    run.run.start()
    await run.ended()
    await run.stop(0)

    assert run.printed["c"].text == "plugin run plugin! p d\n"


async def test_init_containers_go_one_after_the_other_and_before_the_apps(start):
    run = start(shell("app", "exit 0"), init=[shell("one", "exit 0"), shell("two", "exit 0")])

    assert await run.ended() == [
        "create one", "one exited 0", "create two", "two exited 0", "create app", "app exited 0", "finish Succeeded",
    ]  # fmt: skip


async def test_an_init_container_that_fails_for_good_fails_the_pod(start):
    run = start(shell("app", "exit 0"), init=[shell("one", "exit 4"), shell("two", "exit 0")])

    assert await run.ended() == ["create one", "one exited 4", "finish Failed"]


@pytest.mark.parametrize("policy", [ALWAYS, ON_FAILURE])
async def test_an_init_container_that_fails_is_run_again_and_one_that_has_not_is_not(start, policy, tmp_path):
    again = shell("one", f"test -e {tmp_path}/x && exit 0; touch {tmp_path}/x; exit 1")
    run = start(shell("app", "sleep 60"), init=[again], policy=policy)
    await until(lambda: "create app" in run.node.said)

    assert run.node.said == ["create one", "one exited 1", "create one", "one exited 0", "create app"]


async def test_what_fails_is_restarted_at_once_then_after_ten_seconds_then_twenty(start):
    run = start(shell("c", "exit 1"), policy=ON_FAILURE)
    await until(lambda: len(run.notes) == 1)
    assert run.node.said == ["create c", "c exited 1"] * 2
    text = "Back-off restarting failed container c in pod p_ns(u)"
    assert run.notes == [("Warning", "BackOff", text)]
    assert (run.status["c"].waiting_reason, run.status["c"].message) == (
        "CrashLoopBackOff", "back-off 10s restarting failed container=c pod=p_ns(u)",
    )  # fmt: skip

    await run.clock.advance(9.9)
    assert len(run.node.said) == 4
    await run.clock.advance(0.1)
    await until(lambda: len(run.notes) == 2)
    assert run.status["c"].message == "back-off 20s restarting failed container=c pod=p_ns(u)"
    for due_s, shown in ((20, "40s"), (40, "1m20s"), (80, "2m40s"), (160, "5m0s")):
        before = len(run.notes)
        await run.clock.advance(due_s)
        await until(lambda before=before: len(run.notes) > before)
        assert run.status["c"].message == f"back-off {shown} restarting failed container=c pod=p_ns(u)"


async def test_on_failure_what_has_succeeded_is_done_and_always_it_is_not(start):
    done = start(shell("c", "exit 0"), policy=ON_FAILURE)
    again = start(shell("c", "exit 0"), policy=ALWAYS)

    assert await done.ended() == ["create c", "c exited 0", "finish Succeeded"]
    await until(lambda: again.notes)
    assert again.node.said == ["create c", "c exited 0"] * 2


async def test_a_command_that_cannot_be_started_says_why_and_is_no_crash_loop(start):
    run = start(pod.Container("c", command=("/no/such/command",)), policy=ALWAYS)
    await until(lambda: run.notes)

    why = "[Errno 2] No such file or directory: '/no/such/command'"
    assert run.node.said == ["create c", f"c exited 128: {why}"] * 2
    assert (run.status["c"].waiting_reason, run.status["c"].message) == ("RunContainerError", why)


async def test_a_container_that_the_kubelet_cannot_create_is_tried_again_every_ten_seconds(start):
    run = Run(shell("c", "exit 0"))
    run.node.failures = 2
    run.run.start()
    await until(lambda: run.node.said == ["create c"])
    await run.clock.advance(9.9)
    assert run.node.said == ["create c"]
    await run.clock.advance(0.1)
    assert run.node.said == ["create c"] * 2
    await run.clock.advance(10)

    assert await run.ended() == ["create c"] * 3 + ["c exited 0", "finish Succeeded"]
    await run.stop(0)


async def test_a_sidecar_runs_beside_the_apps_and_is_stopped_after_them(start):
    side = shell("side", "sleep 60", is_sidecar=True)
    run = start(shell("app", "exit 0"), init=[side], grace_s=5.0)

    said = await run.ended()

    assert sorted(said[:2]) == ["create app", "create side"]
    assert said[2:] in (
        ["app exited 0", "side exited 143", "finish Succeeded"], ["app exited 0", "side exited 137", "finish Succeeded"],
    )  # fmt: skip


async def test_a_pod_that_is_stopped_has_ended_as_its_processes_did(start):
    run = start(shell("c", "trap 'exit 0' TERM; echo up; sleep 60 & wait"))
    await until(lambda: run.printed["c"].text == "up\n")
    assert not run.run.has_ended

    await run.stop(10)

    assert run.node.said == ["create c", "c exited 0", "finish Succeeded"]
    assert run.run.has_ended
    await run.stop(0)
    assert run.node.said[-1] == "finish Succeeded"
    assert len(run.node.said) == 3


async def test_a_process_that_does_not_listen_is_killed_when_its_time_is_over(start):
    run = start(shell("c", "trap '' TERM; echo up; sleep 60 & wait; wait"))
    await until(lambda: run.printed["c"].text == "up\n")

    await run.stop(0.05)

    assert run.node.said == ["create c", "c exited 137", "finish Failed"]


async def test_a_pod_that_is_stopped_before_a_container_began_has_failed(start):
    run = Run(shell("c", "exit 0"))
    run.node.failures = 1
    run.run.start()
    await until(lambda: run.node.said)

    await run.stop(0)

    assert run.node.said == ["create c", "finish Failed"]


async def test_a_container_without_a_command_runs_without_a_process_until_its_pod_is_stopped(start):
    run = start(pod.Container("c"), init=[pod.Container("i")])
    await until(lambda: run.node.said == ["create i", "i exited 0", "create c"])

    await run.stop(0)

    assert run.node.said[3:] == ["c exited 0", "finish Succeeded"]


async def test_a_pod_that_its_kubelet_refuses_later_says_so_and_nothing_more_of_its_end(start):
    run = start(shell("c", "sleep 60"))
    await until(lambda: run.node.said)
    run.node.admitted.reject("UnexpectedAdmissionError", "no devices")
    run.node.changes.ring()

    assert await run.ended() == ["create c", "c exited 143"]
    assert run.notes == [("Warning", "UnexpectedAdmissionError", "no devices")]


async def test_a_run_that_goes_on_ends_what_ran_without_it_and_leaves_what_had_ended():
    run = Run(shell("ran", "exit 0"), shell("done", "exit 0"), pod.Container("idle"), policy=ON_FAILURE, goes_on=True)
    for name in ("ran", "idle"):
        run.status[name].is_running = True
    run.status["done"].ended = pod_status.Ended(0, 1.0, 2.0)
    run.run.start()
    await until(lambda: "ran exited 0" in run.node.said)

    assert run.node.said == ["ran exited 137", "create ran", "ran exited 0"]
    await run.stop(0)
    assert run.node.said[3:] == ["idle exited 0", "finish Succeeded"]


async def test_a_bug_ends_the_pod_and_its_processes_and_is_told_to_the_loop():
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    run = Run(shell("c", "sleep 60"), shell("d", "exit 0"))
    exited, bug = run.node.container_exited, RuntimeError("a bug")

    def broken(admitted, name, code, message=""):
        exited(admitted, name, code, message)
        if name == "d":
            raise bug

    run.node.container_exited = broken
    run.run.start()
    await until(lambda: told)

    assert isinstance(told[0], ExceptionGroup)
    assert set(told[0].exceptions) == {bug}
    assert run.node.said[-2:] == ["c exited 143", "finish Failed"] or run.node.said[-2:] == [
        "c exited 137",
        "finish Failed",
    ]


def test_a_pod_has_to_say_its_commands():
    good = pod.Pod("p", (shell("a", "x"),), (shell("b", "x"),))
    pod_run.check(good)
    for bad in (
        pod.Pod("p", (shell("a", "x"), pod.Container("c"))),
        pod.Pod("p", (shell("a", "x"),), (pod.Container("c", args=("x",)),)),
    ):
        with pytest.raises(
            pod.PodSpecError, match=f"^{re.escape('pod p: container c needs a command: no image is run here')}$"
        ):
            pod_run.check(bad)
