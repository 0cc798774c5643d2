"""What the scheduler gives to claims, and what it makes of extended resource names (contract SL-3, ER-1 to ER-3)."""

from __future__ import annotations

from typing import Any

from tests.fidelity_dra.api import CLASSES, SLICES
from tests.fidelity_dra.node import Node, Object

DRIVER = "scheduling.example.com"
CEL = f'device.driver == "{DRIVER}"'


def cel(text: str) -> list[Object]:
    """Return the selector of an expression."""
    return [{"cel": {"expression": text}}]


def gems(*names: str, **fields: Any) -> list[Object]:
    """Return devices."""
    return [{"name": name, **fields} for name in names]


def tainted(effect: str) -> list[Object]:
    """Return a taint."""
    return [{"key": "example.com/broken", "effect": effect}]


async def given(
    node: Node, requests: list[Object], *, name: str = "claim", waits: bool = True
) -> list[tuple[str, str]]:
    """Have a claim allocated for a pod, and return request and device of each result; empty if it is not to be."""
    claim = await node.api.make(
        node.api.claims, {"metadata": {"name": node.api.name(name)}, "spec": {"devices": {"requests": requests}}}
    )
    pod = await scheduled(node, name, claim=claim)
    return await results(node, pod, claim, waits=waits)


async def scheduled(
    node: Node, name: str, *, claim: Object | None = None, limits: dict[str, str] | None = None
) -> Object:
    """Make a pod for the scheduler."""
    container: Object = {"name": "main", "image": node.image, "command": ["sleep", "1000"]}
    spec: Object = {
        "containers": [container],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
    }
    if claim is not None:
        container["resources"] = {"claims": [{"name": "c"}]}
        spec["resourceClaims"] = [{"name": "c", "resourceClaimName": claim["metadata"]["name"]}]
    if limits is not None:
        container["resources"] = {"limits": limits}
    return await node.api.make(node.api.pods, {"metadata": {"name": node.api.name(name)}, "spec": spec})


async def results(node: Node, pod: Object, claim: Object, *, waits: bool = True) -> list[tuple[str, str]]:
    """Return request and device of each result of an allocation."""
    path = f"{node.api.claims}/{claim['metadata']['name']}"

    async def look() -> Any:
        _, now = await node.api.ask("GET", path)
        return (now.get("status") or {}).get("allocation")

    if not waits:
        await node.says(pod, "cannot allocate all claims")
        assert await look() is None
        return []
    allocation = await node.until(look)
    return [(result["request"], result["device"]) for result in allocation["devices"]["results"]]


def request(name: str, device_class: str, **fields: Any) -> Object:
    """Return a request for exactly something."""
    return {"name": name, "exactly": {"deviceClassName": device_class, **fields}}


async def publish(node: Node, *slices: list[Object]) -> str:
    """Publish a pool of these slices, and return a class for it."""
    for number, devices in enumerate(slices):
        pool = {"name": node.name, "generation": 1, "resourceSliceCount": len(slices)}
        await node.slice(DRIVER, *devices, name=f"s{number}", pool=pool)
    return await node.device_class("class", selectors=cel(CEL))


async def test_dra_sl_7_devices_are_given_in_the_order_of_slices_names_and_of_devices(node: Node) -> None:
    name = await publish(node, gems("z", "y"), gems("b", "a"))

    assert await given(node, [request("r", name, count=3)]) == [("r", "z"), ("r", "y"), ("r", "b")]


async def test_sl_3_what_one_claim_has_the_next_does_not_get(node: Node) -> None:
    name = await publish(node, gems("a", "b"))

    assert await given(node, [request("r", name)], name="first") == [("r", "a")]
    assert await given(node, [request("r", name)], name="second") == [("r", "b")]
    assert await given(node, [request("r", name)], name="third", waits=False) == []


async def test_sl_3_all_of_them_or_none(node: Node) -> None:
    name = await publish(node, gems("a", "b", "c"))

    assert await given(node, [request("r", name)], name="first") == [("r", "a")]
    assert await given(node, [request("r", name, allocationMode="All")], name="second", waits=False) == []


