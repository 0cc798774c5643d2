"""What is wrong with a slice: each rule on both sides of its limit (samples in the real server's order: test_apiserver_rules)."""

import pytest

from fakekubelet.apiserver import slice_rules
from tests.unit.test_apiserver_errors import IDENTIFIER, LABEL, NAME_PART, SUBDOMAIN, VALUE
from tests.unit.test_apiserver_rules import DRIVER, named, slice_spec

TOO_MANY = "Too many: {}: must have at most {} items"
TAINT = {"key": "k", "effect": "NoSchedule"}
D = "spec.devices[0]"


def said(spec, old=None):
    return [str(error) for error in slice_rules.errors(spec, old)]


def device(**fields):
    return slice_spec({"name": "a", **fields})


def without_node(**fields):
    return {**{key: value for key, value in slice_spec().items() if key != "nodeName"}, **fields}


CHOICE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
TERM = {"nodeSelectorTerms": [{"matchFields": []}]}


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        pytest.param(
            {},
            [
                "spec.driver: Required value",
                "spec.pool.name: Required value",
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                f"spec: Required value: {CHOICE}",
            ],
            id="nothing",
        ),
        pytest.param(slice_spec(driver="GPU.Example.com"), [], id="a driver in capitals"),
        pytest.param(slice_spec(driver="x" * 63), [], id="a driver of 63 letters"),
        pytest.param(slice_spec(driver="x" * 64), ["spec.driver: Too long: may not be more than 63 bytes"], id="a driver of 64 letters"),
        pytest.param(slice_spec(driver="a_b"), [f'spec.driver: Invalid value: "a_b": {SUBDOMAIN}'], id="a driver that is no name"),
        pytest.param({**slice_spec(), "pool": None}, [
            "spec.pool.name: Required value", "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
        ], id="no pool"),
        pytest.param({**slice_spec(), "pool": {"name": f"{'x' * 126}/{'y' * 126}", "resourceSliceCount": 1}}, [], id="a pool of 253 letters"),
        pytest.param(
            {**slice_spec(), "pool": {"name": f"{'x' * 126}/{'y' * 127}", "generation": 0, "resourceSliceCount": 1}},
            ["spec.pool.name: Too long: may not be more than 253 bytes"],
            id="a pool of 254 letters",
        ),
        pytest.param(
            {**slice_spec(), "pool": {"name": "a//B", "generation": 1, "resourceSliceCount": 1}},
            [f'spec.pool.name: Invalid value: "": {SUBDOMAIN}', f'spec.pool.name: Invalid value: "B": {SUBDOMAIN}'],
            id="a pool with an empty part and one in capitals",
        ),
        pytest.param(slice_spec(nodeName="N"), [f'spec.nodeName: Invalid value: "N": {SUBDOMAIN}'], id="a node in capitals"),
        pytest.param(
            slice_spec(nodeName=""),
            ["spec.nodeName: Invalid value: \"\": must be either unset or set to a non-empty string", f"spec: Required value: {CHOICE}"],
            id="an empty node",
        ),
        pytest.param(without_node(allNodes=True), [], id="all nodes"),
        pytest.param(without_node(nodeSelector=TERM), [], id="a selector"),
        pytest.param(without_node(perDeviceNodeSelection=True), [], id="nodes by device"),
        pytest.param(
            without_node(allNodes=False, perDeviceNodeSelection=False),
            [
                "spec.allNodes: Invalid value: false: must be either unset or set to true",
                "spec.perDeviceNodeSelection: Invalid value: false: must be either unset or set to true",
                f"spec: Required value: {CHOICE}",
            ],
            id="no nodes, by no device",
        ),
        pytest.param(
            without_node(nodeSelector=None),
            [
                "spec.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term",
                "spec.nodeSelector.nodeSelectorTerms: Invalid value: []: must have exactly one node selector term",
            ],
            id="a selector of nothing",
        ),
        pytest.param(
            without_node(nodeSelector={"nodeSelectorTerms": [{}, {}]}),
            ["spec.nodeSelector.nodeSelectorTerms: Invalid value: [{},{}]: must have exactly one node selector term"],
            id="two terms",
        ),
        pytest.param(
            slice_spec(nodeSelector=TERM, allNodes=True, perDeviceNodeSelection=True),
            [
                'spec: Invalid value: "{`nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection`}": '
                f"{CHOICE}, but multiple fields are set"
            ],
            id="all choices of nodes",
        ),
        pytest.param(
            {**slice_spec(), "devices": [], "sharedCounters": []},
            ['spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed'],
            id="neither devices nor counters, and both",
        ),
        pytest.param({**without_node(), "nodeName": "n", "devices": None}, [], id="null devices"),
    ],
)  # fmt: skip
def test_the_head_of_a_slice_is_refused_for_each_rule_that_it_breaks(spec, texts):
    assert said(spec) == texts


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"taints": [TAINT]}, id="a taint"),
        pytest.param({"consumesCounters": [{"counterSet": "c", "counters": {"x": {"value": "1"}}}]}, id="a counter"),
        *(
            pytest.param({"attributes": {"x": {name: ["1.2.3"]}}}, id=f"a list of {name}")
            for name in ("ints", "bools", "strings", "versions")
        ),
    ],
)
def test_a_slice_in_which_one_device_has_more_holds_64(more):
    assert said(slice_spec(*named(63), {"name": "m", **more})) == []
    assert said(slice_spec(*named(64), {"name": "m", **more})) == [f"spec.devices: {TOO_MANY.format(65, 64)}"]


