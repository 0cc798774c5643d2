"""What a plugin reads out of a kubelet's bytes: device IDs, each once; an error for anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin import errors
from fakehw_plugin.deviceplugin import requests
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi


def allocate(*containers: list[str]) -> bytes:
    asked = [pluginapi.ContainerAllocateRequest(devices_ids=device_ids) for device_ids in containers]
    return pluginapi.AllocateRequest(container_requests=asked).SerializeToString()


@given(st.lists(st.lists(st.text(max_size=40), max_size=12), max_size=12))
def test_each_container_gets_its_devices_in_order_and_each_once(containers: list[list[str]]) -> None:
    asked = requests.allocated(allocate(*containers))

    assert asked == tuple(tuple(dict.fromkeys(device_ids)) for device_ids in containers)


def test_a_small_request_is_read_once_and_a_large_one_is_not_kept() -> None:
    assert requests._kept.cache_info().maxsize == 1024
    small = allocate(["node2-dev3-1"])
    assert requests.allocated(small) is requests.allocated(small)
    for size, is_kept in ((256, True), (257, False)):
        request = allocate(["x" * (size - 6)])
        assert len(request) == size
        assert (requests.allocated(request) is requests.allocated(request)) is is_kept


def test_a_container_starts_with_each_of_its_devices_once() -> None:
    request = pluginapi.PreStartContainerRequest(devices_ids=["b", "a", "b"]).SerializeToString()

    assert requests.started(request) == ("b", "a")


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (requests.allocated, "AllocateRequest"),
        (requests.preferred, "PreferredAllocationRequest"),
        (requests.started, "PreStartContainerRequest"),
    ],
)
@pytest.mark.parametrize("size", [1, 300])
def test_bytes_that_are_no_request_are_an_error_each_time(read, message, size) -> None:
    for _ in range(2):
        with pytest.raises(errors.RequestError, match=f"^not a {message}: .") as caught:
            read(b"\xff" * size)
        assert caught.value.message == message
        assert str(caught.value) == f"not a {message}: {caught.value.error}"