async def test_sl_3_all_devices_are_given_if_they_are_free(node: Node) -> None:
    name = await publish(node, gems("a", "b"), gems("c"))

    wanted = [request("r", name, allocationMode="All")]
    assert await given(node, wanted) == [("r", "a"), ("r", "b"), ("r", "c")]


async def test_dra_cel_1_selectors_choose(node: Node) -> None:
    devices = [
        {"name": "a", "attributes": {"color": {"string": "red"}}, "capacity": {"memory": {"value": "4Gi"}}},
        {"name": "b", "attributes": {"color": {"string": "blue"}}, "capacity": {"memory": {"value": "8Gi"}}},
        {"name": "c", "attributes": {"color": {"string": "blue"}}, "capacity": {"memory": {"value": "16Gi"}}},
    ]
    name = await publish(node, devices)
    blue = cel(f'device.attributes["{DRIVER}"].color == "blue"')
    large = cel(f'device.capacity["{DRIVER}"].memory.compareTo(quantity("10Gi")) >= 0')

    found = await given(node, [request("r", name, selectors=blue), request("s", name, selectors=large)])
    assert found == [("r", "b"), ("s", "c")]


async def test_dra_cel_1_a_first_choice_is_taken_back_for_the_second_request(node: Node) -> None:
    devices = [{"name": "a", "attributes": {"n": {"int": 1}}}, {"name": "b"}]
    name = await publish(node, devices)
    only_a = cel(f'has(device.attributes["{DRIVER}"].n)')

    assert await given(node, [request("r", name), request("s", name, selectors=only_a)]) == [("r", "b"), ("s", "a")]


async def test_dra_cel_1_the_first_alternative_that_can_be_served_is(node: Node) -> None:
    name = await publish(node, gems("a"))
    alternatives = [
        {"name": "many", "deviceClassName": name, "count": 2},
        {"name": "few", "deviceClassName": name},
        {"name": "fewer", "deviceClassName": name},
    ]

    assert await given(node, [{"name": "r", "firstAvailable": alternatives}]) == [("r/few", "a")]


async def test_dra_taint_2_taints_keep_away_who_does_not_tolerate_them_and_none_of_the_effects_does_not(
    node: Node,
) -> None:
    devices = [
        *gems("a", taints=tainted("NoSchedule")), *gems("b", taints=tainted("NoExecute")),
        *gems("c", taints=tainted("None")), *gems("d"),
    ]  # fmt: skip  # a list
    name = await publish(node, devices)

    assert await given(node, [request("r", name)], name="first") == [("r", "c")]
    tolerations = [{"key": "example.com/broken", "operator": "Exists", "effect": "NoSchedule"}]
    assert await given(node, [request("r", name, tolerations=tolerations)], name="second") == [("r", "a")]


async def test_dra_sl_5_nothing_is_given_of_a_pool_that_is_not_complete(node: Node) -> None:
    pool = {"name": node.name, "generation": 1, "resourceSliceCount": 2}
    await node.slice(DRIVER, *gems("a"), name="s0", pool=pool)
    name = await node.device_class("class", selectors=cel(CEL))
    assert await given(node, [request("r", name)], name="first", waits=False) == []

    await node.slice(DRIVER, *gems("b"), name="s1", pool=pool)
    assert await given(node, [request("r", name)], name="second") in ([("r", "a")], [("r", "b")])


async def test_dra_sl_5_only_the_newest_generation_counts(node: Node) -> None:
    await node.slice(DRIVER, *gems("old"), name="s0")
    pool = {"name": node.name, "generation": 2, "resourceSliceCount": 1}
    await node.slice(DRIVER, *gems("new"), name="s1", pool=pool)
    name = await node.device_class("class", selectors=cel(CEL))

    assert await given(node, [request("r", name)]) == [("r", "new")]


async def test_sl_3_a_pod_that_waits_is_served_when_there_is_something(node: Node) -> None:
    name = await node.device_class("class", selectors=cel(CEL))
    claim = await node.api.make(
        node.api.claims,
        {"metadata": {"name": node.api.name("claim")}, "spec": {"devices": {"requests": [request("r", name)]}}},
    )
    pod = await scheduled(node, "pod", claim=claim)
    await node.says(pod, "cannot allocate all claims")
    await publish_one(node)

    assert await results(node, pod, claim) == [("r", "a")]