def test_a_slice_whose_devices_have_nothing_more_holds_128():
    more = {"attributes": {"x": {"string": "s"}, "y": {"int": 1}}, "capacity": {"c": {"value": "1"}}, "taints": []}

    assert said(slice_spec(*named(127), {"name": "m", **more})) == []
    assert said(slice_spec(*named(128), {"name": "m", **more})) == [f"spec.devices: {TOO_MANY.format(129, 128)}"]


def ints(number, start=0):
    return {f"x{index}": {"int": index} for index in range(start, start + number)}


SEMVER = "must be a string compatible with semver.org spec 2.0.0"
ONE_VALUE = "exactly one value must be specified"


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        pytest.param(device(attributes=ints(32)), [], id="32 attributes"),
        pytest.param(device(attributes=ints(20), capacity={f"c{n}": {"value": "1"} for n in range(12)}), [], id="20 and 12 capacities"),
        pytest.param(
            device(attributes=ints(20), capacity={f"c{n}": {"value": "1"} for n in range(13)}),
            [f"{D}: Invalid value: 33: the total number of attributes and capacities must not exceed 32"],
            id="20 and 13 capacities",
        ),
        pytest.param(device(attributes={"l": {"ints": [1] * 46}, **ints(2)}), [], id="48 values"),
        pytest.param(
            device(attributes={"l": {"ints": [1] * 24}, "m": {"bools": [True] * 23}, **ints(2)}),
            [f"{D}: Invalid value: 49: the total number of attribute values must not exceed 48"],
            id="49 values",
        ),
        pytest.param(device(attributes={"x" * 32: {"int": 1}}, capacity={"x" * 32: {"value": "1"}}), [], id="names of 32 letters"),
        pytest.param(
            device(attributes={"x" * 33: {"int": 1}}, capacity={"x" * 33: {"value": "1"}}),
            [f"{D}.{part}: Too long: may not be more than 32 bytes" for part in ("attributes", "capacity")],
            id="names of 33 letters",
        ),
        pytest.param(device(attributes={"example.com/x": {"int": 1}, "a/b/c": {"int": 1}}), [], id="domains"),
        pytest.param(device(attributes={"/x": {"int": 1}}), [f'{D}.attributes: Invalid value: "": the domain must not be empty'], id="no domain"),
        pytest.param(device(attributes={"a/": {"int": 1}}), [f'{D}.attributes: Invalid value: "": the name must not be empty'], id="no name"),
        pytest.param(
            device(attributes={"/": {"int": 1}}),
            [f'{D}.attributes: Invalid value: "": the {part} must not be empty' for part in ("domain", "name")],
            id="a slash",
        ),
        pytest.param(
            device(attributes={"a_b/9": {"int": 1}}),
            [f'{D}.attributes: Invalid value: "a_b": {SUBDOMAIN}', f'{D}.attributes: Invalid value: "9": {IDENTIFIER}'],
            id="no domain and no identifier",
        ),
        pytest.param(device(capacity={"9": {"value": "1"}}), [f'{D}.capacity: Invalid value: "9": {IDENTIFIER}'], id="no identifier"),
        pytest.param(device(attributes={"x": {"string": "s" * 64, }, "y": {"string": ""}}), [], id="texts"),
        pytest.param(
            device(attributes={"x": {"strings": ["s", "s" * 65]}}),
            [f"{D}.attributes[x].strings[1]: Too long: may not be more than 64 bytes"],
            id="a long text in a list",
        ),
        pytest.param(device(attributes={"x": {"version": "1.20.3-rc.1-x.0a+b-1.02"}}), [], id="a version"),
        *(
            pytest.param(device(attributes={"x": {"version": v}}), [f'{D}.attributes[x].version: Invalid value: "{v}": {SEMVER}'], id=f"version {v}")
            for v in ("", "1.2", "v1.2.3", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2.3.4", "1.2.3-a..b")
        ),
        pytest.param(
            device(attributes={"x": {"versions": ["1.2.3", "1.2", f"1.2.3-{'x' * 59}"]}}),
            [
                f'{D}.attributes[x].versions[1]: Invalid value: "1.2": {SEMVER}',
                f"{D}.attributes[x].versions[2]: Too long: may not be more than 64 bytes",
            ],
            id="versions",
        ),
        pytest.param(
            device(attributes={"x": {"ints": []}}), [f"{D}.attributes[x].ints: Invalid value: []: must not be empty if specified"], id="an empty list"
        ),
        pytest.param(device(attributes={"x": {}}), [f'{D}.attributes[x]: Invalid value: "": {ONE_VALUE}'], id="no value"),
        pytest.param(
            device(attributes={"x": {"ints": [1], "bool": True}}),
            [f'{D}.attributes[x]: Invalid value: {{"ints":[1],"bool":true}}: {ONE_VALUE}'],
            id="a list and a value",
        ),
        pytest.param(
            device(attributes={f"{'d' * 63}/{'x' * 32}": {}}),
            [f'{D}.attributes[{"d" * 63}/{"x" * 32}]: Invalid value: "": {ONE_VALUE}'],
            id="the longest name that is shown whole",
        ),
        pytest.param(
            device(attributes={f"{'d' * 63}/{'x' * 33}": {}}),
            [
                f"{D}.attributes: Too long: may not be more than 32 bytes",
                f'{D}.attributes[{"d" * 47}...{"d" * 12}/{"x" * 33}]: Invalid value: "": {ONE_VALUE}',
            ],
            id="a longer one, without its middle",
        ),
    ],
)  # fmt: skip
def test_attributes_and_capacities_are_refused_for_each_rule_that_they_break(spec, texts):
    assert said(spec) == texts


