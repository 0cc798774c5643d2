"""The life of a pod whose devices come by DRA, on a kubelet that is played: its claims, its processes, its end."""

import asyncio

import pytest

from fakekubelet.apiserver.server import ApiServer
from fakekubelet.clock import ManualClock
from fakekubelet.cluster import dra_pod_run, pod_objects
from fakekubelet.cluster.guard import Guard
from fakekubelet.dra import cdi, preparation


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


class Kubelet:
    """Prepares and unprepares, after as many failures as a test says, and remembers it."""

    def __init__(self):
        self.clock, self.said, self.failures, self.env = ManualClock(), [], [], {"GEM": "1"}

    @property
    def dra(self):
        return self

    async def _say(self, what):
        self.said.append(what)
        if self.failures:
            raise self.failures.pop(0)

    async def prepare(self, pod):
        await self._say("prepare")

    async def unprepare(self, pod):
        await self._say("unprepare")

    def edits(self, pod, container):
        self.said.append(f"edits of {container}")
        return cdi.Edits(env=self.env)


class Life:
    """A pod on a node, with what it needs."""

    def __init__(self, *containers, claims=(), grace_s=30):
        self.api, self.kubelet, self.closing, self.guard = ApiServer(), Kubelet(), asyncio.Event(), Guard()
        self.objects = pod_objects.PodObjects(self.api)
        entries = [{"name": name, "resourceClaimName": name} for name in claims]
        spec = {
            "nodeName": "n",
            "containers": list(containers),
            "terminationGracePeriodSeconds": grace_s,
            "resourceClaims": entries,
        }
        self.pod = self.api.create({"kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
        self.run = dra_pod_run.DraPodRun(self.kubelet, self.objects, self.pod, guard=self.guard, closing=self.closing)

    def begin(self):
        self.task = asyncio.create_task(self.run.run())

    def claim(self, name, *uids, owner=None):
        owners = [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner}] if owner else []
        spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gem"}}]}}
        metadata = {"name": name, "ownerReferences": owners}
        made = self.api.create(
            {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": metadata, "spec": spec}
        )
        result = {"request": "r", "driver": "d.io", "pool": "n", "device": name}
        users = [{"resource": "pods", "name": "x", "uid": uid} for uid in uids]
        self.objects.set_claim_status(made, {"allocation": {"devices": {"results": [result]}}, "reservedFor": users})

    @property
    def events(self):
        return self.objects.events.get("p", [])

    @property
    def phase(self):
        found = self.api.find("pods", "p")
        return None if found is None else found["status"]["phase"]


@pytest.fixture
async def live():
    """Make pods, which end with the test."""
    made = []

    def make(*containers, **how):
        made.append(Life(*containers, **how))
        return made[-1]

    yield make
    for life in made:
        life.closing.set()
        if life.api.find("pods", "p"):
            life.api.delete("pods", "p", grace_s=0)
        if hasattr(life, "task"):
            await asyncio.wait_for(life.task, 10)
        await life.guard.__aexit__(None, None, None)


def shell(name, script, **fields):
    return {"name": name, "command": ["sh", "-c"], "args": [script], **fields}


WAITS = "trap 'echo bye; exit 0' TERM; echo up $GEM $OWN; sleep 60 & wait"


async def test_a_pod_is_prepared_runs_is_asked_to_end_and_is_unprepared_before_its_object_goes(live):
    life = live(shell("a", WAITS, env=[{"name": "OWN", "value": 7}, {"name": "NONE"}]), shell("b", "sleep 60"))
    life.begin()
    await until(lambda: life.run.output == "up 1 7\n")
    await until(lambda: life.phase == "Running")
    assert life.kubelet.said == ["prepare", "edits of a", "edits of b"]

    life.api.delete("pods", "p")
    await asyncio.wait_for(life.task, 10)

    assert life.run.output == "up 1 7\nbye\n"
    assert life.kubelet.said[3:] == ["unprepare"]
    assert (life.phase, life.events) == (None, [])


async def test_what_cannot_be_prepared_is_said_and_tried_again_every_second(live):
    life = live(shell("a", "sleep 60"))
    life.kubelet.failures = [
        preparation.PreparationError("no driver"),
        preparation.PreparationError("no driver"),
        cdi.CdiError("no device"),
    ]
    life.begin()
    await until(lambda: life.kubelet.said == ["prepare"])
    await life.kubelet.clock.advance(0.9)
    assert life.kubelet.said == ["prepare"]
    await life.kubelet.clock.advance(0.1)
    await until(lambda: life.kubelet.said == ["prepare"] * 2)
    for _ in range(2):
        await life.kubelet.clock.advance(1)
    await until(lambda: life.phase == "Running")

    assert life.kubelet.said == ["prepare"] * 4 + ["edits of a"]
    assert life.events == ["no driver", "no device"]


async def test_a_pod_that_is_deleted_before_it_could_be_prepared_is_unprepared_and_goes(live):
    life = live(shell("a", "sleep 60"))
    life.kubelet.failures = [preparation.PreparationError("no driver")]
    life.begin()
    await until(lambda: life.events)
    life.api.delete("pods", "p")
    await life.kubelet.clock.advance(1)
    await asyncio.wait_for(life.task, 10)

    assert life.kubelet.said == ["prepare", "unprepare"]
    assert life.phase is None


async def test_a_pod_stays_until_it_is_unprepared(live):
    life = live(shell("a", "sleep 60"))
    life.begin()
    await until(lambda: life.phase == "Running")
    life.kubelet.failures = [preparation.PreparationError("driver is gone")]
    life.api.delete("pods", "p")
    await until(lambda: life.kubelet.said[-1] == "unprepare")
    await life.kubelet.clock.advance(0.9)
    assert (life.phase, life.events) == ("Running", ["driver is gone"])
    await life.kubelet.clock.advance(0.1)
    await asyncio.wait_for(life.task, 10)

    assert life.kubelet.said[-2:] == ["unprepare", "unprepare"]
    assert life.phase is None


async def test_at_the_end_of_the_cluster_nothing_is_tried_again(live):
    life = live(shell("a", "sleep 60"))
    life.begin()
    await until(lambda: life.phase == "Running")
    life.kubelet.failures = [preparation.PreparationError("driver is gone")] * 9
    life.api.delete("pods", "p")
    await until(lambda: life.kubelet.said[-1] == "unprepare")

    life.closing.set()
    await asyncio.wait_for(life.task, 10)

    assert len(life.kubelet.failures) == 7
    assert life.phase is None


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"name": "b"}, "container b needs a command: no image is run here"), ({"name": "b", "args": ["x"]}, "container b needs a command: no image is run here"),
        ({"name": "b", "command": ["/no/such"]}, "[Errno 2] No such file or directory: '/no/such'"),
        ({"name": "b", "command": ["sh", "a\0b"]}, "embedded null byte"),
    ],
)  # fmt: skip
async def test_a_container_that_cannot_be_started_keeps_its_pod_pending_and_no_other_container(live, bad, why):
    life = live(shell("a", "echo up; sleep 60"), bad, shell("c", "echo too; sleep 60"))
    life.begin()
    await until(lambda: life.run.output == "up\ntoo\n")

    assert (life.phase, life.events) == ("Pending", [why])


