"""Bodies in protobuf as client-go sends them: every kind that is read, and every way in which a body is broken."""

import datetime
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakekubelet.apiserver import protobuf_body
from tests.unit.test_apiserver_values import envelope, message, varint

GROUP = "resource.k8s.io/v1"
WHEN, MOMENT = message((1, 1_700_000_000), (2, 5)), "2023-11-14T22:13:20Z"


def quantity(text):
    return message((1, text))


def entry(key, value):
    return message((1, key), (2, value))


def raw(text):
    return message((1, text))


META = message((1, "n"), (3, "ns"))
PLAIN_META = {"name": "n", "namespace": "ns"}
TOLERATION = message((1, "k"), (2, "Equal"), (3, "v"), (4, "None"), (5, 0))
PLAIN_TOLERATION = {"key": "k", "operator": "Equal", "value": "v", "effect": "None", "tolerationSeconds": 0}
SELECTOR, PLAIN_SELECTOR = message((1, message((1, "true")))), {"cel": {"expression": "true"}}
NEEDS, PLAIN_NEEDS = message((1, entry("m", quantity("1Gi")))), {"requests": {"m": "1Gi"}}
OPAQUE = message((1, message((1, "d"), (2, raw('{"a": [1]}')))))
PLAIN_OPAQUE = {"opaque": {"driver": "d", "parameters": {"a": [1]}}}
NODES = message((1, message((1, message((1, "k"), (2, "In"), (3, "v"), (3, "w"))), (2, message((1, "metadata.name"))))))
PLAIN_NODES = {
    "nodeSelectorTerms": [
        {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v", "w"]}], "matchFields": [{"key": "metadata.name"}]}
    ]
}  # fmt: skip
CONDITION = message((1, "Ready"), (2, "True"), (3, 4), (4, WHEN), (5, "Because"), (6, "said"))
PLAIN_CONDITION = {
    "type": "Ready", "status": "True", "observedGeneration": 4, "lastTransitionTime": MOMENT, "reason": "Because", "message": "said",
}  # fmt: skip
EXACTLY = message((1, "c"), (2, SELECTOR), (3, "ExactCount"), (4, 2), (5, 1), (6, TOLERATION), (7, NEEDS))
PLAIN_EXACTLY = {
    "deviceClassName": "c", "selectors": [PLAIN_SELECTOR], "allocationMode": "ExactCount", "count": 2, "adminAccess": True,
    "tolerations": [PLAIN_TOLERATION], "capacity": PLAIN_NEEDS,
}  # fmt: skip
SUB = message((1, "s"), (2, "c"), (3, SELECTOR), (4, "All"), (5, 2), (6, TOLERATION), (7, NEEDS))
PLAIN_SUB = {
    "name": "s", "deviceClassName": "c", "selectors": [PLAIN_SELECTOR], "allocationMode": "All", "count": 2, "tolerations": [PLAIN_TOLERATION],
    "capacity": PLAIN_NEEDS,
}  # fmt: skip
CLAIM = message(
    (1, message(
        (1, message((1, "r"), (2, EXACTLY))), (1, message((1, "q"), (3, SUB))),
        (2, message((1, "r"), (2, "a/b"), (3, "a/c"))), (3, message((1, "r"), (2, OPAQUE))),
    ))
)  # fmt: skip
PLAIN_CLAIM = {
    "devices": {
        "requests": [{"name": "r", "exactly": PLAIN_EXACTLY}, {"name": "q", "firstAvailable": [PLAIN_SUB]}],
        "constraints": [{"requests": ["r"], "matchAttribute": "a/b", "distinctAttribute": "a/c"}],
        "config": [{"requests": ["r"], **PLAIN_OPAQUE}],
    }
}
RESULT = message(
    (1, "r"),
    (2, "d"),
    (3, "p"),
    (4, "x"),
    (5, 0),
    (6, TOLERATION),
    (7, "a"),
    (8, "b"),
    (9, "s"),
    (10, entry("m", quantity("1"))),
)
STATUS = message(
    (1, message((1, message((1, RESULT), (2, message((1, "FromClass"), (2, "r"), (3, OPAQUE))))), (3, NODES), (5, WHEN))),
    (2, message((1, "g"), (3, "pods"), (4, "p"), (5, "u"))),
    (4, message(
        (1, "d"), (2, "p"), (3, "x"), (4, CONDITION), (5, raw('{"a": null}')), (6, message((1, "eth1"), (2, "10.0.0.1/8"), (3, "m"))), (7, "s"),
    )),
)  # fmt: skip
PLAIN_STATUS = {
    "allocation": {
        "devices": {
            "results": [
                {
                    "request": "r", "driver": "d", "pool": "p", "device": "x", "adminAccess": False, "tolerations": [PLAIN_TOLERATION],
                    "bindingConditions": ["a"], "bindingFailureConditions": ["b"], "shareID": "s", "consumedCapacity": {"m": "1"},
                }
            ],
            "config": [{"source": "FromClass", "requests": ["r"], **PLAIN_OPAQUE}],
        },
        "nodeSelector": PLAIN_NODES,
        "allocationTimestamp": MOMENT,
    },
    "reservedFor": [{"apiGroup": "g", "resource": "pods", "name": "p", "uid": "u"}],
    "devices": [
        {
            "driver": "d", "pool": "p", "device": "x", "conditions": [PLAIN_CONDITION], "data": {"a": None},
            "networkData": {"interfaceName": "eth1", "ips": ["10.0.0.1/8"], "hardwareAddress": "m"}, "shareID": "s",
        }
    ],
}  # fmt: skip
ATTRIBUTES = [
    ("i", message((2, -7)), {"int": -7}), ("b", message((3, 0)), {"bool": False}), ("s", message((4, "x")), {"string": "x"}),
    ("v", message((5, "1.0.0")), {"version": "1.0.0"}), ("is", message((6, varint(1) + varint(2**64 - 1))), {"ints": [1, -1]}),
    ("bs", message((7, 1), (7, 0)), {"bools": [True, False]}), ("ss", message((8, "x"), (8, "")), {"strings": ["x", ""]}),
    ("vs", message((9, "1.0.0")), {"versions": ["1.0.0"]}),
]  # fmt: skip
POLICY = message(
    (1, quantity("1")),
    (3, quantity("1")),
    (3, quantity("2")),
    (4, message((1, quantity("1")), (2, quantity("9")), (3, quantity("2")))),
)
PLAIN_POLICY = {"default": "1", "validValues": ["1", "2"], "validRange": {"min": "1", "max": "9", "step": "2"}}
COUNTED, PLAIN_COUNTED = (2, entry("c", message((1, quantity("3"))))), {"counters": {"c": {"value": "3"}}}
TAINT = message((1, "k"), (2, "v"), (3, "None"), (4, WHEN))
PLAIN_TAINT = {"key": "k", "value": "v", "effect": "None", "timeAdded": MOMENT}


def device(first):
    """Return the fields of a device, numbered from *first*: those of v1beta1 stand one lower."""
    fields = [
        *((2, entry(name, value)) for name, value, _ in ATTRIBUTES), (3, entry("m", message((1, quantity("1Gi")), (2, POLICY)))),
        (4, message((1, "s"), COUNTED)), (5, "n"), (6, NODES), (7, 1), (8, TAINT), (9, 1), (10, "a"), (11, "b"), (12, 0),
        (13, entry("cpu", message((1, "m"), (2, quantity("2"))))),
    ]  # fmt: skip
    return [(number - 2 + first, value) for number, value in fields]


PLAIN_DEVICE = {
    "attributes": {name: plain for name, _, plain in ATTRIBUTES}, "capacity": {"m": {"value": "1Gi", "requestPolicy": PLAIN_POLICY}},
    "consumesCounters": [{"counterSet": "s", **PLAIN_COUNTED}], "nodeName": "n", "nodeSelector": PLAIN_NODES, "allNodes": True,
    "taints": [PLAIN_TAINT], "bindsToNode": True, "bindingConditions": ["a"], "bindingFailureConditions": ["b"], "allowMultipleAllocations": False,
    "nodeAllocatableResourceMappings": {"cpu": {"capacityKey": "m", "allocationMultiplier": "2"}},
}  # fmt: skip
POOL, PLAIN_POOL = message((1, "p"), (2, 5), (3, 1)), {"name": "p", "generation": 5, "resourceSliceCount": 1}
OBJECT = message((1, "Pod"), (2, "ns"), (3, "p"), (4, "u"), (5, "v1"), (6, "7"), (7, "spec"))
PLAIN_OBJECT = {
    "kind": "Pod",
    "namespace": "ns",
    "name": "p",
    "uid": "u",
    "apiVersion": "v1",
    "resourceVersion": "7",
    "fieldPath": "spec",
}

KINDS = [
    (
        GROUP, "ResourceSlice",
        [(1, META), (2, message(
            (1, "d"), (2, POOL), (3, "n"), (4, NODES), (5, 0), (6, message((1, "a"), *device(2))), (6, message((1, "b"))), (7, 1),
            (8, message((1, "s"), COUNTED)),
        ))],
        {
            "metadata": PLAIN_META,
            "spec": {
                "driver": "d", "pool": PLAIN_POOL, "nodeName": "n", "nodeSelector": PLAIN_NODES, "allNodes": False,
                "devices": [{"name": "a", **PLAIN_DEVICE}, {"name": "b"}], "perDeviceNodeSelection": True,
                "sharedCounters": [{"name": "s", **PLAIN_COUNTED}],
            },
        },
    ),
    (
        "resource.k8s.io/v1beta1", "ResourceSlice",
        [(2, message((6, message((1, "a"), (2, message(*device(1)))))))],
        {"spec": {"devices": [{"name": "a", "basic": PLAIN_DEVICE}]}},
    ),
    (GROUP, "ResourceClaim", [(1, META), (2, CLAIM), (3, STATUS)], {"metadata": PLAIN_META, "spec": PLAIN_CLAIM, "status": PLAIN_STATUS}),
    (
        "resource.k8s.io/v1beta1", "ResourceClaim",
        [(2, message((1, message(
            (1, message((1, "r"), (2, "c"), (3, SELECTOR), (4, "ExactCount"), (5, 2), (6, 1), (8, TOLERATION), (9, NEEDS))),
            (1, message((1, "q"), (7, message((1, "s"), (2, "c"), (3, SELECTOR), (4, "All"), (5, 2), (7, TOLERATION), (8, NEEDS))))),
        ))))],
        {"spec": {"devices": {"requests": [{"name": "r", **PLAIN_EXACTLY}, {"name": "q", "firstAvailable": [PLAIN_SUB]}]}}},
    ),
    (
        GROUP, "ResourceClaimTemplate", [(1, META), (2, message((1, META), (2, CLAIM)))],
        {"metadata": PLAIN_META, "spec": {"metadata": PLAIN_META, "spec": PLAIN_CLAIM}},
    ),
    (
        GROUP, "DeviceClass", [(1, META), (2, message((1, SELECTOR), (2, message((1, OPAQUE))), (4, "a/b")))],
        {"metadata": PLAIN_META, "spec": {"selectors": [PLAIN_SELECTOR], "config": [PLAIN_OPAQUE], "extendedResourceName": "a/b"}},
    ),
    (
        "resource.k8s.io/v1beta2", "DeviceTaintRule",
        [(1, META), (2, message((1, message((2, "d"), (3, "p"), (4, "x"))), (2, TAINT))), (3, message((1, CONDITION)))],
        {
            "metadata": PLAIN_META, "spec": {"deviceSelector": {"driver": "d", "pool": "p", "device": "x"}, "taint": PLAIN_TAINT},
            "status": {"conditions": [PLAIN_CONDITION]},
        },
    ),
    (
        "coordination.k8s.io/v1", "Lease", [(1, META), (2, message((1, "h"), (2, 40), (3, WHEN), (4, WHEN), (5, 3)))],
        {
            "metadata": PLAIN_META,
            "spec": {"holderIdentity": "h", "leaseDurationSeconds": 40, "acquireTime": MOMENT, "renewTime": MOMENT, "leaseTransitions": 3},
        },
    ),
    ("v1", "ConfigMap", [(1, META), (2, entry("a", "b")), (2, entry("c", "")), (4, 1)], {
        "metadata": PLAIN_META, "data": {"a": "b", "c": ""}, "immutable": True,
    }),
    ("v1", "Binding", [(1, META), (2, OBJECT)], {"metadata": PLAIN_META, "target": PLAIN_OBJECT}),
    (
        "meta.k8s.io/v1", "DeleteOptions", [(1, 0), (2, message((1, "u"), (2, "7"))), (4, "Foreground"), (5, "All")],
        {
            "gracePeriodSeconds": 0, "preconditions": {"uid": "u", "resourceVersion": "7"}, "propagationPolicy": "Foreground", "dryRun": ["All"],
        },
    ),
    (
        "v1", "Event",
        [
            (1, META), (2, OBJECT), (3, "r"), (4, "m"), (5, message((1, "c"), (2, "h"))), (6, WHEN), (7, WHEN), (8, 2), (9, "Normal"), (10, WHEN),
            (11, message((1, 3), (2, WHEN))), (12, "act"), (13, OBJECT), (14, "rc"), (15, "ri"),
        ],
        {
            "metadata": PLAIN_META, "involvedObject": PLAIN_OBJECT, "reason": "r", "message": "m", "source": {"component": "c", "host": "h"},
            "firstTimestamp": MOMENT, "lastTimestamp": MOMENT, "count": 2, "type": "Normal", "eventTime": MOMENT,
            "series": {"count": 3, "lastObservedTime": MOMENT}, "action": "act", "related": PLAIN_OBJECT, "reportingComponent": "rc",
            "reportingInstance": "ri",
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("api_version", "kind", "fields", "document"), KINDS, ids=[f"{kind} {version}" for version, kind, *_ in KINDS]
)
def test_each_field_of_a_kind_is_read(api_version, kind, fields, document):
    found = protobuf_body.decode(envelope(api_version, kind, message(*fields)))

    assert found == {"apiVersion": api_version, "kind": kind, **document}


def test_all_of_an_objects_metadata_is_read():
    owner = message((1, "Node"), (3, "n"), (4, "u"), (5, "v1"), (6, 0), (7, 1))
    meta = message(
        (1, "n"), (2, "n-"), (3, "ns"), (5, "u"), (6, "7"), (7, 8), (8, WHEN), (9, WHEN), (10, 30), (11, entry("l", "1")), (11, entry("m", "2")),
        (12, entry("a", "3")), (13, owner), (13, message((1, "Pod"))), (14, "f"), (14, "g"),
    )  # fmt: skip

    assert protobuf_body.decode(envelope("v1", "ConfigMap", message((1, meta)))) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "n", "generateName": "n-", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 8, "creationTimestamp": MOMENT,
            "deletionTimestamp": MOMENT, "deletionGracePeriodSeconds": 30, "labels": {"l": "1", "m": "2"}, "annotations": {"a": "3"},
            "ownerReferences": [
                {"kind": "Node", "name": "n", "uid": "u", "apiVersion": "v1", "controller": False, "blockOwnerDeletion": True}, {"kind": "Pod"},
            ],
            "finalizers": ["f", "g"],
        },
    }  # fmt: skip


def lease(*fields):
    return protobuf_body.decode(envelope("coordination.k8s.io/v1", "Lease", message((2, message(*fields)))))["spec"]


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_number_has_64_bits_and_a_sign(number):
    assert lease((2, number)) == {"leaseDurationSeconds": number}


@given(st.integers(1, 253402300799))
def test_a_time_is_that_of_its_seconds(seconds):
    text = lease((3, message((1, seconds))))["acquireTime"]

    assert text.endswith("Z")
    assert datetime.datetime.fromisoformat(text).timestamp() == seconds


@pytest.mark.parametrize(
    "when", [b"", message((1, 0)), message((1, -1)), message((1, -62135596800)), message((1, 2**62)), message((2, 5))]
)
def test_a_time_that_is_none_is_left_out(when):
    assert lease((1, "h"), (3, when)) == {"holderIdentity": "h"}


def test_what_a_newer_api_has_more_is_left_out_whatever_its_form():
    more = varint(90 << 3 | 1) + b"12345678" + varint(91 << 3 | 5) + b"1234" + message((92, "x"), (93, 300))

    raw_lease = message((2, message((1, "h")) + more + message((2, 3)))) + more
    assert protobuf_body.decode(envelope("coordination.k8s.io/v1", "Lease", raw_lease)) == {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"holderIdentity": "h", "leaseDurationSeconds": 3},
    }  # fmt: skip


