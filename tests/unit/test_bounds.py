"""Both sides of every bound of the plugin's values: names, numbers, quantities, taints, lists, times."""

from __future__ import annotations

import pytest

from fakehw_plugin import allocation, attribute
from fakehw_plugin.attribute import Attribute, AttributeType, Effect, Taint
from fakehw_plugin.device import CLASS_NAME, DEVICE_NUMBER, NODE_NAME, DeviceID, Health, class_number, natural_key
from fakehw_plugin.deviceplugin import wire
from fakehw_plugin.deviceplugin.device_list import DeviceList
from fakehw_plugin.devices import retention
from fakehw_plugin.devices.inventory import Inventory
from fakehw_plugin.offer import Api, Offer
from fakehw_plugin.resource_name import ResourceName
from fakehw_plugin.wire import FragmentList, delimited, varint
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.factories import make_device

INT, VERSION, CAPACITY, STRING, BOOL = (
    AttributeType.INT, AttributeType.VERSION, AttributeType.CAPACITY, AttributeType.STRING, AttributeType.BOOL,
)  # fmt: skip  # in two lines


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("x" * 64, STRING, "x" * 64), ("", STRING, ""), ("é" * 32, STRING, "é" * 32),
        ("-9223372036854775808", INT, -(2**63)), ("0", INT, 0), ("false", BOOL, False),
        ("0.0.0", VERSION, "0.0.0"), ("1.2.3-0a.x-y+0.1-b", VERSION, "1.2.3-0a.x-y+0.1-b"), ("10.20.30", VERSION, "10.20.30"),
        ("9E", CAPACITY, "9E"),
    ],
)  # fmt: skip  # some values a line
def test_a_value_at_its_bound_is_taken(text: str, type_: AttributeType, value: object) -> None:
    assert attribute.parse("x" * 32, text, type_) == Attribute("x" * 32, type_, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "type_", "words"),
    [
        ("-9223372036854775809", INT, "'-9223372036854775809' is no whole number of 64 bits"),
        ("9" * 50, INT, f"{'9' * 40!r} is no whole number of 64 bits"),
        ("True", BOOL, "'True' is neither true nor false"),
        ("x" * 50, BOOL, f"{'x' * 40!r} is neither true nor false"),
        ("1.2.3-01", VERSION, "'1.2.3-01' is no version such as 1.2.3"),
        ("1.2.3-", VERSION, "'1.2.3-' is no version such as 1.2.3"),
        ("1.2.3+", VERSION, "'1.2.3+' is no version such as 1.2.3"),
        ("1.2.٣", VERSION, "'1.2.٣' is no version such as 1.2.3"),
        ("v" * 50, VERSION, f"{'v' * 40!r} is no version such as 1.2.3"),
        ("10E", CAPACITY, "'10E' is too large or too fine"),
        ("8Ei", CAPACITY, "'8Ei' is too large or too fine"),
        ("0.5n", CAPACITY, "'0.5n' is too large or too fine"),
        ("1" * 16, CAPACITY, f"{'1' * 16!r} is no quantity such as 80Gi or 4"),
        ("0.1234567890", CAPACITY, "'0.1234567890' is no quantity such as 80Gi or 4"),
        ("q" * 50, CAPACITY, f"{'q' * 40!r} is no quantity such as 80Gi or 4"),
        ("1.", CAPACITY, "'1.' is no quantity such as 80Gi or 4"),
    ],
)
def test_a_value_beyond_it_is_refused_in_words(text: str, type_: AttributeType, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        attribute.parse("x", text, type_)
    assert str(caught.value) == words


@pytest.mark.parametrize("name", ["x" * 33, "", "a-b", "é", "a\n"])
def test_a_name_beyond_its_bound_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^a name must be a letter, then letters, digits or '_', at most 32 in all$"):
        attribute.parse(name, "x", STRING)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("7Ei", "7Ei"), ("1023", "1023"), ("1024Ki", "1Mi"), ("1023Ki", "1023Ki"), ("0.001", "1m"), ("1n", "1n"),
        ("999999999999999", "999999999999999"), ("1000000m", "1k"), ("0n", "0"), ("0.123456789", "123456789n"),
        ("1000000000n", "1"), ("3k", "3k"),
    ],
)  # fmt: skip  # some values a line
def test_a_quantity_is_written_with_the_largest_scale_that_divides_it(text: str, canonical: str) -> None:
    assert attribute.quantity(text) == canonical


