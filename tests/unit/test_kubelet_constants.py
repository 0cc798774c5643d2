"""The kubelet's own times and limits: in the fake one as they stand in the contract, not as the code has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fakekubelet.cluster import pod_run
from fakekubelet.kubelet import endpoint, node_status, numa, plugin_client, plugin_watcher, pod_resources, pod_workers
from kubeletapi.deviceplugin.v1beta1 import constants

CONTRACT = (Path(__file__).parents[2] / "docs" / "kubelet-contract.md").read_text()


def fact(number: str) -> str:
    found = re.search(rf"^\*\*{number}\*\*.*?(?=^\*\*[A-Z]|^#|^\|)", CONTRACT, re.MULTILINE | re.DOTALL)
    assert found, number
    return found[0]


@pytest.mark.parametrize(
    ("value", "number", "words"),
    [
        (plugin_client.DIAL_TIMEOUT_S, "REG-6", "10 s limit"),
        (plugin_watcher.GET_INFO_TIMEOUT_S, "PW-2", "`GetInfo` (**1 s** limit)"),
        (plugin_watcher.NOTIFY_TIMEOUT_S, "PW-2", "(5 s limit)"),
        (node_status.UPDATE_PERIOD_S, "NS-5", "default 10 s"),
        (node_status.JITTER, "NS-5", "jitter factor 0.04"),
        (pod_resources.RATE_PER_S, "PR-7", "100 requests/s"),
        (pod_resources.BURST, "PR-7", "burst 10"),
        (constants.MAX_MESSAGE_BYTES, "LW-11", "4,194,304 bytes"),
        (numa.MOST_NODES, "AL-20", "more than 8 NUMA nodes"),
    ],
)
def test_a_limit_is_the_one_in_its_fact(value, number, words):
    assert words in fact(number)
    assert f"{value:g}" in words.replace(",", "") or value == int(re.sub(r"\D", "", words))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (endpoint.STOP_GRACE_PERIOD_S, 300),  # endpoint.go:endpointStopGracePeriod, five minutes (section 6)
        (endpoint.PRE_START_TIMEOUT_S, 30),  # constants.go:KubeletPreStartContainerRPCTimeoutInSecs (PS-1)
        (pod_workers.WORKER_BACKOFF_S, 10),  # kubelet.go:backOffPeriod
        (plugin_watcher.FIRST_BACKOFF_S, 0.5),  # exponential_backoff.go:initialDurationBeforeRetry
        (plugin_watcher.LAST_BACKOFF_S, 122),  # exponential_backoff.go:maxDurationBeforeRetry, 2 min 2 s
        (pod_run.FIRST_RESTART_BACKOFF_S, 10),  # kubelet.go:backOffPeriod, doubled at each restart
        (pod_run.LAST_RESTART_BACKOFF_S, 300),  # kubelet.go:MaxContainerBackOff
    ],
)
def test_a_time_is_the_kubelets(value, seconds):
    assert value == seconds