def nodes(**fields):
    return {**without_node(perDeviceNodeSelection=True), "devices": [{"name": "a", **fields}]}


UNASKED = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
ONE_CHOICE = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        *(pytest.param(nodes(**{name: value}), [], id=name) for name, value in (("nodeName", "n"), ("nodeSelector", TERM), ("allNodes", True))),
        pytest.param(nodes(), [f"{D}: Required value: {ONE_CHOICE}"], id="none"),
        pytest.param(
            nodes(nodeName=""), [f'{D}.nodeName: Invalid value: "": must not be empty', f"{D}: Required value: {ONE_CHOICE}"], id="an empty node"
        ),
        pytest.param(
            nodes(allNodes=False),
            [f"{D}.allNodes: Invalid value: false: must be either unset or set to true", f"{D}: Required value: {ONE_CHOICE}"],
            id="not all",
        ),
        pytest.param(
            nodes(nodeName="n", nodeSelector=TERM, allNodes=True),
            [f'{D}: Invalid value: "{{`nodeName`, `nodeSelector`, `allNodes`}}": {ONE_CHOICE}'],
            id="all three",
        ),
        *(
            pytest.param(device(**{name: value}), [f"{D}: Invalid value: null: {UNASKED}"], id=f"unasked: {name}")
            for name, value in (("nodeName", ""), ("nodeSelector", TERM), ("allNodes", False))
        ),
    ],
)  # fmt: skip
def test_nodes_by_device_are_named_once_and_only_if_the_slice_says_so(spec, texts):
    assert said(spec) == texts


