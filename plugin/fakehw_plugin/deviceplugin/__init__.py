"""The rim towards the kubelet: one session and one socket for each resource.

plugin            all sessions of a node, opened and closed with the inventories
session           one resource: wait, serve, register, live; an `attempt` is one life of it
neighbours        other plugins: when one ends, the kubelet may have dropped us with it; `newcomers` knows them
directory         the kubelet's directory: is a kubelet there, and is it still the same one?
endpoint          one gRPC server on one socket
registration      the Register call
servicer          the five calls that a kubelet makes; `requests` reads them, `answers` writes what Allocate says
allocation_log    a log line for what was handed out
device_list       what ListAndWatch sends, kept encoded by `wire`
pod_resources     what the kubelet says of devices: who holds them, which it takes for healthy
"""

from __future__ import annotations


def load(*, pod_resources: bool) -> None:
    """Load what is needed only after a registration, so that no call of the kubelet waits for it."""
    from fakehw_plugin.deviceplugin import answers, requests  # noqa: F401  # with the first Allocate, as is protobuf

    if pod_resources:
        import kubeletapi.podresources.v1.api_pb2  # noqa: F401  # with the first device that vanishes
