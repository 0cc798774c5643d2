"""What is wrong with claims, their status, classes and taint rules: each rule, on both sides of its limit."""

import pytest

from fakekubelet.apiserver import claim_rules
from tests.unit.test_apiserver_errors import IDENTIFIER, LABEL, NAME_PART, SUBDOMAIN, VALUE

DRIVER = "gpu.example.com"
EXACTLY = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}
LIMIT = 10 * 1024
REFERENCE = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
OPAQUE = {"opaque": {"driver": DRIVER, "parameters": {}}}


def texts(errors):
    return [str(error) for error in errors]


def claim(*requests, **devices):
    return {"devices": {"requests": list(requests), **devices}}


def exact(**fields):
    return claim({"name": "r", "exactly": {**EXACTLY, **fields}})


def tolerated(**fields):
    return exact(tolerations=[{}, {"key": "k", "operator": "Exists", **fields}])


def alternatives(number, **fields):
    return claim(
        {"name": "r", "firstAvailable": [{"name": f"s{index}", **EXACTLY, **fields} for index in range(number)]}
    )


R = "spec.devices.requests[0]"
E = f"{R}.exactly"
TOO_MANY = "Too many: {}: must have at most {} items"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"devices": None}, [], id="null"),
        pytest.param({"devices": {"requests": None, "constraints": None, "config": None}}, [], id="null inside"),
        pytest.param(exact(), [], id="sound"),
        pytest.param(claim(*({"name": f"r{n}", "exactly": EXACTLY} for n in range(32))), [], id="32 requests"),
        pytest.param(
            claim(*({"name": f"r{n}", "exactly": EXACTLY} for n in range(33))), [f"spec.devices.requests: {TOO_MANY.format(33, 32)}"], id="33 requests"
        ),
        pytest.param(claim({"exactly": EXACTLY}), [f'{R}.name: Invalid value: "": {LABEL}'], id="a request without a name"),
        pytest.param(
            claim(*2 * [{"name": "r", "exactly": EXACTLY}]), ['spec.devices.requests[1]: Duplicate value: "r"'], id="a request twice"
        ),
        pytest.param(
            claim({"name": "r", "firstAvailable": []}),
            [f"{R}: Required value: exactly one of `exactly` or `firstAvailable` is required"],
            id="a request for nothing",
        ),
        pytest.param(
            claim({"name": "r", "exactly": {}, "firstAvailable": [{}]}),
            [f"{R}: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"],
            id="a request for both",
        ),
        pytest.param(exact(deviceClassName="GPU"), [f'{E}.deviceClassName: Invalid value: "GPU": {SUBDOMAIN}'], id="a class in capitals"),
        pytest.param(exact(deviceClassName=""), [f"{E}.deviceClassName: Required value"], id="no class"),
        pytest.param(exact(count=0), [f"{E}.count: Invalid value: 0: must be greater than zero"], id="none of them"),
        pytest.param(exact(count=-1), [f"{E}.count: Invalid value: -1: must be greater than zero"], id="less than none"),
        pytest.param(exact(allocationMode="All", count=0), [], id="all"),
        pytest.param(
            exact(allocationMode="All", count=1),
            [f"{E}.count: Invalid value: 1: must not be specified when allocationMode is 'All'"],
            id="all, and a count",
        ),
        pytest.param(
            claim({"name": "r", "exactly": {"deviceClassName": "gpu"}}),
            [f'{E}.allocationMode: Unsupported value: "": supported values: "All", "ExactCount"'],
            id="no mode",
        ),
        pytest.param(exact(selectors=[{"cel": {"expression": "true"}}] * 32), [], id="32 selectors"),
        pytest.param(exact(selectors=[{}] * 33), [f"{E}.selectors: {TOO_MANY.format(33, 32)}"], id="33 selectors"),
        pytest.param(exact(selectors=[{}]), [f"{E}.selectors[0].cel: Required value"], id="a selector that is none"),
        pytest.param(exact(selectors=[{"cel": {"expression": f'device.driver == "{"x" * (LIMIT - 19)}"'}}]), [], id="10 KiB of CEL"),
        pytest.param(
            exact(selectors=[{"cel": {"expression": f'device.driver == "{"x" * (LIMIT - 18)}"'}}]),
            [f"{E}.selectors[0].cel.expression: Too long: may not be more than 10240 bytes"],
            id="a byte more than 10 KiB of CEL",
        ),
        pytest.param(
            exact(selectors=[{"cel": {"expression": "gadget.driver"}}]),
            [
                f'{E}.selectors[0].cel.expression: Invalid value: "gadget.driver": compilation failed: undeclared reference to \'gadget\' '
                "(in container '')"
            ],
            id="CEL about something else",
        ),
        pytest.param(tolerated(), [], id="a toleration"),
        pytest.param(tolerated(key=""), [], id="a toleration of every key"),
        pytest.param(tolerated(key="a b"), [f'{E}.tolerations[1].key: Invalid value: "a b": name part {NAME_PART}'], id="a key that is none"),
        pytest.param(tolerated(value="v"), [f'{E}.tolerations[1].value: Invalid value: "v": must be empty for operator `Exists`'], id="exists: v"),
        pytest.param(tolerated(operator="Equal", value="v"), [], id="equal: v"),
        pytest.param(
            tolerated(operator="Equal", value="a b"), [f'{E}.tolerations[1].value: Invalid value: "a b": {VALUE}'], id="a value that is none"
        ),
        pytest.param(
            tolerated(operator="Like", value="a b"),
            [f'{E}.tolerations[1].operator: Unsupported value: "Like": supported values: "Equal", "Exists"'],
            id="an operator that there is not",
        ),
        pytest.param(tolerated(effect="NoExecute"), [], id="an effect"),
        pytest.param(
            tolerated(effect="Never"),
            [f'{E}.tolerations[1].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "None"'],
            id="an effect that there is not",
        ),
        pytest.param(alternatives(8), [], id="8 alternatives"),
        pytest.param(alternatives(9), [f"{R}.firstAvailable: {TOO_MANY.format(9, 8)}"], id="9 alternatives"),
        pytest.param(
            alternatives(2, name="S", count=0),
            [
                f'{R}.firstAvailable[0].name: Invalid value: "S": {LABEL}',
                f"{R}.firstAvailable[0].count: Invalid value: 0: must be greater than zero",
                f'{R}.firstAvailable[1].name: Invalid value: "S": {LABEL}',
                f"{R}.firstAvailable[1].count: Invalid value: 0: must be greater than zero",
                f'{R}.firstAvailable[1]: Duplicate value: "S"',
            ],
            id="an alternative in capitals, twice, for none",
        ),
        pytest.param(
            claim({"name": "r", "firstAvailable": [EXACTLY]}),
            [f'{R}.firstAvailable[0].name: Invalid value: "": {LABEL}'],
            id="an alternative without a name",
        ),
    ],
)  # fmt: skip
def test_a_request_is_refused_for_each_rule_that_it_breaks(spec, expected):
    assert texts(claim_rules.claim_errors(spec, None)) == expected


