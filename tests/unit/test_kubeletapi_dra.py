"""The DRA APIs on the wire: names and field numbers as a kubelet has them (contract 1.4 and 1.5)."""

from __future__ import annotations

import pytest

from kubeletapi.dra import constants
from kubeletapi.dra.v1 import api_pb2 as v1
from kubeletapi.dra.v1beta1 import api_pb2 as v1beta1
from kubeletapi.drahealth.v1 import api_pb2 as health_v1
from kubeletapi.drahealth.v1alpha1 import api_pb2 as health_v1alpha1


@pytest.mark.parametrize(
    ("module", "service", "name"),
    [
        (v1, "DRAPlugin", constants.V1_SERVICE),
        (v1beta1, "DRAPlugin", constants.V1BETA1_SERVICE),
        (health_v1, "DRAResourceHealth", constants.HEALTH_V1),
        (health_v1alpha1, "DRAResourceHealth", constants.HEALTH_V1ALPHA1),
    ],
)
def test_services_have_the_names_that_the_kubelet_calls(module, service, name):
    assert module.DESCRIPTOR.services_by_name[service].full_name == name


@pytest.mark.parametrize("module", [v1, v1beta1])
def test_a_prepared_claim_encodes_as_the_kubelet_reads_it(module):
    device = module.Device(request_names=["gpu"], pool_name="p", device_name="d", cdi_device_ids=["v/c=n"])

    assert device.SerializeToString() == b"\x0a\x03gpu\x12\x01p\x1a\x01d\x22\x05v/c=n"


def test_only_v1_has_a_share_id():
    assert v1.Device(share_id="s").SerializeToString() == b"\x2a\x01s"
    assert "share_id" not in v1beta1.Device.DESCRIPTOR.fields_by_name


@pytest.mark.parametrize("module", [health_v1, health_v1alpha1])
def test_a_health_message_encodes_as_the_kubelet_reads_it(module):
    device = module.DeviceHealth(
        device=module.DeviceIdentifier(pool_name="p", device_name="d"),
        health=module.UNHEALTHY,
        last_updated_time=1,
        health_check_timeout_seconds=2,
        message="m",
    )

    assert device.SerializeToString() == b"\x0a\x06\x0a\x01p\x12\x01d\x10\x02\x18\x01\x20\x02\x2a\x01m"