def test_what_stands_twice_counts_as_it_stands_last():
    assert lease((1, "a"), (1, "b"), (2, 1), (2, 2)) == {"holderIdentity": "b", "leaseDurationSeconds": 2}


def test_a_map_may_leave_out_an_empty_key_and_an_empty_value():
    content = envelope("v1", "ConfigMap", message((2, message((1, "a"))), (2, message((2, "b"))), (2, b"")))
    assert protobuf_body.decode(content)["data"] == {"a": "", "": ""}


def test_an_empty_quantity_is_zero_and_empty_parameters_are_none():
    capacity = entry("m", message((1, b"")))
    spec = message((6, message((3, capacity))))
    opaque = message((2, message((2, message((1, message((1, message((1, "d"), (2, b""))))))))))

    assert protobuf_body.decode(envelope(GROUP, "ResourceSlice", message((2, spec))))["spec"] == {
        "devices": [{"capacity": {"m": {"value": "0"}}}]
    }
    assert protobuf_body.decode(envelope(GROUP, "DeviceClass", opaque))["spec"] == {
        "config": [{"opaque": {"driver": "d"}}]
    }


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the envelope of a protobuf body is missing"),
        (b'{"kind": "Lease"}', "the envelope of a protobuf body is missing"),
        (b"k8s\x01" + message((2, b"")), "the envelope of a protobuf body is missing"),
        (b"k8s\x00", " is not read in protobuf here, but in JSON"),
        (envelope("v1", "Pod", b""), "Pod is not read in protobuf here, but in JSON"),
        (envelope("v1", "Lease", b"\x0a\x05ab"), "it ends in the middle of a field"),
        (envelope("v1", "Lease", b"\x0a"), "it ends in the middle of a number"),
        (envelope("v1", "Lease", b"\x80"), "it ends in the middle of a number"),
        (envelope("v1", "Lease", b"\x80" * 10 + b"\x01"), "a number is too long"),
        (envelope("v1", "Lease", b"\x0b"), "wire type 3"),
        (envelope("v1", "Lease", b"\x09" + b"1234567"), "it ends in the middle of a field"),
        (envelope("v1", "Lease", b"\x0d" + b"123"), "it ends in the middle of a field"),
        (envelope("v1", "Lease", message((1, 5))), "a number where bytes belong"),
        (envelope("v1", "Lease", message((2, message((2, "x"))))), "bytes where a number belongs"),
        (envelope("v1", "Lease", message((2, message((1, b"\xff"))))), "not UTF-8: "),
        (envelope("v1", "Binding", message((2, message((1, 5))))), "a number where bytes belong"),
        (envelope("v1", "ConfigMap", message((2, 5))), "a number where bytes belong"),
        (envelope("v1", "ConfigMap", message((2, message((1, 5))))), "a number where bytes belong"),
        (envelope("v1", "Lease", message((2, message((3, message((1, "x"))))))), "bytes where a number belongs"),
        (envelope(GROUP, "DeviceClass", message((2, message((2, message((1, message((1, message((2, raw("{")))))))))))), "error parsing data as JSON: "),
    ],
)  # fmt: skip
def test_a_body_that_is_broken_is_refused_for_what_is_wrong_with_it(content, why):
    with pytest.raises(protobuf_body.UndecodableError, match=f"^{re.escape(why)}") as caught:
        protobuf_body.decode(content)

    if not why.endswith(": "):
        assert str(caught.value) == why


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, 2**70 - 1])
def test_the_longest_number_has_ten_bytes(number):
    content = envelope("coordination.k8s.io/v1", "Lease", message((2, varint(2 << 3) + varint(number))))

    wrapped = number % 2**64
    assert protobuf_body.decode(content)["spec"]["leaseDurationSeconds"] == wrapped - 2**64 * (wrapped >= 2**63)