C, F = "spec.devices.constraints[0]", "spec.devices.config[0]"
ALIKE = {"matchAttribute": "example.com/a"}
BOTH = (
    {"name": "r", "exactly": EXACTLY},
    {"name": "q", "firstAvailable": [{"name": "s", **EXACTLY}, {"name": "t", **EXACTLY}]},
)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        pytest.param({"constraints": [{**ALIKE, "requests": ["r", "q", "q/s", "q/t"]}]}, [], id="sound"),
        pytest.param({"constraints": [{"distinctAttribute": "example.com/a"}] * 32}, [], id="32 constraints"),
        pytest.param({"constraints": [{}] * 33}, [f"spec.devices.constraints: {TOO_MANY.format(33, 32)}"], id="33 constraints"),
        pytest.param(
            {"constraints": [{}]},
            [f'{C}: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'],
            id="a constraint on nothing",
        ),
        pytest.param(
            {"constraints": [{"distinctAttribute": "a"}]},
            [f'{C}.distinctAttribute: Invalid value: "a": a fully qualified name must be a domain and a name separated by a slash'],
            id="no domain",
        ),
        pytest.param(
            {"constraints": [{"matchAttribute": "a/9", "distinctAttribute": "b/-"}]},
            [f'{C}.matchAttribute: Invalid value: "9": {IDENTIFIER}', f'{C}.distinctAttribute: Invalid value: "-": {IDENTIFIER}'],
            id="two that are no identifiers",
        ),
        pytest.param(
            {"constraints": [{**ALIKE, "requests": ["r", "r"]}]}, [f'{C}.requests[1]: Duplicate value: "r"'], id="a request twice"
        ),
        pytest.param({"constraints": [{**ALIKE, "requests": ["r"] * 33}]}, [f"{C}.requests: {TOO_MANY.format(33, 32)}"], id="of 33 requests"),
        pytest.param({"constraints": [{**ALIKE, "requests": ["r/s"]}]}, [f'{C}.requests[0]: Invalid value: "r/s": {REFERENCE}'], id="r/s"),
        pytest.param({"constraints": [{**ALIKE, "requests": ["q/s/t"]}]}, [f'{C}.requests[0]: Invalid value: "q/s/t": {REFERENCE}'], id="q/s/t"),
        pytest.param(
            {"constraints": [{**ALIKE, "requests": ["R"]}]},
            [f'{C}.requests[0]: Invalid value: "R": {LABEL}', f'{C}.requests[0]: Invalid value: "R": {REFERENCE}'],
            id="of a request in capitals",
        ),
        pytest.param({"config": [{**OPAQUE, "requests": ["r", "q/t"]}]}, [], id="parameters"),
        pytest.param({"config": [OPAQUE] * 32}, [], id="32 times parameters"),
        pytest.param({"config": [{}] * 33}, [f"spec.devices.config: {TOO_MANY.format(33, 32)}"], id="33 times parameters"),
        pytest.param(
            {"config": [{"requests": ["p", "p"]}]},
            [
                f'{F}.requests[0]: Invalid value: "p": {REFERENCE}',
                f'{F}.requests[1]: Invalid value: "p": {REFERENCE}',
                f'{F}.requests[1]: Duplicate value: "p"',
                f"{F}.opaque: Required value",
            ],
            id="nothing for a request that there is not, twice",
        ),
        pytest.param({"config": [{"requests": ["r"] * 33, **OPAQUE}]}, [f"{F}.requests: {TOO_MANY.format(33, 32)}"], id="for 33 requests"),
        pytest.param(
            {"config": [{"opaque": {}}]}, [f"{F}.opaque.driver: Required value", f"{F}.opaque.parameters: Required value"], id="of nobody"
        ),
        pytest.param(
            {"config": [{"opaque": {"driver": "x" * 64, "parameters": {}}}]},
            [f"{F}.opaque.driver: Too long: may not be more than 63 bytes"],
            id="of a driver with 64 letters",
        ),
    ],
)  # fmt: skip
def test_constraints_and_parameters_are_refused_for_each_rule_that_they_break(devices, expected):
    assert texts(claim_rules.claim_errors(claim(*BOTH, **devices), None)) == expected