@pytest.mark.parametrize(
    ("taints", "texts"),
    [
        ([{"key": f"k{n}", "effect": "None"} for n in range(16)], []),
        ([{}] * 17, [f"{D}.taints: {TOO_MANY.format(17, 16)}"]),
        ([{"key": "k", "value": "v", "effect": "NoExecute"}, {"key": "k", "value": "", "effect": "NoSchedule"}], []),
        (
            [{"value": "a b"}],
            [
                f'{D}.taints[0].key: Invalid value: "": name part must be non-empty',
                f'{D}.taints[0].key: Invalid value: "": name part {NAME_PART}',
                f'{D}.taints[0].value: Invalid value: "a b": {VALUE}',
                f"{D}.taints[0].effect: Required value",
            ],
        ),
        (
            [TAINT, {"key": "k", "effect": "Drain"}],
            [f'{D}.taints[1].effect: Unsupported value: "Drain": supported values: "NoExecute", "NoSchedule", "None"'],
        ),
    ],
)
def test_taints_are_refused_for_each_rule_that_they_break(taints, texts):
    assert said(device(taints=taints)) == texts


def test_taints_that_are_there_already_are_not_looked_at_again_and_changed_ones_are_looked_at_whole():
    old, more = device(taints=[{"key": "k"}]), device(taints=[{"key": "k"}, TAINT])

    assert said(old, old) == []
    assert said(more, old) == [f"{D}.taints[0].effect: Required value"]
    assert said(old, slice_spec({"name": "b", "taints": [{"key": "k"}]})) == [f"{D}.taints[0].effect: Required value"]
    assert said(old, {**old, "devices": None}) == [f"{D}.taints[0].effect: Required value"]


def consumed(*numbers, **fields):
    return device(
        consumesCounters=[
            {"counterSet": f"s{number}", "counters": {"x": {"value": "1"}}, **fields} for number in numbers
        ]
    )


def counters(*sets):
    return {**{key: value for key, value in slice_spec().items() if key != "devices"}, "sharedCounters": list(sets)}


def counted(number):
    return {f"c{index}": {"value": "1"} for index in range(number)}


C, S = f"{D}.consumesCounters", "spec.sharedCounters"


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        (consumed(1, 2), []),
        (consumed(1, 2, 3), [f"{C}: {TOO_MANY.format(3, 2)}"]),
        (consumed(1, 1), [f'{C}[1]: Duplicate value: "s1"']),
        (consumed(1, counterSet=""), [f"{C}[0].counterSet: Required value"]),
        (consumed(1, counterSet="S"), [f'{C}[0].counterSet: Invalid value: "S": {LABEL}']),
        (consumed(1, counters={}), [f"{C}[0].counters: Required value"]),
        (consumed(1, counters=counted(32)), []),
        (consumed(1, counters=counted(33)), [f"{C}[0].counters: {TOO_MANY.format(33, 32)}"]),
        (counters(*({"name": f"s{n}", "counters": counted(1)} for n in range(8))), []),
        (counters(*({"name": f"s{n}", "counters": counted(1)} for n in range(9))), [f"{S}: {TOO_MANY.format(9, 8)}"]),
        (
            counters({"name": "s", "counters": counted(32)}, {"name": "s", "counters": counted(32)}),
            [f'{S}[1]: Duplicate value: "s"'],
        ),
        (counters({}), [f"{S}[0].name: Required value", f"{S}[0].counters: Required value"]),
        (
            counters({"name": "S", "counters": {"X": {}, "y": {}}}),
            [f'{S}[0].name: Invalid value: "S": {LABEL}', f'{S}[0].counters: Invalid value: "X": {LABEL}'],
        ),
    ],
)
def test_counters_are_refused_for_each_rule_that_they_break(spec, texts):
    assert said(spec) == texts


