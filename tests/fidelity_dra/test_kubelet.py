"""What kubelets do with DRA drivers and with the claims of pods (contract section 13), as Kubernetes' own node tests have it."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kubeletapi.dra.v1 import api_pb2 as v1
from tests.fidelity_dra.driver import Refusal, StubDriver
from tests.fidelity_dra.node import Node, Object

Make = Callable[..., Awaitable[StubDriver]]
PREPARE, UNPREPARE = "NodePrepareResources", "NodeUnprepareResources"


async def _answer(value: Any) -> Any:
    return value


def asked(driver: StubDriver, method: str, times: int = 1) -> Callable[[], Awaitable[Any]]:
    """Look whether a driver was asked for something so often."""
    return lambda: _answer(len(driver.asked(method)) >= times)


def notified(driver: StubDriver, times: int = 1) -> Callable[[], Awaitable[Any]]:
    """Look whether a driver was told of its registration so often."""
    return lambda: _answer(len(driver.notices) >= times)


class Fails:
    """Raises as often as it is told to, then lets the usual thing be done."""

    def __init__(self, text: str = "simulated", *, times: int = 10**6) -> None:
        self.text, self.times = text, times

    async def __call__(self, _: Any) -> None:
        if self.times > 0:
            self.times -= 1
            raise Refusal(self.text)


async def _hang(_: Any) -> None:
    await asyncio.Event().wait()


def checkpoint(node: Node) -> list[Object]:
    """Return what the kubelet has noted of claims."""
    content = json.loads(node.checkpoint.read_text())
    assert zlib.crc32(content["Data"].encode()) == content["Checksum"]
    return json.loads(content["Data"])["ClaimInfoStateList"] or []


def noted(node: Node, claim: Object) -> Object | None:
    """Return what it has noted of one."""
    return next((entry for entry in checkpoint(node) if entry["ClaimUID"] == claim["metadata"]["uid"]), None)


# -- registration -------------------------------------------------------------------------------------------------------


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


# -- claims -------------------------------------------------------------------------------------------------------------


async def test_dra_10_a_pod_gets_what_its_claims_driver_says_and_gives_it_back(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    claim = await node.claim(drivers=(driver.name,))
    pod = await node.pod(claim)
    await node.runs(pod)
    uid = claim["metadata"]["uid"]

    (request,) = driver.asked(PREPARE)
    assert [(entry.namespace, entry.name, entry.uid) for entry in request.claims] == [
        (node.api.namespace, claim["metadata"]["name"], uid)
    ]
    word = "".join(letter if letter.isalnum() else "_" for letter in driver.name).upper()
    await node.until(lambda: _contains(node, pod, f"GEM_{word}=gem-1"))

    await node.delete(pod)
    assert driver.uids(UNPREPARE) == [[uid]]


async def _contains(node: Node, pod: Object, text: str) -> bool:
    return text in await node.logs(pod)


async def test_dra_prep_5_it_is_prepared_though_no_container_uses_it(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    pod = await node.pod(await node.claim(drivers=(driver.name,)), uses=False)
    await node.runs(pod)

    assert len(driver.asked(PREPARE)) == 1
    assert "GEM_" not in await node.logs(pod)


async def test_dra_prep_1_all_claims_of_a_pod_go_in_one_call(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    claims = [await node.claim(f"claim-{number}", drivers=(driver.name,)) for number in range(2)]
    await node.runs(await node.pod(*claims))

    (uids,) = driver.uids(PREPARE)
    assert sorted(uids) == sorted(claim["metadata"]["uid"] for claim in claims)


async def test_dra_prep_2_a_claim_that_is_prepared_already_is_not_prepared_for_the_second_pod(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    claim = await node.claim(drivers=(driver.name,))
    first = await node.pod(claim, name="first")
    await node.runs(first)
    second = await node.pod(claim, name="second", binds=False, reserves=False)
    await node.reserve(claim, first, second)
    await node.bind(second)
    await node.runs(second)
    assert len(driver.asked(PREPARE)) == 1

    await node.delete(first)
    assert driver.asked(UNPREPARE) == []
    await node.delete(second)
    assert len(driver.asked(UNPREPARE)) == 1


async def test_dra_prep_9_the_checkpoint_has_the_claim_before_the_call_and_the_devices_after_it(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    claim = await node.claim(drivers=(driver.name,))
    before: list[Object | None] = []

    async def look(_: Any) -> None:
        before.append(noted(node, claim))

    driver.behaviors[PREPARE] = look
    pod = await node.pod(claim)
    await node.runs(pod)

    metadata = claim["metadata"]
    entry: Object = {
        "ClaimUID": metadata["uid"],
        "ClaimName": metadata["name"],
        "Namespace": metadata["namespace"],
        "PodUIDs": {pod["metadata"]["uid"]: {}},
    }
    assert before == [{**entry, "DriverState": {driver.name: {"Devices": None}}}]
    device = {
        "PoolName": node.name,
        "DeviceName": "gem-1",
        "ShareID": None,
        "RequestNames": None,
        "CDIDeviceIDs": [f"{driver.name}/gem={metadata['uid']}-gem-1"],
    }
    after = noted(node, claim)
    assert after is not None
    assert _same(after, {**entry, "DriverState": {driver.name: {"Devices": [device]}}})
    await node.delete(pod)
    assert noted(node, claim) is None


def _same(one: Any, other: Any) -> bool:
    """Compare as Go does that reads it: what is empty is as good as nothing."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_same(one.get(key), other.get(key)) for key in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other or (not one and not other))