def test_parameters_of_many_bytes_in_few_letters_are_too_long():
    config = {"opaque": {"driver": DRIVER, "parameters": {"a": "ü" * (LIMIT // 2 - 4)}}}
    longer = {"opaque": {"driver": DRIVER, "parameters": {"a": "ü" * (LIMIT // 2 - 3)}}}

    assert texts(claim_rules.class_errors({"config": [config]})) == []
    assert texts(claim_rules.class_errors({"config": [longer]})) == [
        "spec.config[0].opaque.parameters: Too long: may not be more than 10240 bytes"
    ]


def test_a_claim_that_is_there_keeps_its_spec_and_is_not_looked_at_again():
    bad = claim({"name": "R"})

    assert texts(claim_rules.claim_errors(bad, bad)) == []
    assert texts(claim_rules.claim_errors({"a": 1}, bad, "spec.spec")) == [
        'spec.spec: Invalid value: {"a":1}: field is immutable'
    ]


RESULT = {"request": "r", "driver": DRIVER, "pool": "p", "device": "d"}
DEVICE = {"driver": DRIVER, "pool": "p", "device": "d"}
USER = {"resource": "pods", "name": "n", "uid": "u"}
UID = "6e5a2f2c-2f4f-4c3d-9f5a-0123456789ab"
S, D = "status.allocation.devices.results[0]", "status.devices[0]"
KEY = '{"Driver":"gpu.example.com","Pool":"p","Device":"d","ShareID":""}'


def status(*results, **more):
    return {"allocation": {"devices": {"results": list(results)}}, **more}


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"reservedFor": None, "devices": None, "allocation": None}, [], id="null"),
        pytest.param({"allocation": {"devices": None}}, [], id="an allocation of nothing"),
        pytest.param(status(RESULT, reservedFor=[USER], devices=[DEVICE]), [], id="sound"),
        pytest.param({"reservedFor": [USER]}, ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"], id="too early"),
        pytest.param(status(reservedFor=[{**USER, "uid": f"u{n}"} for n in range(256)]), [], id="for 256"),
        pytest.param(status(reservedFor=[{}] * 257), [f"status.reservedFor: {TOO_MANY.format(257, 256)}"], id="for 257"),
        pytest.param(status(reservedFor=[USER, {**USER, "name": "m"}]), ['status.reservedFor[1]: Duplicate value: "u"'], id="twice for one"),
        pytest.param(
            status(reservedFor=[{}]),
            [f"status.reservedFor[0].{field}: Required value" for field in ("resource", "name", "uid")],
            id="for nobody",
        ),
        pytest.param(status(*({**RESULT, "device": f"d{n}"} for n in range(32))), [], id="32 results"),
        pytest.param(status(*33 * [{}]), [f"status.allocation.devices.results: {TOO_MANY.format(33, 32)}"], id="33 results"),
        pytest.param(
            status({}),
            [
                f'{S}.request: Invalid value: "": {LABEL}',
                f'{S}.request: Invalid value: "": {REFERENCE}',
                f"{S}.driver: Required value",
                f"{S}.pool: Required value",
                f'{S}.device: Invalid value: "": {LABEL}',
            ],
            id="an empty result",
        ),
        pytest.param(status({**RESULT, "shareID": UID}), [], id="a share"),
        *(
            pytest.param(
                status({**RESULT, "shareID": "0" * length}),
                [f'{S}.shareID: Invalid value: "{"0" * length}": error validating uid: invalid UUID length: {length}'],
                id=f"a share of {length} digits",
            )
            for length in (0, 31, 33, 35, 37, 39, 44, 46)
        ),
        *(
            pytest.param(
                status({**RESULT, "shareID": share}),
                [f'{S}.shareID: Invalid value: "{share}": uid must be in RFC 4122 normalized form'],
                id=f"a share in another form: {share}",
            )
            for share in ("0" * 32, UID.upper(), f"{{{UID}}}", f"urn:uuid:{UID}")
        ),
        pytest.param(
            status(RESULT, devices=[{}]),
            [
                f"{D}.driver: Required value",
                f"{D}.pool: Required value",
                f'{D}.device: Invalid value: "": {LABEL}',
                f'{D}: Invalid value: {{"Driver":null,"Pool":null,"Device":null,"ShareID":""}}: must be an allocated device in the claim',
            ],
            id="a status of nothing",
        ),
        pytest.param(
            status({**RESULT, "shareID": UID}, devices=[DEVICE]),
            [f"{D}: Invalid value: {KEY}: must be an allocated device in the claim"],
            id="a status of what only a share was given of",
        ),
        pytest.param(status({**RESULT, "shareID": UID}, devices=[{**DEVICE, "shareID": UID}]), [], id="a status of a share"),
        pytest.param(status(RESULT, devices=[DEVICE, DEVICE]), [f"status.devices[1]: Duplicate value: {KEY}"], id="two statuses of one"),
        pytest.param(status(RESULT, devices=[{**DEVICE, "data": {}}]), [], id="data"),
        pytest.param(
            status(RESULT, devices=[{**DEVICE, "data": []}]),
            [f'{D}.data: Invalid value: "<value omitted>": must be a valid JSON object'],
            id="data that is a list",
        ),
        pytest.param(status(RESULT, devices=[{**DEVICE, "conditions": [{}] * 8}]), [], id="8 conditions"),
        pytest.param(status(RESULT, devices=[{**DEVICE, "conditions": [{}] * 9}]), [f"{D}.conditions: {TOO_MANY.format(9, 8)}"], id="9 conditions"),
        pytest.param(status(RESULT, devices=[{**DEVICE, "networkData": {"ips": ["10.9.8.7/24", "2001:db8::1/64"]}}]), [], id="addresses"),
        pytest.param(
            status(RESULT, devices=[{**DEVICE, "networkData": {"ips": ["10.9.8.7/24", "10.9.8.7", "10.9.8/24", "10.9.8.7/33"]}}]),
            [
                f'{D}.networkData.ips[{index}]: Invalid value: "{address}": '
                "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
                for index, address in ((1, "10.9.8.7"), (2, "10.9.8/24"), (3, "10.9.8.7/33"))
            ],
            id="addresses that are none",
        ),
    ],
)  # fmt: skip
def test_a_status_is_refused_for_each_rule_that_it_breaks(new, expected):
    assert texts(claim_rules.status_errors(new, {}, exact(), is_deleted=False)) == expected


def test_a_claim_that_is_being_deleted_is_reserved_for_nobody_else():
    other = {**USER, "uid": "v"}
    text = "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"

    def said(users, old, *, is_deleted):
        return texts(
            claim_rules.status_errors(
                status(RESULT, reservedFor=users), status(RESULT, reservedFor=old), exact(), is_deleted=is_deleted
            )
        )

    assert said([USER], [USER, other], is_deleted=True) == []
    assert said([], None, is_deleted=True) == []
    assert said([USER, other], [USER], is_deleted=True) == [text]
    assert said([USER], None, is_deleted=True) == [text]
    assert said([USER, other], [USER], is_deleted=False) == []


def test_an_allocation_is_looked_at_when_it_is_made_and_then_only_kept_or_taken_back():
    bad = status({**RESULT, "request": "nobody's"})
    allocation = '{"devices":{"results":[{"request":"r","driver":"gpu.example.com","pool":"p","device":"d"}]}}'

    def said(new, old):
        return texts(claim_rules.status_errors(new, old, exact(), is_deleted=False))

    assert said(bad, bad) == []
    assert said({}, bad) == []
    assert said(status(RESULT), bad) == [f"status.allocation: Invalid value: {allocation}: field is immutable"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"selectors": None, "config": None}, []),
        (
            {
                "selectors": [{"cel": {"expression": "true"}}] * 32,
                "config": [OPAQUE] * 32,
                "extendedResourceName": "example.com/gpu",
            },
            [],
        ),
        (
            {"selectors": [{}] * 33, "config": [{}] * 33, "extendedResourceName": "gpu"},
            [
                f"spec.selectors: {TOO_MANY.format(33, 32)}",
                f"spec.config: {TOO_MANY.format(33, 32)}",
                'spec.extendedResourceName: Invalid value: "gpu": must be a valid extended resource name',
            ],
        ),
        (
            {"selectors": [{}], "config": [{}]},
            ["spec.selectors[0].cel: Required value", "spec.config[0].opaque: Required value"],
        ),
    ],
)
def test_a_class_is_refused_for_each_rule_that_it_breaks(spec, expected):
    assert texts(claim_rules.class_errors(spec)) == expected


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("example.com/gpu", True), ("example.com/G.p_u", True), ("mykubernetes.io/gpu", False), ("kubernetes.io/gpu", False),
        ("x.kubernetes.io/gpu", False), ("kubernetes.io.example.com/gpu", True), ("example.com/kubernetes.io", True),
        ("gpu", False), ("", False), ("/gpu", False), ("requests.example.com/gpu", False), ("example.com/", False), ("example.com/a/b", False),
        ("Example.com/gpu", False), (f"example.com/{'x' * 63}", True), (f"example.com/{'x' * 64}", False),
        (f"{'x' * 244}/gpu", True), (f"{'x' * 245}/gpu", False),
    ],
)  # fmt: skip
def test_an_extended_resource_is_told_by_its_name(name, is_one):
    assert claim_rules.is_extended_resource(name) is is_one


