"""Which DRA drivers a kubelet is connected to, and when it deletes their slices; connections are played."""

import socket

import pytest

from fakekubelet.clock import ManualClock
from fakekubelet.dra import drivers
from fakekubelet.kubelet import call_log

V1, V1BETA1 = "v1.DRAPlugin", "v1beta1.DRAPlugin"
HEALTH_V1, HEALTH_ALPHA = "v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth"
NODE = "worker"


class Client:
    """A connection with memory, which stands or falls as a test says."""

    def __init__(self, driver, endpoint, service, *, health_services, time_source, calls, on_connection, on_health):
        self.driver, self.endpoint, self.service, self.health_services = driver, endpoint, service, health_services
        self.time_source, self.calls, self.on_health = time_source, calls, on_health
        self.is_connected, self.life = False, []
        self._on_connection = on_connection

    def start(self):
        self.life.append("start")

    async def close(self):
        self.life.append("close")
        self.is_connected = False

    def turn(self, *, connected):
        self.is_connected = connected
        self._on_connection()


class Kubelet:
    """What is around the drivers of a kubelet, with memory."""

    def __init__(self, root, release=36):
        self.root, self.clock, self.rings, self.heard, self.arrivals = root, ManualClock(), 0, [], []
        self.calls = call_log.CallLog(self.clock, self.ring)
        self.wipes, self.can_wipe = [], True
        self.drivers = drivers.Drivers(
            self, NODE, minor=release, time_source=self.clock, calls=self.calls, ring=self.ring,
            on_health=lambda *said: self.heard.append(said), arrivals=self.arrivals, client=Client,
        )  # fmt: skip

    def ring(self):
        self.rings += 1

    async def wipe(self, node, driver):
        self.wipes.append((node, driver, self.clock.time()))
        return self.can_wipe

    def at(self, name):
        return self.root / f"{name}.sock"

    async def connected(self, name, socket_name, versions=(V1BETA1,)):
        """Register an instance whose connection stands, and return it."""
        await self.drivers.connect(name, self.at(socket_name), versions)
        client = self.drivers.clients(name)[-1]
        client.turn(connected=True)
        return client


@pytest.fixture
async def make(short_dir):
    """Make the drivers' side of a kubelet, which ends with the test."""
    made = []

    def kubelet(release=36):
        made.append(Kubelet(short_dir, release))
        return made[-1]

    yield kubelet
    for one in made:
        await one.drivers.stop()


@pytest.fixture
def kubelet(make):
    return make()


# -- who is taken ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "services", "health"),
    [
        (32, (V1BETA1,), ()), (33, (V1BETA1,), ()), (34, (V1, V1BETA1), ()), (35, (V1, V1BETA1), ()), (36, (V1, V1BETA1), (HEALTH_ALPHA,)),
        (37, (V1, V1BETA1), (HEALTH_V1, HEALTH_ALPHA)),
    ],
)  # fmt: skip
def test_a_release_speaks_its_services(make, release, services, health):
    kubelet = make(release)

    assert (kubelet.drivers.services, kubelet.drivers.health_services) == (services, health)


@pytest.mark.parametrize(
    ("release", "versions", "why"),
    [
        (36, [V1], None), (36, [V1BETA1], None), (36, ["x", V1BETA1], None), (33, [V1, V1BETA1], None),
        (36, [], "empty list of supported gRPC services (aka supported versions)"),
        (36, ["1.0.0", "x"], f'none of services supported by the plugin (["1.0.0" "x"]) are supported by the kubelet (["{V1}" "{V1BETA1}"])'),
        (33, [V1], f'none of services supported by the plugin (["{V1}"]) are supported by the kubelet (["{V1BETA1}"])'),
        (36, [HEALTH_ALPHA], f'none of services supported by the plugin (["{HEALTH_ALPHA}"]) are supported by the kubelet (["{V1}" "{V1BETA1}"])'),
    ],
)  # fmt: skip
def test_a_driver_of_versions_that_the_kubelet_has_not_is_refused(make, release, versions, why):
    kubelet = make(release)
    text = kubelet.drivers.refusal("d", kubelet.root / "x.sock", versions)

    about = f"invalid supported gRPC versions of DRA driver plugin d at endpoint {kubelet.root}/x.sock: "
    assert text == (None if why is None else about + why)
    assert kubelet.drivers.names == kubelet.arrivals == []


