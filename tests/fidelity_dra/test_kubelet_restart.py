"""What a kubelet that restarts does with claims and with calls that were under way (contract section 13)."""

from __future__ import annotations

from tests.fidelity_dra.driver import Fails, hang
from tests.fidelity_dra.looks import PREPARE, UNPREPARE, Make, asked, notified
from tests.fidelity_dra.node import Node


async def test_rs_1_a_pod_that_was_made_while_the_kubelet_was_away_runs(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    claim = await node.claim(drivers=(driver.name,))
    async with node.dead():
        pod = await node.pod(claim)

    await node.runs(pod)
    assert len(driver.asked(PREPARE)) == 1


async def test_dra_14_a_call_that_failed_is_made_again_after_a_restart(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    driver.behaviors[PREPARE] = Fails()
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.says(pod, "simulated")
    async with node.dead():
        del driver.behaviors[PREPARE]

    await node.runs(pod)


async def test_dra_14_a_call_that_was_under_way_is_made_again_after_a_restart(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    driver.behaviors[PREPARE] = hang
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.until(asked(driver, PREPARE))
    async with node.dead():
        del driver.behaviors[PREPARE]

    await node.runs(pod)
    assert len(driver.asked(PREPARE)) == 2


async def test_dra_15_an_unprepare_call_that_was_under_way_is_made_again_after_a_restart(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.runs(pod)
    driver.behaviors[UNPREPARE] = hang
    await node.delete(pod, waits=False)
    await node.until(asked(driver, UNPREPARE))
    async with node.dead():
        del driver.behaviors[UNPREPARE]

    await node.gone(pod)
    assert len(driver.asked(UNPREPARE)) == 2


async def test_dra_15_an_unprepare_call_that_failed_is_made_again_after_a_restart(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.runs(pod)
    driver.behaviors[UNPREPARE] = Fails()
    await node.delete(pod, waits=False)
    await node.until(asked(driver, UNPREPARE))
    async with node.dead():
        del driver.behaviors[UNPREPARE]

    await node.gone(pod)


async def test_dra_14_a_pod_that_runs_is_not_prepared_again_by_a_restart(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    claim = await node.claim(drivers=(driver.name,))
    pod = await node.pod(claim)
    await node.runs(pod)
    await node.restart()
    await node.until(notified(driver, 2))
    await node.pass_time(3)
    assert len(driver.asked(PREPARE)) == 1

    await node.delete(pod)
    assert driver.uids(UNPREPARE) == [[claim["metadata"]["uid"]]]


async def test_dra_15_a_pod_that_was_deleted_while_the_kubelet_was_away_is_unprepared(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    claim = await node.claim(drivers=(driver.name,))
    pod = await node.pod(claim)
    await node.runs(pod)
    async with node.dead():
        await node.delete(pod, waits=False)

    await node.gone(pod)
    assert driver.uids(UNPREPARE) == [[claim["metadata"]["uid"]]]


async def test_dra_10_a_pod_that_was_deleted_by_force_while_the_kubelet_was_away_is_not_prepared(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    driver.behaviors[PREPARE] = Fails()
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.says(pod, "simulated")
    async with node.dead():
        await node.force(pod)
        before = len(driver.asked(PREPARE))
    await node.until(notified(driver, 2))
    await node.pass_time(5)

    assert len(driver.asked(PREPARE)) == before
