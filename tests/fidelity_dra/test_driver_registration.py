"""How drivers register with a kubelet, and which of two it calls (contract section 13), as Kubernetes' own node tests have it."""

from __future__ import annotations

import pytest

from tests.fidelity_dra.driver import Fails
from tests.fidelity_dra.looks import PREPARE, UNPREPARE, Make, notified
from tests.fidelity_dra.node import Node


async def test_dra_2_a_driver_is_asked_once_and_told_that_it_is_registered(node: Node, make_driver: Make) -> None:
    driver = await make_driver()

    assert [name for name, _ in driver.calls][:2] == ["GetInfo", "NotifyRegistrationStatus"]
    assert [notice.plugin_registered for notice in driver.notices] == [True]


@pytest.mark.parametrize(
    ("versions", "text"),
    [
        ((), "empty list of supported gRPC services (aka supported versions)"),
        (("1.0.0",), 'none of services supported by the plugin (["1.0.0"]) are supported by the kubelet (["v1.DRAPlugin" "v1beta1.DRAPlugin"])'),
        (("v1alpha1.DRAResourceHealth",), 'none of services supported by the plugin (["v1alpha1.DRAResourceHealth"])'),
    ],
)  # fmt: skip  # a table
async def test_dra_reg_3_versions_that_it_does_not_know_are_refused_in_its_words(
    versions: tuple[str, ...], text: str, node: Node, make_driver: Make
) -> None:
    driver = await make_driver(starts=False, versions=versions)
    await driver.start()
    await node.until(notified(driver))

    assert not driver.notices[0].plugin_registered
    assert text in driver.notices[0].error
    assert f"invalid supported gRPC versions of DRA driver plugin {driver.name} at endpoint" in driver.notices[0].error


async def test_dra_5_the_first_version_that_it_knows_is_spoken(node: Node, make_driver: Make) -> None:
    driver = await make_driver(versions=("v1beta1.DRAPlugin", "v1.DRAPlugin"))
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.runs(pod)

    assert len(driver.asked(f"v1beta1.{PREPARE}")) == 1
    assert driver.asked(PREPARE) == []


async def test_pw_11_get_info_that_fails_is_asked_again(node: Node, make_driver: Make) -> None:
    driver = await make_driver(starts=False)
    driver.behaviors["GetInfo"] = Fails(times=1)
    await driver.start()
    await node.until(notified(driver))

    assert len(driver.asked("GetInfo")) == 2
    assert driver.notices[0].plugin_registered


async def test_dra_reg_6_a_notice_that_is_answered_with_an_error_is_given_again(node: Node, make_driver: Make) -> None:
    driver = await make_driver(starts=False)
    driver.behaviors["NotifyRegistrationStatus"] = Fails(times=1)
    await driver.start()
    await node.until(notified(driver, 2))
    pod = await node.pod(await node.claim(drivers=(driver.name,)))

    await node.runs(pod)


async def test_dra_reg_11_a_kubelet_that_restarts_finds_its_drivers_again(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    await node.restart()
    await node.until(notified(driver, 2))

    assert len(driver.asked("GetInfo")) == 2


async def test_pw_6_a_driver_that_restarts_is_registered_again(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    await driver.stop()
    again = await make_driver(same=driver)
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.runs(pod)

    assert len(again.asked(PREPARE)) == 1


async def test_dra_reg_4_one_socket_for_both_will_do(node: Node, make_driver: Make) -> None:
    driver = await make_driver(starts=False)
    driver.socket = driver.registration_socket
    driver.endpoint = ""
    await driver.serve_all()
    await node.until(notified(driver))
    pod = await node.pod(await node.claim(drivers=(driver.name,)))

    await node.runs(pod)


async def test_dra_reg_7_of_two_instances_the_newest_is_called_and_the_other_when_that_goes(
    node: Node, make_driver: Make
) -> None:
    old = await make_driver()
    new = await make_driver(same=old, instance="-new")
    pod = await node.pod(await node.claim(drivers=(old.name,)))
    await node.runs(pod)
    assert (len(old.asked(PREPARE)), len(new.asked(PREPARE))) == (0, 1)

    await new.stop()
    await node.pass_time(2)
    await node.delete(pod)
    assert (len(old.asked(UNPREPARE)), len(new.asked(UNPREPARE))) == (1, 0)


async def test_dra_reg_7_an_endpoint_that_is_registered_already_is_refused(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    other = await make_driver(same=driver, starts=False)
    other.registration_socket = other.registration_socket.with_name(f"{driver.name}-other-reg.sock")
    await other.register()
    await node.until(notified(other))

    assert "already registered" in other.notices[0].error
    other.socket = other.registration_socket  # the service's is the first one's