LABEL = "must be letters, digits, '.', '_' or '-', at most 63"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{'k' * 64}:None", f"{'k' * 40!r} {LABEL}"),
        (f"k={'v' * 64}:None", f"{'v' * 40!r} {LABEL}"),
        ("k-:None", f"'k-' {LABEL}"),
        ("a/:None", f"'' {LABEL}"),
        (f"{'d' * 254}/k:None", f"{'d' * 40!r}: what stands before the slash is no DNS domain"),
        ("-a/k:None", "'-a/k': what stands before the slash is no DNS domain"),
        ("k:" + "e" * 50, f"{'e' * 40!r} is none of None, NoSchedule, NoExecute"),
    ],
)
def test_a_taint_beyond_its_bounds_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        attribute.parse_taint(text, name="n")
    assert str(caught.value) == words


def test_a_taint_at_its_bounds_is_taken() -> None:
    domain = ".".join(["d" * 63] * 3 + ["d" * 61])
    assert len(domain) == 253
    text = f"{domain}/{'k' * 63}={'v' * 63}:NoExecute"
    assert attribute.parse_taint(text, name="n") == Taint(f"{domain}/{'k' * 63}", "v" * 63, Effect.NO_EXECUTE)
    assert attribute.parse_taint("None", name="n" * 63) == Taint("n" * 63, "", Effect.NONE)


@pytest.mark.parametrize(
    ("text", "label"),
    [("x" * 70, "x" * 63), ("a b/c", "a-b-c"), ("-.a_b._", "a_b"), ("x" * 62 + " y", "x" * 62), ("", "")],
)
def test_a_reason_is_cut_to_a_label(text: str, label: str) -> None:
    assert attribute.label_value(text) == label


# Names.


@pytest.mark.parametrize(
    ("name", "node", "class_", "number"),
    [
        ("a", True, True, False), ("A", True, False, False), ("1", True, False, True), ("0", True, False, True),
        ("01", True, False, False), ("a_b", True, True, False), ("a-b", True, False, False), ("a.b", True, False, False),
        ("-a", False, False, False), ("a-", False, False, False), ("dev_1", True, False, False), ("dev_", False, True, False),
        ("dev_1x", True, True, False), ("host", True, False, False), ("hosts", True, True, False),
        ("9" * 9, True, False, True), ("1" + "0" * 9, True, False, False), ("", False, False, False),
    ],
)  # fmt: skip  # some names a line
def test_which_names_are_nodes_classes_and_devices(name: str, node: bool, class_: bool, number: bool) -> None:
    found = NODE_NAME.fullmatch(name), CLASS_NAME.fullmatch(name), DEVICE_NUMBER.fullmatch(name)
    assert tuple(match is not None for match in found) == (node, class_, number)


def test_names_are_ordered_as_people_order_them() -> None:
    names = ["node10", "node2", "node", "a1b2", "a1b10", "²", "2", "10"]
    assert sorted(names, key=natural_key) == ["a1b2", "a1b10", "node", "node2", "node10", "²", "2", "10"]
    assert [class_number(name) for name in ("dev3", "dev03", "dev", "dev3x", "gpu")] == [3, 3, None, None, None]


def test_a_device_says_what_it_is_called_everywhere() -> None:
    device = make_device(7, node="n", class_name="gpu_a")
    assert (device.id, device.path, device.env_prefix) == ("n-gpu_a-7", "/n/gpu_a/7", "GPU_A_ID")
    assert make_device(7).env_prefix == "DEV_3_ID"
    assert device.is_healthy
    assert not make_device(health=Health.UNHEALTHY).is_healthy


def test_an_offer_is_told_by_its_resource_and_its_driver() -> None:
    resource = ResourceName.parse("a.b/c")
    plain, driven = Offer(resource), Offer(resource, "d.io")
    assert (plain, plain.resource, plain.driver, plain.api) == ("a.b/c", "a.b/c", "", Api.DEVICE_PLUGIN)
    assert (driven, driven.resource, driven.driver, driven.api) == ("a.b/c by d.io", "a.b/c", "d.io", Api.DRA)