@pytest.mark.parametrize(
    ("release", "versions", "service"),
    [
        (36, [V1BETA1, V1], V1BETA1),
        (36, ["x", V1, V1BETA1], V1),
        (33, [V1, V1BETA1], V1BETA1),
        (32, [V1BETA1], V1BETA1),
    ],
)
async def test_the_first_version_of_a_driver_that_both_know_is_spoken(make, release, versions, service):
    kubelet = make(release)
    await kubelet.drivers.connect("d", kubelet.root / "x.sock", versions)

    assert [client.service for client in kubelet.drivers.clients("d")] == [service]


async def test_a_driver_that_comes_is_noted_with_whether_it_serves_and_is_usable_once_connected(kubelet):
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(kubelet.at("a")))
        served.listen()
        await kubelet.clock.advance(3)
        await kubelet.drivers.connect("d", kubelet.at("a"), [V1])
        await kubelet.drivers.connect("c", kubelet.at("none"), [V1])

    assert kubelet.arrivals == [
        drivers.Arrival("d", kubelet.at("a"), True, kubelet.clock.time()),
        drivers.Arrival("c", kubelet.at("none"), False, kubelet.clock.time()),
    ]
    assert (kubelet.drivers.names, kubelet.drivers.is_usable("d"), kubelet.drivers.is_usable("x")) == (
        ["c", "d"],
        False,
        False,
    )
    kubelet.drivers.clients("d")[0].turn(connected=True)
    assert (kubelet.drivers.is_usable("d"), kubelet.drivers.is_usable("c")) == (True, False)
    assert kubelet.drivers.clients("x") == []
    with pytest.raises(drivers.NotRegisteredError, match=r"^DRA driver x is not registered$"):
        kubelet.drivers.get("x")


async def test_a_connection_is_made_with_all_that_it_needs_and_begun(kubelet):
    client = await kubelet.connected("d", "a", [V1])

    assert (client.driver, client.endpoint, client.service, client.health_services) == (
        "d",
        kubelet.at("a"),
        V1,
        (HEALTH_ALPHA,),
    )
    assert (client.time_source, client.calls, client.life) == (kubelet.clock, kubelet.calls, ["start"])
    client.on_health("said")
    assert kubelet.heard == [("d", "said")]


async def test_who_waits_is_told_of_each_change_of_a_connection(kubelet):
    await kubelet.drivers.connect("d", kubelet.at("a"), [V1])
    assert kubelet.rings == 1
    (client,) = kubelet.drivers.clients("d")
    client.turn(connected=True)
    client.turn(connected=False)
    assert kubelet.rings == 3
    await kubelet.drivers.disconnect("d", kubelet.at("a"))
    assert kubelet.rings == 4


async def test_the_newest_instance_that_is_connected_is_called_and_else_the_newest(kubelet):
    old, new = await kubelet.connected("d", "old"), await kubelet.connected("d", "new")
    assert kubelet.drivers.get("d") is new
    new.turn(connected=False)
    assert kubelet.drivers.get("d") is old
    old.turn(connected=False)
    assert kubelet.drivers.get("d") is new

    await kubelet.drivers.disconnect("d", new.endpoint)
    assert kubelet.drivers.get("d") is old
    assert (new.life, old.life) == (["start", "close"], ["start"])
    await kubelet.drivers.disconnect("d", kubelet.at("another"))
    assert kubelet.drivers.names == ["d"]
    await kubelet.drivers.disconnect("d", old.endpoint)
    await kubelet.drivers.disconnect("d", old.endpoint)
    assert (kubelet.drivers.names, old.life) == ([], ["start", "close"])


async def test_an_endpoint_is_registered_once(kubelet):
    await kubelet.drivers.connect("d", kubelet.at("a"), [V1])

    with pytest.raises(drivers.RefusedError) as caught:
        await kubelet.drivers.connect("d", kubelet.at("a"), [V1])
    assert str(caught.value) == f"endpoint {kubelet.at('a')} already registered for DRA driver plugin d"
    await kubelet.drivers.connect("e", kubelet.at("a"), [V1])
    await kubelet.drivers.connect("d", kubelet.at("b"), [V1])
    assert [len(kubelet.drivers.clients(name)) for name in "de"] == [2, 1]


async def test_a_driver_that_is_refused_is_not_connected_to(kubelet):
    with pytest.raises(drivers.RefusedError, match="empty list of supported gRPC services"):
        await kubelet.drivers.connect("d", kubelet.at("a"), [])
    assert kubelet.drivers.names == kubelet.arrivals == []


async def test_up_to_1_32_a_new_registration_takes_the_place_of_the_old_one(make):
    kubelet = make(32)
    first = await kubelet.connected("d", "a")
    second = await kubelet.connected("d", "a")

    assert kubelet.drivers.clients("d") == [second]
    assert (first.life, second.life) == (["start", "close"], ["start"])


