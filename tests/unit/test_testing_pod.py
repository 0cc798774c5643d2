"""Reading pods from YAML: what is played, and what is refused by name."""

from __future__ import annotations

import pytest

from fakekubelet import pod

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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Deployment", "kind 'Deployment' is not played here"),
        ("[1, 2]", "must be a mapping"),
        ("a: [", "not YAML"),
        ("{kind: Pod, metadata: {}}", "needs metadata.name"),
        ("{kind: Pod, metadata: {name: p}, spec: {}}", "pod p: spec.containers is empty"),
        (HEAD + "resources: {limits: {example.com/x: 500m}}}]}}", "example.com/x: '500m' must be a whole number"),
        (HEAD + "resources: {requests: {example.com/x: 1}}}]}}", "the request of example.com/x must equal its limit"),
        (HEAD + "env: [{name: A, valueFrom: {}}]}]}}", "env A: valueFrom is not played here"),
    ],
)
def test_what_cannot_be_played_is_refused_by_name(text, said):
    with pytest.raises(pod.PodSpecError) as caught:
        pod.parse(text)

    assert said in str(caught.value)