# What is preferred.


def on(numa: dict[int, int | None]) -> list[object]:
    return [make_device(number, numa_node=node) for number, node in numa.items()]


@pytest.mark.parametrize(
    ("available", "must", "size", "chosen"),
    [
        ({1: 0, 2: 1, 3: 0, 4: 1}, {}, 2, [1, 3]),
        ({1: 0, 2: 1, 3: 1, 4: 1}, {}, 3, [2, 3, 4]),
        ({1: 0, 2: 1, 3: 1}, {}, 3, [2, 3, 1]),
        ({1: 0, 2: 1, 3: 1}, {9: 0}, 2, [9, 1]),
        ({1: 0, 2: 1, 3: 1}, {9: 1}, 3, [9, 2, 3]),
        ({1: 0, 2: 1, 3: 1}, {9: 1}, 4, [9, 2, 3, 1]),
        ({1: 0, 2: 1, 3: None, 4: None}, {}, 2, [3, 4]),
        ({1: 0, 2: 0}, {1: 0}, 1, [1]),
        ({1: 0, 2: 0}, {2: 0, 1: 0}, 1, [1, 2]),
        ({1: 0}, {}, 0, []),
        ({1: 0, 2: 1}, {}, 5, [1, 2]),
        ({5: 2, 4: 1, 3: 2, 2: 1}, {}, 2, [2, 4]),
        ({1: 0, 2: 1, 3: 1, 4: 2, 5: 2}, {}, 4, [2, 3, 4, 5]),
    ],
)
def test_as_few_numa_nodes_as_possible_and_then_the_lowest_numbers(
    available: dict[int, int | None], must: dict[int, int | None], size: int, chosen: list[int]
) -> None:
    found = allocation.prefer(on(available), on(must), size)  # type: ignore[arg-type]
    assert [device.number for device in found] == chosen


# What is sent.


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, b"\0"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16383, b"\xff\x7f"),
        (16384, b"\x80\x80\x01"),
        (-1, b"\xff" * 9 + b"\x01"),
    ],
)
def test_a_number_on_the_wire(value: int, encoded: bytes) -> None:
    assert varint(value) == encoded
    assert delimited(2, b"x" * 3) == b"\x12\x03xxx"


@pytest.mark.parametrize("numa_node", [None, 0, 1, 300])
@pytest.mark.parametrize("health", Health)
def test_a_device_on_the_wire_is_what_protobuf_would_write(numa_node: int | None, health: Health) -> None:
    device = make_device(3, numa_node=numa_node, health=health)
    expected = pluginapi.ListAndWatchResponse()
    one = expected.devices.add(ID=device.id, health=health.value)
    if numa_node is not None:
        one.topology.nodes.add(ID=numa_node)
    fragment = wire.device_fragment(device.id, device)
    assert fragment == expected.SerializeToString()


def test_slots_are_used_again_and_pieces_stay_in_their_places() -> None:
    found = FragmentList()
    slots = [found.add(b"%d," % number) for number in range(300)]
    assert slots == list(range(300))
    found.replace(5, b"five,")
    found.remove(0)
    found.remove(299)
    assert found.add(b"a,") == 299
    assert found.add(b"b,") == 0
    assert found.add(b"c,") == 300
    pieces = found.message().decode().split(",")
    assert pieces == ["b", "1", "2", "3", "4", "five", *map(str, range(6, 299)), "a", "c", ""]


def test_a_list_takes_what_fits_when_all_are_unhealthy_and_not_a_byte_more() -> None:
    device = make_device(1)
    size = len(wire.device_fragment(device.id, device._replace(health=Health.UNHEALTHY)))
    for room, fits in ((2 * size, True), (2 * size - 1, False)):
        found = DeviceList(max_bytes=room)
        assert found.put(device.id, device)
        assert found.put(make_device(2).id, make_device(2)) is fits
        assert found.put(device.id, device._replace(health=Health.UNHEALTHY)), "what is listed stays"
        before = found.message()
        found.remove(device.id)
        assert found.message() == before, "not before it is published"
        found.publish()
        ids = [one.ID for one in pluginapi.ListAndWatchResponse.FromString(found.message()).devices]
        assert ids == (["node2-dev3-2"] if fits else [])
        assert found.put(device.id, device), "there is room again"