RULE = {
    "deviceSelector": {"driver": DRIVER, "pool": "a/b", "device": "d"},
    "taint": {"key": "k", "effect": "NoSchedule"},
}


@pytest.mark.parametrize(
    ("spec", "old", "expected"),
    [
        (RULE, None, []),
        ({**RULE, "deviceSelector": None}, None, []),
        ({**RULE, "deviceSelector": {}}, {}, []),
        (
            {"deviceSelector": {"driver": "", "pool": "P", "device": "a.b"}, "taint": {"key": "k", "effect": "Drain"}},
            {"taint": {"effect": "None"}},
            [
                "spec.deviceSelector.driver: Required value",
                f'spec.deviceSelector.pool: Invalid value: "P": {SUBDOMAIN}',
                'spec.deviceSelector.device: Invalid value: "a.b": must not contain dots',
                'spec.taint.effect: Unsupported value: "Drain": supported values: "NoExecute", "NoSchedule", "None"',
            ],
        ),
        ({"taint": {"key": "k", "effect": "Drain"}}, {"taint": {"effect": "Drain"}}, []),
        ({"taint": {"key": "k"}}, {"taint": None}, ["spec.taint.effect: Required value"]),
        (
            {},
            None,
            [
                'spec.taint.key: Invalid value: "": name part must be non-empty',
                f'spec.taint.key: Invalid value: "": name part {NAME_PART}',
                "spec.taint.effect: Required value",
            ],
        ),
    ],
)
def test_a_taint_rule_is_refused_for_each_rule_that_it_breaks(spec, old, expected):
    assert texts(claim_rules.taint_rule_errors(spec, old)) == expected


ADMIN = (
    "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
)


def test_each_request_for_admin_access_is_refused_by_its_place():
    plain, admin = {"exactly": {"adminAccess": False}}, {"exactly": {"adminAccess": True}}

    assert texts(claim_rules.admin_access_errors({})) == []
    assert texts(claim_rules.admin_access_errors({"devices": None})) == []
    assert texts(claim_rules.admin_access_errors(claim(admin, plain, {"exactly": None}, admin))) == [
        f"spec.devices.requests[{index}].adminAccess: Forbidden: {ADMIN}" for index in (0, 3)
    ]


def test_each_new_result_with_admin_access_is_refused_by_its_place():
    new = status({"adminAccess": True}, {}, {"adminAccess": True})

    assert texts(claim_rules.admin_results_errors(new, {})) == [
        f"status.allocation.devices.results[{index}].adminAccess: Forbidden: {ADMIN}" for index in (0, 2)
    ]
    assert texts(claim_rules.admin_results_errors(new, new)) == []
    assert texts(claim_rules.admin_results_errors({}, {"allocation": None})) == []
    assert texts(claim_rules.admin_results_errors({"allocation": {"devices": None}}, {})) == []
