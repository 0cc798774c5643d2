"""Reading pods from YAML: what is played, and what is refused by name."""

from __future__ import annotations

import contextlib
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from fakekubelet import pod, quantity

HEAD = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, command: [x], "


def test_a_manifest_becomes_pods_in_order():
    pods = pod.parse(
        """
apiVersion: v1
kind: List
items:
  - kind: Pod
    metadata: {name: one, namespace: lab}
    spec:
      terminationGracePeriodSeconds: 3
      restartPolicy: Never
      initContainers:
        - {name: side, restartPolicy: Always, resources: {limits: {example.com/x: "2"}}}
        - {name: init}
      containers:
        - name: main
          image: busybox
          command: [sh, -c, 1]
          env: [{name: A, value: b}, {name: EMPTY}]
          resources: {limits: {example.com/x: 1, cpu: 500m}, requests: {example.com/x: 1}}
---
---
kind: Pod
metadata: {name: two}
spec: {containers: [{name: c}]}
"""
    )

    one, two = pods
    assert (one.name, one.namespace, one.grace_period_s, one.restart_policy) == ("one", "lab", 3.0, "Never")
    assert [(c.name, c.is_sidecar, dict(c.limits)) for c in one.init_containers] == [
        ("side", True, {"example.com/x": 2}),
        ("init", False, {}),
    ]
    assert one.containers[0].command == ("sh", "-c", "1")
    assert one.containers[0].env == (("A", "b"), ("EMPTY", ""))
    assert one.containers[0].limits == {"example.com/x": 1}
    assert two.name == "two"
    assert one.uid != two.uid


MALFORMED = [
    ("kind: Deployment", "kind 'Deployment' is not played here"),
    ("{metadata: {name: p}}", "kind None is not played here"),
    ("[1, 2]", "must be a mapping"),
    ("a: [", "not YAML"),
    ("a: 2001-99-99", "not YAML"),
    ("[" * 2500, "too deeply nested"),
    ("{kind: List, items: {a: b}}", "List: items must be a list"),
    ("&a {kind: List, items: [*a]}", "a List must not hold lists"),
    ("{kind: Pod, metadata: []}", "metadata must be a mapping, not []"),
    ("{kind: Pod, metadata: {}}", "needs metadata.name"),
    ("{kind: Pod, metadata: {name: 7}}", "needs metadata.name"),
    ("{kind: Pod, metadata: {name: My_Pod}}", "'My_Pod' must be lower case letters"),
    ("{kind: Pod, metadata: {name: p}, spec: {}}", "pod p: spec.containers is empty"),
    ("{kind: Pod, metadata: {name: p}, spec: [1]}", "pod p: spec must be a mapping, not [1]"),
    ("{kind: Pod, metadata: {name: p}, spec: {containers: {a: b}}}", "pod p: spec.containers must be a list"),
    ("{kind: Pod, metadata: {name: p}, spec: {containers: [c]}}", "a container must be a mapping, not 'c'"),
    ("{kind: Pod, metadata: {name: p}, spec: {containers: [{image: x}]}}", "a container needs a name, not None"),
    ("{kind: Pod, metadata: {name: p}, spec: {containers: [{name: C}]}}", "a container 'C' must be lower case"),
    ("{kind: Pod, metadata: {name: p}, spec: {containers: [{name: c}, {name: c}]}}", "two containers are called c"),
    (
        "{kind: Pod, metadata: {name: p, namespace: 3}, spec: {containers: [{name: c}]}}",
        "metadata.namespace must be text",
    ),
    ("{kind: Pod, metadata: {name: p}, spec: {nodeName: 3, containers: [{name: c}]}}", "spec.nodeName must be text"),
    (HEAD + "}], restartPolicy: Sometimes}}", "must be one of Always, OnFailure, Never, not 'Sometimes'"),
    (HEAD + "}], restartPolicy: [a]}}", "must be one of Always, OnFailure, Never"),
    (HEAD + "}], terminationGracePeriodSeconds: soon}}", "must be a number of seconds, not 'soon'"),
    (HEAD + "}], terminationGracePeriodSeconds: -1}}", "must be a number of seconds, not -1"),
    (HEAD + "}], terminationGracePeriodSeconds: .nan}}", "must be a number of seconds, not nan"),
    (
        "{kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, command: sh}]}}",
        "command must be a list, not 'sh'",
    ),
    ("{kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, command: [[a]]}]}}", "command: must be text"),
    (HEAD + 'args: ["a\\0b"]}]}}', "cannot be given a NUL"),
    (HEAD + "env: {A: b}}]}}", "env must be a list"),
    (HEAD + "env: [A]}]}}", "an env entry needs a name, not 'A'"),
    (HEAD + "env: [{value: b}]}]}}", "an env entry needs a name"),
    (HEAD + "env: [{name: A=B}]}]}}", "a name has no '='"),
    (HEAD + "env: [{name: A, value: {a: b}}]}]}}", "env A: must be text"),
    (HEAD + "env: [{name: A, valueFrom: {}}]}]}}", "env A: valueFrom is not played here"),
    (HEAD + "resources: 3}]}}", "resources must be a mapping, not 3"),
    (HEAD + "resources: {limits: [a]}}]}}", "resources.limits must be a mapping"),
    (HEAD + "resources: {limits: {3: 1}}}]}}", "a resource must have a name, not 3"),
    (HEAD + "resources: {limits: {example.com/x: 500m}}}]}}", "example.com/x: '500m' must be a whole number"),
    (HEAD + "resources: {limits: {example.com/x: -1}}}]}}", "example.com/x: '-1' must not be negative"),
    (HEAD + "resources: {limits: {example.com/x: [1]}}}]}}", "must be a whole number"),
    (HEAD + "resources: {requests: {example.com/x: 1}}}]}}", "the request of example.com/x must equal its limit"),
]


