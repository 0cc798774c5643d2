"""Pods read from YAML, whole; and what the scheduler counts of them."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakekubelet import pod
from fakekubelet.pod import Container, Pod, PodSpecError, RestartPolicy

X, Y = "example.com/x", "example.com/y"


def without_uid(made):
    return dataclasses.replace(made, uid="")


def test_a_manifest_is_read_whole():
    (made,) = pod.parse(
        """
kind: Pod
metadata: {name: p.1, namespace: lab}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 2.5
  restartPolicy: OnFailure
  initContainers:
    - {name: side, restartPolicy: Always, resources: {limits: {example.com/x: "2"}}}
    - {name: init, restartPolicy: Never}
  containers:
    - name: main
      image: busybox
      command: [sh, -c, 1]
      args: [true, 2.5]
      env: [{name: A, value: b}, {name: EMPTY}, {name: ONE, value: 1}]
      resources: {limits: {example.com/x: 1k, example.com/y: 0, cpu: 500m}, requests: {example.com/x: 1000, memory: 1Gi}}
"""
    )

    assert without_uid(made) == Pod(
        name="p.1", namespace="lab", node_name="n1", grace_period_s=2.5, restart_policy=RestartPolicy.ON_FAILURE, uid="",
        init_containers=(Container("side", {X: 2}, is_sidecar=True), Container("init")),
        containers=(
            Container(
                "main", {X: 1000, Y: 0}, "busybox", ("sh", "-c", "1"), ("True", "2.5"),
                (("A", "b"), ("EMPTY", ""), ("ONE", "1")),
            ),
        ),
    )  # fmt: skip  # as it is written


def test_what_is_not_said_is_what_kubernetes_takes():
    (made,) = pod.parse("{kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: null, command: null}]}}")

    assert without_uid(made) == Pod("p", (Container("c"),), uid="")
    assert (made.namespace, made.node_name, made.grace_period_s, made.restart_policy) == (
        "default",
        None,
        30.0,
        "Always",
    )
    assert without_uid(pod.simple("p", {X: 1}, image="i")) == Pod("p", (Container("main", {X: 1}, image="i"),), uid="")
    assert pod.simple("p").containers == (Container("main"),)


def test_every_pod_has_a_uid_of_its_own():
    one, two = pod.simple("p"), pod.simple("p")

    assert one.uid != two.uid
    assert int(two.uid[-12:]) == int(one.uid[-12:]) + 1
    assert one.uid.startswith("00000000-0000-4000-8000-")
    assert len(one.uid) == 36


def test_pods_come_from_a_text_a_file_and_lists_of_lists_in_order(tmp_path):
    def made(name):
        return f"{{kind: Pod, metadata: {{name: {name}}}, spec: {{containers: [{{name: c}}]}}}}"

    text = f"---\n---\n{{kind: List, items: [{made('a')}, {{kind: List, items: [{made('b')}]}}, {{kind: List}}]}}\n---\n{made('c')}"
    (tmp_path / "pods.yaml").write_text(text)

    assert [one.name for one in pod.read(text)] == ["a", "b", "c"]
    assert [one.name for one in pod.read(tmp_path / "pods.yaml")] == ["a", "b", "c"]
    assert pod.parse("") == []
    with pytest.raises(FileNotFoundError):
        pod.read(tmp_path / "none")


def nested(levels):
    text = "{kind: Pod, metadata: {name: p}, spec: {containers: [{name: c}]}}"
    for _ in range(levels):
        text = f"{{kind: List, items: [{text}]}}"
    return text


def test_lists_hold_lists_over_ten_levels_and_no_more():
    assert len(pod.parse(nested(10))) == 1
    with pytest.raises(PodSpecError, match=r"^a List must not hold lists over more than 10 levels$"):
        pod.parse(nested(11))


def of(spec="", container="name: c", name="p", metadata=""):
    return f"{{kind: Pod, metadata: {{name: {name}{metadata}}}, spec: {{containers: [{{{container}}}]{spec}}}}}"


LABEL = "must be lower case letters, digits and '-', at most {}, with a letter or digit at both ends"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "a manifest must be a mapping, not [1]"),
        ("a: &x [*x]", "kind None is not played here; only Pod is"),
        ("kind: " + "d" * 70, f"kind '{'d' * 59}... is not played here; only Pod is"),
        ("kind: " + "d" * 58, f"kind '{'d' * 58}' is not played here; only Pod is"),
        ("{kind: List, items: {a: b}}", "List: items must be a list, not {'a': 'b'}"),
        ("{kind: Pod, metadata: []}", "pod: metadata must be a mapping, not []"),
        ("{kind: Pod}", "a pod needs metadata.name"),
        ("{kind: Pod, metadata: {name: ''}}", "a pod needs metadata.name"),
        ("{kind: Pod, metadata: {name: 7}}", "a pod needs metadata.name"),
        (of(name="A"), f"pod: metadata.name 'A' {LABEL.format(253)}"),
        (of(name="a_b"), f"pod: metadata.name 'a_b' {LABEL.format(253)}"),
        (of(name="-a"), f"pod: metadata.name '-a' {LABEL.format(253)}"),
        (of(name="a."), f"pod: metadata.name 'a.' {LABEL.format(253)}"),
        (of(name="a" * 254), f"pod: metadata.name '{'a' * 59}... {LABEL.format(253)}"),
        ("{kind: Pod, metadata: {name: p}}", "pod p: spec.containers is empty"),
        ("{kind: Pod, metadata: {name: p}, spec: 1}", "pod p: spec must be a mapping, not 1"),
        ("{kind: Pod, metadata: {name: p}, spec: {containers: 1}}", "pod p: spec.containers must be a list, not 1"),
        ("{kind: Pod, metadata: {name: p}, spec: {initContainers: 1}}", "pod p: spec.initContainers must be a list, not 1"),
        ("{kind: Pod, metadata: {name: p}, spec: {containers: [1]}}", "pod p: a container must be a mapping, not 1"),
        (of(container="image: x"), "pod p: a container needs a name, not None"),
        (of(container="name: 1"), "pod p: a container needs a name, not 1"),
        (of(container="name: ''"), "pod p: a container needs a name, not ''"),
        (of(container="name: a.b"), f"pod p: a container 'a.b' {LABEL.format(63)}"),
        (of(container="name: " + "a" * 64), f"pod p: a container '{'a' * 59}... {LABEL.format(63)}"),
        (of(spec=", initContainers: [{name: b}, {name: c}]"), "pod p: two containers are called c"),
        (of(metadata=", namespace: 3"), "pod p: metadata.namespace must be text, not 3"),
        (of(spec=", nodeName: [a]"), "pod p: spec.nodeName must be text, not ['a']"),
        (of(spec=", restartPolicy: Once"), "pod p: spec.restartPolicy must be one of Always, OnFailure, Never, not 'Once'"),
        (of(spec=", terminationGracePeriodSeconds: true"), "pod p: spec.terminationGracePeriodSeconds must be a number of seconds, not True"),
        (of(spec=", terminationGracePeriodSeconds: -0.1"), "pod p: spec.terminationGracePeriodSeconds must be a number of seconds, not -0.1"),
        (of(spec=", terminationGracePeriodSeconds: null"), "pod p: spec.terminationGracePeriodSeconds must be a number of seconds, not None"),
        (of(spec=", terminationGracePeriodSeconds: 9223372036854775808"), "pod p: spec.terminationGracePeriodSeconds must be a number of seconds, not 9223372036854775808"),
        (of(container="name: c, command: sh"), "pod p: container c: command must be a list, not 'sh'"),
        (of(container="name: c, command: [null]"), "pod p: container c: command: must be text, not None"),
        (of(container="name: c, args: [[a]]"), "pod p: container c: args: must be text, not ['a']"),
        (of(container='name: c, args: ["a\\0b"]'), "pod p: container c: args: a process cannot be given a NUL: 'a\\x00b'"),
        (of(container="name: c, env: 1"), "pod p: container c: env must be a list, not 1"),
        (of(container="name: c, env: [A]"), "pod p: container c: an env entry needs a name, not 'A'"),
        (of(container="name: c, env: [{name: 1}]"), "pod p: container c: an env entry needs a name, not {'name': 1}"),
        (of(container="name: c, env: [{name: ''}]"), "pod p: container c: an env entry needs a name, not {'name': ''}"),
        (of(container="name: c, env: [{name: A, valueFrom: 1}]"), "pod p: container c: env A: valueFrom is not played here"),
        (of(container="name: c, env: [{name: A=}]"), "pod p: container c: env 'A=': a name has no '=' and no NUL in it"),
        (of(container='name: c, env: [{name: "A\\0"}]'), "pod p: container c: env 'A\\x00': a name has no '=' and no NUL in it"),
        (of(container="name: c, env: [{name: A, value: null}]"), "pod p: container c: env A: must be text, not None"),
        (of(container="name: c, env: [{name: A, value: {}}]"), "pod p: container c: env A: must be text, not {}"),
        (of(container="name: c, resources: 3"), "pod p: container c: resources must be a mapping, not 3"),
        (of(container="name: c, resources: {limits: 3}"), "pod p: container c: resources.limits must be a mapping, not 3"),
        (of(container="name: c, resources: {requests: 3}"), "pod p: container c: resources.requests must be a mapping, not 3"),
        (of(container="name: c, resources: {limits: {3: 1}}"), "pod p: container c: a resource must have a name, not 3"),
        (of(container="name: c, resources: {limits: {a/x: 1.5}}"), "pod p: container c: a/x: '1.5' must be a whole number"),
        (of(container="name: c, resources: {requests: {a/x: 1}}"), "pod p: container c: the request of a/x must equal its limit"),
        (of(container="name: c, resources: {limits: {a/x: 2}, requests: {a/x: 1}}"), "pod p: container c: the request of a/x must equal its limit"),
    ],
)  # fmt: skip  # a table
def test_what_cannot_be_played_is_refused_in_one_line(text, said):
    with pytest.raises(PodSpecError) as caught:
        pod.parse(text)

    assert str(caught.value) == said


@pytest.mark.parametrize(("text", "start"), [("a: [", "not YAML: "), ("a: 2001-99-99", "not YAML: month must be in")])
def test_what_is_no_yaml_is_told_in_its_readers_words(text, start):
    with pytest.raises(PodSpecError) as caught:
        pod.parse(text)

    assert str(caught.value).startswith(start)


@pytest.mark.parametrize("name", ["a" * 253, "a.b-c.d", "0"])
def test_names_may_be_as_long_as_a_dns_name(name):
    (made,) = pod.parse(of(name=f"'{name}'", container=f"name: {'c' * 63}", metadata=", namespace: ''"))

    assert (made.name, made.namespace) == (name, "default")


@pytest.mark.parametrize(("seconds", "value"), [("0", 0.0), ("9223372036854775807", 2.0**63), ("0.5", 0.5)])
def test_a_grace_period_may_be_nothing_and_very_long(seconds, value):
    (made,) = pod.parse(of(spec=f", terminationGracePeriodSeconds: {seconds}, restartPolicy: null, nodeName: null"))

    assert made.grace_period_s == value
    assert made.restart_policy is RestartPolicy.ALWAYS


LIMITS = st.dictionaries(st.sampled_from([X, Y]), st.integers(0, 4))


@given(st.lists(st.tuples(LIMITS, st.booleans()), max_size=4), st.lists(LIMITS, max_size=3))
def test_what_the_scheduler_counts_is_the_most_that_is_needed_at_any_moment(init, apps):
    made = Pod(
        "p", tuple(Container(f"a{n}", limits) for n, limits in enumerate(apps)),
        tuple(Container(f"i{n}", limits, is_sidecar=side) for n, (limits, side) in enumerate(init)),
    )  # fmt: skip  # of both kinds
    moments = []
    for position, (limits, _) in enumerate(init):
        moments.append([limits, *(before for before, side in init[:position] if side)])
    moments.append([*apps, *(limits for limits, side in init if side)])
    names = sorted({name for limits in [*apps, *(limits for limits, _ in init)] for name in limits})

    expected = {name: max(sum(limits.get(name, 0) for limits in moment) for moment in moments) for name in names}

    assert made.requests() == expected
    assert list(made.requests()) == names