W, X = f"{D}.bindingConditions", f"{D}.bindingFailureConditions"


@pytest.mark.parametrize(
    ("wanted", "failing", "texts"),
    [
        ([], [], []),
        (list("abcd"), list("efgh"), []),
        (list("abcde"), list("fghij"), [f"{W}: {TOO_MANY.format(5, 4)}", f"{X}: {TOO_MANY.format(5, 4)}"]),
        (["a", "a"], ["b", "b"], [f'{W}[1]: Duplicate value: "a"', f'{X}[1]: Duplicate value: "b"']),
        (
            ["a b"],
            ["c d"],
            [
                f'{W}[0]: Invalid value: "a b": name part {NAME_PART}',
                f'{X}[0]: Invalid value: "c d": name part {NAME_PART}',
            ],
        ),
        (
            ["a", "b"],
            ["c", "b"],
            [f'{X}[1]: Invalid value: "b": bindingFailureConditions must not overlap with bindingConditions'],
        ),
        ([], ["a"], [f"{W}: Invalid value: null: bindingConditions are required to use bindingFailureConditions"]),
        (["a"], [], [f"{X}: Invalid value: null: bindingFailureConditions are required to use bindingConditions"]),
    ],
)
def test_conditions_to_wait_for_are_refused_for_each_rule_that_they_break(wanted, failing, texts):
    assert said(device(bindingConditions=wanted, bindingFailureConditions=failing)) == texts


P = f"{D}.capacity[m].requestPolicy"
NO_MULTIPLE = "value is not a multiple of a given step ({}) from ({})"