async def publish_one(node: Node) -> Object:
    """Publish one device."""
    return await node.slice(DRIVER, *gems("a"), name="s0")


async def test_dra_taint_3_a_pod_is_evicted_from_a_device_that_gets_no_execute(node: Node) -> None:
    name = await node.device_class("class", selectors=cel(CEL))
    made = await publish_one(node)
    claim = await node.api.make(
        node.api.claims,
        {"metadata": {"name": node.api.name("claim")}, "spec": {"devices": {"requests": [request("r", name)]}}},
    )
    pod = await scheduled(node, "pod", claim=claim)
    assert await results(node, pod, claim) == [("r", "a")]
    made["spec"]["devices"][0]["taints"] = tainted("NoExecute")
    path = f"{SLICES}/{made['metadata']['name']}"
    code, document = await node.api.ask("PUT", path, made)
    assert code == 200, document

    async def leaves() -> bool:
        now = await node.now(pod)
        return now is None or "deletionTimestamp" in now["metadata"]

    await node.until(leaves)
    await node.force(pod)


async def extended(node: Node, pod: Object) -> tuple[Object, Object]:
    """Return a pod's `extendedResourceClaimStatus` and the claim."""

    async def look() -> Any:
        now = await node.now(pod)
        return (now or {}).get("status", {}).get("extendedResourceClaimStatus")

    status = await node.until(look)
    _, claim = await node.api.ask("GET", f"{node.api.claims}/{status['resourceClaimName']}")
    return status, claim


async def test_er_3_a_name_becomes_a_claim_of_the_schedulers_with_its_names_and_mappings(node: Node) -> None:
    await node.slice(DRIVER, *gems("a", "b", "c"), name="s0")
    resource = f"example.com/{node.api.tag}"
    name = await node.device_class("class", selectors=cel(CEL), extendedResourceName=resource)
    pod = await scheduled(node, "pod", limits={"cpu": "10m", resource: "2", "memory": "16Mi"})
    status, claim = await extended(node, pod)

    assert claim["metadata"]["generateName"] == f"{pod['metadata']['name']}-extended-resources-"
    assert claim["metadata"]["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
    (owner,) = claim["metadata"]["ownerReferences"]
    assert {key: owner.get(key) for key in ("kind", "name", "uid", "controller")} == {
        "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"], "controller": True,
    }  # fmt: skip  # a table
    (asked,) = claim["spec"]["devices"]["requests"]
    assert asked == {
        "name": "container-0-request-1",
        "exactly": {"deviceClassName": name, "allocationMode": "ExactCount", "count": 2},
    }
    assert status["requestMappings"] == [
        {"containerName": "main", "resourceName": resource, "requestName": "container-0-request-1"}
    ]
    assert [result["device"] for result in claim["status"]["allocation"]["devices"]["results"]] == ["a", "b"]


async def test_dra_er_1_the_implicit_name_of_a_class_works_too(node: Node) -> None:
    await node.slice(DRIVER, *gems("a"), name="s0")
    name = await node.device_class("class", selectors=cel(CEL))
    pod = await scheduled(node, "pod", limits={f"deviceclass.resource.kubernetes.io/{name}": "1"})
    _, claim = await extended(node, pod)

    assert [result["device"] for result in claim["status"]["allocation"]["devices"]["results"]] == ["a"]


async def test_dra_er_2_of_two_classes_the_later_has_the_resource_and_of_one_second_the_first_by_name(
    node: Node,
) -> None:
    await node.slice(DRIVER, *gems("a"), name="s0")
    resource = f"example.com/{node.api.tag}"
    made = {}
    for name in ("one", "two"):
        whole = await node.device_class(name, selectors=cel(CEL), extendedResourceName=resource)
        _, document = await node.api.ask("GET", f"{CLASSES}/{whole}")
        made[whole] = document["metadata"]["creationTimestamp"]
    pod = await scheduled(node, "pod", limits={resource: "1"})
    _, claim = await extended(node, pod)

    (asked,) = claim["spec"]["devices"]["requests"]
    assert asked["exactly"]["deviceClassName"] == min(name for name, time in made.items() if time == max(made.values()))