@pytest.mark.parametrize(("text", "said"), MALFORMED, ids=[said for _, said in MALFORMED])
def test_what_cannot_be_played_is_refused_by_name(text, said):
    with pytest.raises(pod.PodSpecError) as caught:
        pod.parse(text)

    assert said in str(caught.value)


def test_a_file_that_is_not_utf_8_is_refused_by_name(tmp_path):
    (tmp_path / "pods.yaml").write_bytes(b"kind: \xff")

    with pytest.raises(pod.PodSpecError, match=r"pods\.yaml: not UTF-8"):
        pod.read(tmp_path / "pods.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["kind", "metadata", "spec", "name", "containers", "initContainers", "resources", "limits", "requests", "env", "command",
         "value", "items", "restartPolicy", "terminationGracePeriodSeconds", "nodeName", "example.com/x"]) | st.text(max_size=4),
        inner, max_size=5),
    max_leaves=20,
)  # fmt: skip  # one list


@hypothesis.given(spec=JSON, container=JSON)
def test_whatever_a_manifest_says_it_is_pods_or_a_named_error(spec, container):
    for text in (
        json.dumps({"kind": "Pod", "metadata": {"name": "p"}, "spec": spec}),
        json.dumps({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}),
        json.dumps(container),
    ):
        with contextlib.suppress(pod.PodSpecError):
            assert all(isinstance(found, pod.Pod) for found in pod.parse(text))


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (2, 2), ("2", 2), ("+2", 2), (2.0, 2), ("1.0", 1), ("1.", 1), ("1e3", 1000), ("1E3", 1000), ("15e-1e", None), ("1.5e1", 15),
        ("1k", 1000), ("1E", 10**18), ("2P", 2 * 10**15), ("10Mi", 10 << 20), ("1Ki", 1024), ("0.5Ki", 512), ("1000m", 1), ("500m", None), ("1500m", None),
        ("0.1", None), ("1n", None), ("-0", 0), ("-1", None), ("", None), ("k", None), ("1K", None), ("1ki", None), ("1 k", None),
        ("1_0", None), ("\u0661", None), ("0x10", None), ("nan", None), ("inf", None), (True, None), (None, None),
        ("1e19", None), ("1e999999999", None), ("1e-999999999", None), ("8Ei", None), ("9223372036854775807", 2**63 - 1),
        ("9" * 100, None), ("0" * 50 + "1", 1), ("0e999999999", 0),
    ],
)  # fmt: skip  # a table
def test_quantities_are_whole_numbers_as_an_api_server_reads_them(given, number):
    if number is None:
        with pytest.raises(quantity.QuantityError, match="must"):
            quantity.whole(given)
    else:
        assert quantity.whole(given) == number


def test_a_request_equals_its_limit_however_it_is_written():
    text = HEAD + "resources: {limits: {example.com/x: 2k}, requests: {example.com/x: 2e3}}}]}}"

    assert pod.parse(text)[0].containers[0].limits == {"example.com/x": 2000}
