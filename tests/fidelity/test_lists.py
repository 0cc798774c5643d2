"""What kubelets make of lists, and of their end (contract sections 5 and 6)."""

from __future__ import annotations

import pytest

from fakekubelet import pod
from fakekubelet.stub_plugin import Refusal, devices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import constants
from tests.fidelity.conftest import Make
from tests.fidelity.node import Node

SLOW = pytest.mark.timeout(900)


async def test_ns_1_health_moves_allocatable_and_leaves_capacity(node: Node, make_plugin: Make, resource: str) -> None:
    plugin = await make_plugin("a", "b")
    await node.shows(resource, 2, 2)
    await plugin.send([*devices("a", health="Unhealthy"), *devices("b")])
    await node.shows(resource, 2, 1)
    await plugin.send(devices("a", "b"))
    await node.shows(resource, 2, 2)


async def test_lw_2_a_list_replaces_all_that_was_known(node: Node, make_plugin: Make, resource: str) -> None:
    plugin = await make_plugin("a", "b", "c")
    await node.shows(resource, 3, 3)
    await plugin.send(devices("d"))
    await node.shows(resource, 1, 1)


@pytest.mark.parametrize("word", ["healthy", "HEALTHY", "", "Healthy ", "fine"])
async def test_lw_3_only_the_exact_word_is_healthy(word: str, node: Node, make_plugin: Make, resource: str) -> None:
    await make_plugin(listed=[*devices("a", health=word), *devices("b")])
    await node.shows(resource, 2, 1)


async def test_lw_4_ids_are_not_checked(node: Node, make_plugin: Make, resource: str) -> None:
    await make_plugin(listed=[*devices("", "twice", "a"), *devices("twice", health="Unhealthy")])
    await node.shows(resource, 4, 3)


async def test_lw_5_an_empty_list_is_zero_of_zero(node: Node, make_plugin: Make, resource: str) -> None:
    await make_plugin()
    await node.shows(resource, 0, 0)


async def test_lw_6_a_resource_without_a_list_is_not_in_the_node(node: Node, make_plugin: Make, resource: str) -> None:
    await make_plugin(lists_nothing=True)
    assert await node.numbers(resource, settled=True) is None


@pytest.mark.parametrize("refusal", [None, Refusal("no hardware")], ids=["end", "error"])
async def test_lw_1_a_stream_that_ends_before_a_list_is_zero_of_zero_and_never_opened_again(
    refusal: Refusal | None, node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin(lists_nothing=True, register=False)
    await plugin.end_streams(refusal)
    await plugin.register()
    await node.shows(resource, 0, 0)
    await node.pass_time(15)

    assert [name for name, _ in plugin.requests] == ["GetDevicePluginOptions", "ListAndWatch"]


async def test_lw_9_the_end_of_a_stream_leaves_capacity_for_now(node: Node, make_plugin: Make, resource: str) -> None:
    plugin = await make_plugin(listed=[*devices("a"), *devices("b", health="Unhealthy")])
    await node.shows(resource, 2, 1)
    await plugin.end_streams()
    await node.shows(resource, 2, 0)


@SLOW
async def test_ns_2_after_five_minutes_capacity_is_zero_and_the_key_stays(
    node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin("a", "b")
    await node.shows(resource, 2, 2)
    spec = pod.simple("p", {resource: 1})
    await node.runs(spec)
    await plugin.stop()
    await node.shows(resource, 2, 0)
    await node.pass_time(270)
    assert await node.numbers(resource) == (2, 0)
    await node.pass_time(35)
    await node.shows(resource, 0, 0)

    # Contract PS-4: the container of a pod that has its devices cannot be created again now, until the plugin is back.
    await node.end_container(spec)
    seen = await node.until(spec, lambda one: "main" in one.waiting and "endpoint" in one.waiting["main"][1])
    assert seen.waiting["main"] == (
        "CreateContainerConfigError", f"endpoint not found in cache for a registered resource: {resource}",
    )  # fmt: skip  # a pair
    again = await make_plugin("a", "b")
    await node.until(spec, lambda one: "main" in one.running)
    assert again.count("Allocate") == 0


def sized(total: int) -> pluginapi.ListAndWatchResponse:
    """A list of exactly so many bytes."""
    message = pluginapi.ListAndWatchResponse(
        devices=[pluginapi.Device(ID=f"{n:0>200}", health="Healthy") for n in range(19_000)]
    )
    message.devices.add(ID="x", health="Healthy")
    missing = total - message.ByteSize()
    message.devices[-1].ID = "x" * (1 + missing)
    for _ in range(3):  # the length's own length
        message.devices[-1].ID = message.devices[-1].ID[: len(message.devices[-1].ID) + total - message.ByteSize()]
    assert message.ByteSize() == total
    return message


async def test_lw_11_four_mebibytes_are_taken(node: Node, make_plugin: Make, resource: str) -> None:
    await make_plugin(listed=sized(constants.MAX_MESSAGE_BYTES).devices)
    await node.shows(resource, 19_001, 19_001)


async def test_lw_11_one_byte_more_ends_the_stream(node: Node, make_plugin: Make, resource: str) -> None:
    plugin = await make_plugin("a")
    await node.shows(resource, 1, 1)
    await plugin.send(sized(constants.MAX_MESSAGE_BYTES + 1).devices)
    await node.shows(resource, 1, 0)