# -- slices ---------------------------------------------------------------------------------------------------------------


async def gone_at(kubelet, name="d"):
    client = await kubelet.connected(name, "a")
    await kubelet.clock.advance(100)
    client.turn(connected=False)
    return client, kubelet.clock.time()


async def test_slices_go_30_s_after_the_connection_and_once(kubelet):
    _, then = await gone_at(kubelet)

    await kubelet.clock.advance(29.9)
    assert kubelet.wipes == []
    await kubelet.clock.advance(0.1)
    assert kubelet.wipes == [(NODE, "d", then + 30)]
    assert kubelet.drivers.wiped == ["d"]
    await kubelet.clock.advance(1000)
    assert len(kubelet.wipes) == 1


async def test_slices_go_again_each_time_that_the_driver_has_gone(kubelet):
    client, _ = await gone_at(kubelet)
    await kubelet.clock.advance(30)
    client.turn(connected=True)
    client.turn(connected=False)
    await kubelet.clock.advance(30)

    assert kubelet.drivers.wiped == ["d", "d"]


async def test_slices_stay_if_the_driver_is_back_in_time_and_the_time_begins_anew(kubelet):
    client, _ = await gone_at(kubelet)
    await kubelet.clock.advance(29)
    client.turn(connected=True)
    await kubelet.clock.advance(100)
    assert kubelet.wipes == []
    client.turn(connected=False)
    then = kubelet.clock.time()
    await kubelet.clock.advance(30)
    assert kubelet.wipes == [(NODE, "d", then + 30)]


async def test_slices_stay_while_one_instance_is_connected(kubelet):
    old, new = await kubelet.connected("d", "old"), await kubelet.connected("d", "new")
    new.turn(connected=False)
    await kubelet.clock.advance(100)
    await kubelet.drivers.disconnect("d", new.endpoint)
    await kubelet.clock.advance(100)
    assert kubelet.wipes == []
    await kubelet.drivers.disconnect("d", old.endpoint)
    await kubelet.clock.advance(30)
    assert [driver for _, driver, _ in kubelet.wipes] == ["d"]


async def test_a_deregistration_while_it_is_gone_does_not_lengthen_the_time(kubelet):
    client, then = await gone_at(kubelet)
    await kubelet.clock.advance(20)
    await kubelet.drivers.disconnect("d", client.endpoint)
    await kubelet.clock.advance(10)

    assert kubelet.wipes == [(NODE, "d", then + 30)]


async def test_slices_of_a_driver_that_never_serves_go_too(kubelet):
    await kubelet.drivers.connect("d", kubelet.at("none"), [V1])
    then = kubelet.clock.time()
    await kubelet.clock.advance(30)

    assert kubelet.wipes == [(NODE, "d", then + 30)]


async def test_up_to_1_32_slices_go_at_once_with_the_registration_and_not_with_the_connection(make):
    kubelet = make(32)
    client, _ = await gone_at(kubelet)
    await kubelet.clock.advance(1000)
    assert kubelet.wipes == []
    await kubelet.drivers.disconnect("d", client.endpoint)
    await kubelet.clock.advance(0)

    assert kubelet.wipes == [(NODE, "d", kubelet.clock.time())]


async def test_a_wipe_is_tried_again_ever_more_slowly_until_it_is_done(kubelet):
    kubelet.can_wipe = False
    kubelet.drivers.wipe_all()
    then = kubelet.clock.time()
    await kubelet.clock.advance(1300)

    times = [when - then for _, _, when in kubelet.wipes]
    assert times == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1111]
    assert {(node, driver) for node, driver, _ in kubelet.wipes} == {(NODE, "")}
    assert (kubelet.drivers.wiped, kubelet.rings) == ([], 0)
    kubelet.can_wipe = True
    await kubelet.clock.advance(200)
    assert (kubelet.drivers.wiped, kubelet.rings) == ([""], 1)
    await kubelet.clock.advance(1000)
    assert len(kubelet.wipes) == 13


async def test_a_kubelet_that_stops_closes_its_connections_and_wipes_nothing_more(kubelet):
    kubelet.can_wipe = False
    client, _ = await gone_at(kubelet)
    other = await kubelet.connected("e", "e")
    kubelet.drivers.wipe_all()
    await kubelet.clock.advance(0)
    assert len(kubelet.wipes) == 1

    await kubelet.drivers.stop()
    await kubelet.clock.advance(1000)

    assert len(kubelet.wipes) == 1
    assert kubelet.drivers.names == []
    assert (client.life, other.life) == (["start", "close"], ["start", "close"])
    await kubelet.drivers.stop()