def test_an_inventory_counts_what_is_healthy_and_what_changed() -> None:
    found = Inventory("r", driver="d.io")
    woken: list[int] = []
    found.subscribe(lambda: woken.append(found.generation))
    one, two = make_device(1), make_device(2)
    assert (found.resource_name, found.driver, found.generation, found.healthy) == ("r", "d.io", 0, 0)
    assert len(found.apply({one.id: one, two.id: two}, at=5.0)) == 2
    assert (found.generation, found.changed_at, found.healthy) == (1, 5.0, 2)
    ill = one._replace(health=Health.UNHEALTHY)
    assert found.apply({one.id: ill}) == [(one, ill)]
    assert (found.healthy, found.changed_at) == (1, None)
    assert found.apply({one.id: ill, DeviceID("gone"): None}) == []
    assert found.apply({one.id: None, two.id: None}) == [(ill, None), (two, None)]
    assert (found.healthy, found.generation, woken) == (0, 3, [1, 2, 3])
    assert found.get(one.id) is None


# Times.


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("held", "since_s", "allocated_s", "wait_s"),
    [
        pytest.param(set(), 0.0, None, None, id="nobody holds it"),
        pytest.param({"a.b/c"}, 100.0, None, 10.0, id="somebody does"),
        pytest.param({""}, 100.0, None, 10.0, id="of whatever resource"),
        pytest.param({"other"}, 0.0, None, None, id="of another resource"),
        pytest.param(set(), 0.0, 0.4, 0.6, id="it was given a moment ago"),
        pytest.param(set(), 0.0, 1.0, None, id="it was given a second ago"),
        pytest.param(None, 0.0, None, 30.0, id="nobody knows"),
        pytest.param(None, 29.0, None, 1.0, id="nearly over"),
        pytest.param(None, 30.0, None, None, id="just over"),
        pytest.param(None, 29.9, 0.2, 0.8, id="over but for what was given"),
    ],
)
async def test_when_a_device_that_left_is_looked_at_again(
    held: set[str] | None, since_s: float, allocated_s: float | None, wait_s: float | None
) -> None:
    offer, device, clock = Offer(ResourceName.parse("a.b/c")), make_device(1), Clock()

    async def holders() -> set[tuple[str, DeviceID]] | None:
        return None if held is None else {(resource, device.id) for resource in held}

    released: list[object] = []
    kept = retention.Retention(holders=holders, release=released.append, grace_s=30.0, clock=clock)
    clock.now -= since_s
    kept.retain(offer, device)
    kept.retain(offer, device)
    assert (kept.retained_ids, set(kept.retained)) == ({device.id: 1}, {(offer, device.id)})
    clock.now = 100.0
    if allocated_s is not None:
        clock.now -= allocated_s
        kept.allocated([device.id])
        clock.now = 100.0
    assert await kept._review() == (None if wait_s is None else pytest.approx(wait_s))
    assert released == ([{offer: {device.id: None}}] if wait_s is None else [])
    assert bool(kept.retained) is (wait_s is not None)
    assert bool(kept.retained_ids) is (wait_s is not None)


@pytest.mark.parametrize(
    ("effect", "listed"),
    [
        (Effect.NONE, Effect.NO_SCHEDULE),
        (Effect.NO_SCHEDULE, Effect.NO_SCHEDULE),
        (Effect.NO_EXECUTE, Effect.NO_EXECUTE),
    ],
)
def test_what_left_is_never_to_be_had(effect: Effect, listed: Effect) -> None:
    async def holders() -> None:
        return None

    kept = retention.Retention(holders=holders, release=lambda _: None, grace_s=0.0)
    device = make_device(1, has_device_node=True)
    device = device._replace(details=device.details._replace(unhealthy_effect=effect))
    found = kept.retain(Offer(ResourceName.parse("a.b/c")), device, "gone")
    assert found == device._replace(
        health=Health.UNHEALTHY,
        reason="gone",
        has_device_node=False,
        details=device.details._replace(unhealthy_effect=listed),
    )