async def test_claims_are_left_to_others_freed_or_deleted_with_their_pod(live):
    life = live(shell("a", "sleep 60"), claims=("shared", "mine", "made"))
    uid = life.pod["metadata"]["uid"]
    life.claim("shared", uid, "other")
    life.claim("mine", uid)
    life.claim("made", uid, owner=uid)
    life.claim("foreign", "other", owner="other")
    before = {name: life.api.find("resourceclaims", name) for name in ("shared", "foreign")}
    life.begin()
    await until(lambda: life.phase == "Running")
    life.api.delete("pods", "p")
    await asyncio.wait_for(life.task, 10)

    status = before["shared"]["status"]
    assert life.api.find("resourceclaims", "shared")["status"] == {**status, "reservedFor": [status["reservedFor"][1]]}
    assert life.api.find("resourceclaims", "mine")["status"] == {}
    assert life.api.find("resourceclaims", "made") is None
    assert life.api.find("resourceclaims", "foreign") is before["foreign"]


async def test_a_process_that_does_not_listen_has_the_pods_time(live):
    life = live(shell("a", "trap '' TERM; echo up; sleep 60 & wait; wait"), grace_s=1)
    life.begin()
    await until(lambda: life.run.output)
    loop = asyncio.get_running_loop()
    began = loop.time()
    life.api.delete("pods", "p")
    await asyncio.wait_for(life.task, 10)

    assert loop.time() - began >= 1
    assert life.phase is None