@pytest.mark.parametrize("method", [PREPARE])
async def test_dra_12_a_call_that_fails_is_made_again_until_the_pod_runs(
    method: str, node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    driver.behaviors[method] = Fails(times=1)
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.says(pod, f"{method}: rpc error: code = Internal desc = simulated")

    await node.runs(pod)
    assert len(driver.asked(method)) == 2


async def test_dra_12_an_error_for_a_claim_is_told_with_its_name(node: Node, make_driver: Make) -> None:
    driver = await make_driver()

    async def refuse(request: Any) -> Any:
        answer = v1.NodePrepareResourcesResponse()
        for claim in request.claims:
            answer.claims[claim.uid].error = "no gem today"
        return answer

    driver.behaviors[PREPARE] = refuse
    claim = await node.claim(drivers=(driver.name,))
    pod = await node.pod(claim)

    await node.says(pod, f"NodePrepareResources failed for ResourceClaim {claim['metadata']['name']}: no gem today")


async def test_dra_prep_4_answers_for_nobody_and_for_nothing_fail_the_pod(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    answers = [v1.NodePrepareResourcesResponse()]
    answers[0].claims["stranger"].SetInParent()
    answers.append(v1.NodePrepareResourcesResponse())

    async def odd(_: Any) -> Any:
        return answers.pop(0) if answers else None

    driver.behaviors[PREPARE] = odd
    pod = await node.pod(await node.claim(drivers=(driver.name,)))

    await node.says(pod, "NodePrepareResources returned result for unknown claim UID stranger")
    await node.says(pod, "NodePrepareResources skipped 1 ResourceClaims")
    await node.runs(pod)


async def test_dra_prep_1_a_call_has_45_seconds(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    driver.behaviors[PREPARE] = _hang
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.until(asked(driver, PREPARE))
    await node.pass_time(40)
    assert len(driver.asked(PREPARE)) == 1

    await node.says(pod, "NodePrepareResources: rpc error: code = DeadlineExceeded desc = context deadline exceeded")
    del driver.behaviors[PREPARE]
    await node.runs(pod)


async def test_dra_prep_2_a_driver_that_is_not_there_is_said_and_waited_for(node: Node, make_driver: Make) -> None:
    driver = await make_driver(starts=False)
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.says(pod, f"DRA driver {driver.name} is not registered")

    await driver.start()
    await node.runs(pod)


async def test_dra_prep_2_a_claim_that_is_not_reserved_is_said(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    claim = await node.claim(drivers=(driver.name,))
    await node.reserve_for_others(claim)
    pod = await node.pod(claim, reserves=False)
    metadata, name = pod["metadata"], claim["metadata"]

    await node.says(
        pod,
        f"pod {metadata['name']} ({metadata['uid']}) is not allowed to use ResourceClaim {name['name']} ({name['uid']})",
    )


async def test_dra_prep_6_each_driver_of_a_claim_is_called_and_one_that_fails_holds_the_pod(
    node: Node, make_driver: Make
) -> None:
    good, bad = await make_driver(), await make_driver()
    bad.behaviors[PREPARE] = Fails(times=1)
    claims = [await node.claim(driver.name.partition(".")[0], drivers=(driver.name,)) for driver in (good, bad)]
    pod = await node.pod(*claims)
    await node.says(pod, "simulated")
    await node.runs(pod)

    assert len(bad.asked(PREPARE)) == 2
    assert len(good.asked(PREPARE)) >= 1
    for driver in (good, bad):
        word = "".join(letter if letter.isalnum() else "_" for letter in driver.name).upper()
        await node.until(lambda word=word: _contains(node, pod, f"GEM_{word}=gem-1"))


async def test_dra_prep_10_an_alternative_is_meant_by_its_request(node: Node, make_driver: Make) -> None:
    driver = await make_driver()

    async def name_request(request: Any) -> Any:
        answer = driver.prepared(request)
        for entry in answer.claims.values():
            entry.devices[0].request_names.append("gem")
        return answer

    driver.behaviors[PREPARE] = name_request
    pod = await node.pod(await node.claim(drivers=(driver.name,), request="gem/small"))
    await node.runs(pod)

    await node.until(lambda: _contains(node, pod, "=gem-1"))


async def test_dra_cdi_3_an_id_that_nobody_describes_keeps_the_container_from_being_created(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()

    async def invent(request: Any) -> Any:
        answer = v1.NodePrepareResourcesResponse()
        for claim in request.claims:
            answer.claims[claim.uid].devices.add(
                pool_name=node.name, device_name="gem-1", cdi_device_ids=[f"{driver.name}/gem=nobody"]
            )
        return answer

    driver.behaviors[PREPARE] = invent
    pod = await node.pod(await node.claim(drivers=(driver.name,)))

    await node.says(pod, f"unresolvable CDI devices {driver.name}/gem=nobody")


async def test_dra_15_a_pod_stays_until_its_claims_are_unprepared(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.runs(pod)
    driver.behaviors[UNPREPARE] = Fails(times=1)
    await node.delete(pod, waits=False)
    await node.until(asked(driver, UNPREPARE))
    assert await node.now(pod) is not None

    await node.gone(pod)
    assert len(driver.asked(UNPREPARE)) == 2


async def test_dra_prep_8_what_a_pod_has_left_that_was_deleted_by_force_is_unprepared(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    claim = await node.claim(drivers=(driver.name,))
    pod = await node.pod(claim)
    await node.runs(pod)
    await node.force(pod)

    await node.until(asked(driver, UNPREPARE))
    assert driver.uids(UNPREPARE)[0] == [claim["metadata"]["uid"]]


# -- the kubelet restarts -----------------------------------------------------------------------------------------------


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
    driver.behaviors[PREPARE] = _hang
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
    driver.behaviors[UNPREPARE] = _hang
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


# -- connections and slices ---------------------------------------------------------------------------------------------


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


# -- health -------------------------------------------------------------------------------------------------------------


def healths(node: Node, pod: Object, *wanted: tuple[str, str]) -> Callable[[], Awaitable[bool]]:
    """Look whether a pod's status says this of its devices: health and message."""

    async def look() -> bool:
        found = [
            (resource["health"], resource.get("message", ""))
            for entry in await node.health(pod)
            for resource in entry["resources"]
        ]
        return found == list(wanted)

    return look


async def test_hl_2_health_and_its_message_reach_the_pods_status_and_go(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    driver.say(gem_1=(1, ""))
    claim = await node.claim(drivers=(driver.name,))
    pod = await node.pod(claim)
    await node.runs(pod)
    await node.until(healths(node, pod, ("Healthy", "")))
    (entry,) = await node.health(pod)
    assert entry["name"] == "claim:c0"
    assert entry["resources"][0]["resourceID"] == f"{driver.name}/gem={claim['metadata']['uid']}-gem-1"

    driver.say(gem_1=(2, "over temperature"))
    await node.until(healths(node, pod, ("Unhealthy", "over temperature")))
    driver.say(gem_1=(1, ""))
    await node.until(healths(node, pod, ("Healthy", "")))


async def test_hl_3_health_is_unknown_when_the_driver_has_gone_and_known_again_when_it_is_back(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    driver.say(gem_1=(1, ""))
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.runs(pod)
    await node.until(healths(node, pod, ("Healthy", "")))
    await driver.stop()
    await node.until(healths(node, pod, ("Unknown", "")))

    again = await make_driver(same=driver)
    again.say(gem_1=(2, "cold"))
    await node.until(healths(node, pod, ("Unhealthy", "cold")))


async def test_dra_health_3_a_driver_is_asked_for_health_again_when_its_service_is_back(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    driver.say(gem_1=(1, ""))
    await node.until(lambda: _answer(driver.streams >= 1))
    await driver.stop_serving()
    await driver.serve()

    await node.until(lambda: _answer(driver.streams >= 2))


async def test_dra_health_4_what_is_not_said_again_in_its_time_is_unknown(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    driver.say(gem_1=(1, "", 5))
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.runs(pod)
    await node.until(healths(node, pod, ("Healthy", "")))

    await node.until(healths(node, pod, ("Unknown", "")))


async def test_hl_1_a_driver_without_health_serves_claims_all_the_same(node: Node, make_driver: Make) -> None:
    driver = await make_driver(has_health=False)
    pod = await node.pod(await node.claim(drivers=(driver.name,)))

    await node.runs(pod)
    await node.until(healths(node, pod, ("Unknown", "")))


async def test_dra_15_one_driver_of_two_that_fails_to_unprepare_holds_the_pod(node: Node, make_driver: Make) -> None:
    good, bad = await make_driver(), await make_driver()
    claims = [await node.claim(driver.name.partition(".")[0], drivers=(driver.name,)) for driver in (good, bad)]
    pod = await node.pod(*claims)
    await node.runs(pod)
    bad.behaviors[UNPREPARE] = Fails(times=1)
    await node.delete(pod)

    assert len(bad.asked(UNPREPARE)) == 2
    assert len(good.asked(UNPREPARE)) >= 1


async def test_dra_8_slices_of_a_driver_that_registers_and_never_serves_are_wiped(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver(starts=False)
    await driver.register()
    await node.until(notified(driver))
    own = await node.slice(driver.name)

    await node.lasts(own, until_gone=True)


async def test_dra_prep_9_the_share_of_a_device_is_noted(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    share = "0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9"

    async def with_share(request: Any) -> Any:
        answer = driver.prepared(request)
        for entry in answer.claims.values():
            entry.devices[0].share_id = share
        return answer

    driver.behaviors[PREPARE] = with_share
    driver.say(gem_1=(2, "shared and broken"))
    claim = await node.claim(drivers=(driver.name,))
    pod = await node.pod(claim)
    await node.runs(pod)

    entry = noted(node, claim)
    assert entry is not None
    assert entry["DriverState"][driver.name]["Devices"][0]["ShareID"] == share
    await node.until(healths(node, pod, ("Unhealthy", "shared and broken")))