@pytest.mark.parametrize(
    ("policy", "texts"),
    [
        ({}, []),
        ({"default": "20Gi"}, []),
        (
            {"validValues": ["1Gi"], "validRange": {}},
            [f'{P}: Forbidden: exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'],
        ),
        ({"validValues": ["1Gi"]}, [f"{P}.default: Required value: required when validValues is defined"]),
        ({"validRange": {"min": "1Gi"}}, [f"{P}.default: Required value: required when validRange is defined"]),
        ({"default": "1Gi", "validValues": ["1024Mi", "2Gi", "10Gi"]}, []),
        ({"default": "1", "validValues": [str(number) for number in range(1, 11)]}, []),
        (
            {"default": "1", "validValues": [str(number) for number in range(1, 12)]},
            [f"{P}.validValues: {TOO_MANY.format(11, 10)}", f'{P}.validValues: Invalid value: "1": default value is not valid according to the requestPolicy'],
        ),
        (
            {"default": "2Gi", "validValues": ["2Gi", "1Gi", "3Gi", "11Gi"]},
            [
                f'{P}.validValues[1]: Invalid value: "1Gi": values must be sorted in ascending order',
                f'{P}.validValues[3]: Invalid value: "11Gi": option is larger than capacity value: 10Gi',
            ],
        ),
        ({"default": "1Gi", "validValues": ["1Gi", "1024Mi"]}, [f'{P}.validValues[1]: Duplicate value: "1073741824"']),
        (
            {"default": "3Gi", "validValues": ["1Gi", "2Gi"]},
            [f'{P}.validValues: Invalid value: "3Gi": default value is not valid according to the requestPolicy'],
        ),
        ({"default": "1Gi", "validRange": {}}, [f"{P}.validRange.min: Required value: required when validRange is defined"]),
        ({"default": "10Gi", "validRange": {"min": "10Gi", "max": "10Gi"}}, []),
        ({"default": "1Gi", "validRange": {"min": "1Gi", "max": "10Gi", "step": "3Gi"}}, []),
        (
            {"default": "11Gi", "validRange": {"min": "11Gi"}},
            [f'{P}.validRange.min: Invalid value: "11Gi": min is larger than capacity value: 10Gi'],
        ),
        ({"default": "1Gi", "validRange": {"min": "2Gi"}}, [f'{P}.validRange.min: Invalid value: "1Gi": default is less than min: 2Gi']),
        (
            {"default": "12Gi", "validRange": {"min": "2Gi", "max": "11Gi"}},
            [
                f'{P}.validRange.max: Invalid value: "11Gi": max is larger than capacity value: 10Gi',
                f'{P}.validRange.max: Invalid value: "12Gi": default is more than max: 11Gi',
            ],
        ),
        (
            {"default": "3Gi", "validRange": {"min": "3Gi", "max": "2Gi"}},
            [
                f'{P}.validRange.max: Invalid value: "3Gi": min is larger than max: 2Gi',
                f'{P}.validRange.max: Invalid value: "3Gi": default is more than max: 2Gi',
            ],
        ),
        ({"default": "1Gi", "validRange": {"min": "1Gi", "step": "9Gi"}}, []),
        ({"default": "1Gi", "validRange": {"min": "1Gi", "step": "0"}}, []),
        (
            {"default": "1Gi", "validRange": {"min": "1Gi", "step": "9217Mi"}},
            [f'{P}.validRange.step: Invalid value: "9217Mi": one step 10241Mi is larger than capacity value: 10Gi'],
        ),
        (
            {"default": "3Gi", "validRange": {"min": "1Gi", "max": "6Gi", "step": "3Gi"}},
            [f'{P}.validRange.step: Invalid value: "{value}": {NO_MULTIPLE.format("3Gi", "1Gi")}' for value in ("3Gi", "6Gi")],
        ),
    ],
)  # fmt: skip
def test_a_policy_is_refused_for_each_rule_that_it_breaks(policy, texts):
    spec = device(
        allowMultipleAllocations=True, capacity={"n": {"value": "1"}, "m": {"value": "10Gi", "requestPolicy": policy}}
    )

    assert said(spec) == texts


def test_a_policy_is_for_devices_that_are_shared():
    capacity = {"m": {"requestPolicy": {"default": "1", "validValues": ["1"]}}}

    assert said(device(capacity=capacity)) == [f"{P}: Forbidden: allowMultipleAllocations must be true"]
    assert said(device(capacity=capacity, allowMultipleAllocations=False)) == [
        f"{P}: Forbidden: allowMultipleAllocations must be true"
    ]
    assert said(device(capacity=capacity, allowMultipleAllocations=True)) == [
        f'{P}.validValues[0]: Invalid value: "1": option is larger than capacity value: 0'
    ]


@pytest.mark.parametrize(
    ("changed", "texts"),
    [
        ({"driver": "x"}, ['spec.driver: Invalid value: "x": field is immutable']),
        (
            {"pool": {"name": "x", "generation": 2, "resourceSliceCount": 2}},
            ['spec.pool.name: Invalid value: "x": field is immutable'],
        ),
        ({"pool": {"name": "worker", "generation": 2, "resourceSliceCount": 2}}, []),
        ({"nodeName": "x"}, ['spec.nodeName: Invalid value: "x": field is immutable']),
        ({"devices": [], "driver": DRIVER}, []),
    ],
)
def test_what_a_slice_is_about_stays(changed, texts):
    assert said({**slice_spec(), **changed}, slice_spec()) == texts


def test_a_slice_does_not_go_from_its_node_to_all():
    assert said(without_node(allNodes=True), slice_spec()) == ["spec.nodeName: Invalid value: null: field is immutable"]
    assert said(slice_spec(), {**without_node(), "pool": None}) == [
        'spec.pool.name: Invalid value: "worker": field is immutable',
        'spec.nodeName: Invalid value: "worker": field is immutable',
    ]
