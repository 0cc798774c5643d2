"""What kubelets do with the claims of pods: prepared, noted, unprepared (contract section 13), as Kubernetes' own node tests have it."""

from __future__ import annotations

from typing import Any

import pytest

from kubeletapi.dra.v1 import api_pb2 as v1
from tests.fidelity_dra.driver import Fails, hang
from tests.fidelity_dra.looks import PREPARE, UNPREPARE, Make, asked, noted, prints
from tests.fidelity_dra.node import Node, Object


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
    await node.until(lambda: prints(node, pod, f"GEM_{word}=gem-1"))

    await node.delete(pod)
    assert driver.uids(UNPREPARE) == [[uid]]


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
    driver.behaviors[PREPARE] = hang
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
        await node.until(lambda word=word: prints(node, pod, f"GEM_{word}=gem-1"))


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

    await node.until(lambda: prints(node, pod, "=gem-1"))


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


async def test_dra_15_one_driver_of_two_that_fails_to_unprepare_holds_the_pod(node: Node, make_driver: Make) -> None:
    good, bad = await make_driver(), await make_driver()
    claims = [await node.claim(driver.name.partition(".")[0], drivers=(driver.name,)) for driver in (good, bad)]
    pod = await node.pod(*claims)
    await node.runs(pod)
    bad.behaviors[UNPREPARE] = Fails(times=1)
    await node.delete(pod)

    assert len(bad.asked(UNPREPARE)) == 2
    assert len(good.asked(UNPREPARE)) >= 1
