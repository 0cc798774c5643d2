"""One connection serves all calls to a driver; when it is lost, and when a kubelet starts, slices are wiped (contract section 13)."""

from __future__ import annotations

from tests.fidelity_dra.looks import Make, notified
from tests.fidelity_dra.node import Node


async def test_dra_reg_8_one_connection_serves_all_calls(node: Node, make_driver: Make) -> None:
    driver = await make_driver(starts=False)
    await driver.serve(counts=True)
    await driver.register()
    await node.until(notified(driver))
    for number in range(2):
        pod = await node.pod(await node.claim(f"claim-{number}", drivers=(driver.name,)), name=f"pod-{number}")
        await node.runs(pod)
        await node.delete(pod)
    driver.say(gem_1=(1, ""))

    assert driver.connections == 1
    assert driver.streams >= 1


async def test_dra_7_a_service_that_comes_after_its_registration_is_found(node: Node, make_driver: Make) -> None:
    driver = await make_driver(starts=False)
    await driver.register()
    await node.until(notified(driver))
    await driver.serve()
    pod = await node.pod(await node.claim(drivers=(driver.name,)))

    await node.runs(pod)


async def test_dra_7_a_service_that_goes_and_comes_is_found_again(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    await driver.stop_serving()
    await driver.serve()
    pod = await node.pod(await node.claim(drivers=(driver.name,)))

    await node.runs(pod)
    await node.delete(pod)


async def test_dra_9_a_kubelet_that_starts_wipes_the_slices_of_its_node_and_of_no_other(
    node: Node, make_driver: Make
) -> None:
    own = await node.slice("nobody.example.com")
    other = await node.slice("somebody.example.com", nodeName="no-such-node")
    shared = await node.slice("anybody.example.com", nodeName=None, allNodes=True)
    await node.restart()

    await node.lasts(own, until_gone=True)
    assert await node.has(other)
    assert await node.has(shared)


async def test_dra_8_slices_are_wiped_30_s_after_a_driver_has_gone_and_not_before(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    own = await node.slice(driver.name)
    other = await node.slice("nobody.example.com")
    await driver.stop()
    await node.pass_time(26)
    assert await node.has(own)

    await node.lasts(own, until_gone=True)
    assert await node.has(other)


async def test_dra_8_slices_are_wiped_30_s_after_the_connection_has_gone_though_the_registration_stays(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    own = await node.slice(driver.name)
    await driver.stop_serving()
    await node.pass_time(26)
    assert await node.has(own)

    await node.lasts(own, until_gone=True)
    await driver.serve()


async def test_dra_8_slices_stay_if_the_driver_is_back_in_time(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    own = await node.slice(driver.name)
    await driver.stop()
    await node.pass_time(15)
    await make_driver(same=driver)
    await node.pass_time(20)

    assert await node.has(own)


async def test_dra_8_slices_of_a_driver_that_registers_and_never_serves_are_wiped(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver(starts=False)
    await driver.register()
    await node.until(notified(driver))
    own = await node.slice(driver.name)

    await node.lasts(own, until_gone=True)
