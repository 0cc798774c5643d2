"""What is encoded by hand must be what protobuf reads and writes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin.device import Device, Health
from fakehw_plugin.deviceplugin import wire
from fakehw_plugin.wire import FragmentList
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.factories import make_device

DEVICES = st.builds(
    make_device,
    st.integers(0, 10**9 - 1),
    health=st.sampled_from(Health),
    numa_node=st.none() | st.integers(0, 2**31 - 1),
)


def as_message(device: Device) -> pluginapi.Device:
    message = pluginapi.Device(ID=device.id, health=device.health.value)
    if device.numa_node is not None:
        message.topology.nodes.add(ID=device.numa_node)
    return message


@given(DEVICES)
def test_a_fragment_is_the_entry_that_protobuf_would_write(device: Device) -> None:
    expected = pluginapi.ListAndWatchResponse(devices=[as_message(device)])

    assert wire.device_fragment(device.id, device) == expected.SerializeToString(deterministic=True)


@given(DEVICES)
def test_the_worst_size_is_that_of_the_unhealthy_device(device: Device) -> None:
    unhealthy = make_device(device.number, health=Health.UNHEALTHY, numa_node=device.numa_node)

    assert wire.worst_size(wire.device_fragment(device.id, device)) == len(
        wire.device_fragment(unhealthy.id, unhealthy)
    )


@given(st.integers(0, 2**64 - 1))
def test_numbers_survive_encoding(value: int) -> None:
    decoded = pluginapi.RegisterRequest()
    decoded.ParseFromString(wire.delimited(1, b"x") + b"\x78" + wire.varint(value))  # field 15 is unknown, and kept

    assert decoded.version == "x"


@given(st.booleans(), st.booleans(), st.text(max_size=40), st.text(max_size=40))
def test_a_registration_is_what_protobuf_reads(pre_start: bool, preferred: bool, endpoint: str, resource: str) -> None:
    options = wire.plugin_options(pre_start_required=pre_start, preferred_allocation=preferred)
    request = pluginapi.RegisterRequest.FromString(
        wire.register_request(endpoint=endpoint, resource_name=resource, options=options)
    )

    assert (request.version, request.endpoint, request.resource_name) == ("v1beta1", endpoint, resource)
    assert request.options.pre_start_required is pre_start
    assert request.options.get_preferred_allocation_available is preferred


@given(st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8) | st.none()), max_size=600))
def test_a_list_of_fragments_holds_what_was_put_in_and_not_taken_out(steps: list[tuple[int, bytes | None]]) -> None:
    fragments, slots, model = FragmentList(), {}, {}
    for key, fragment in steps:
        if fragment is None:
            if key in slots:
                fragments.remove(slots.pop(key))
                del model[key]
        elif key in slots:
            fragments.replace(slots[key], fragment)
            model[key] = fragment
        else:
            slots[key] = fragments.add(fragment)
            model[key] = fragment

    in_order = [model[key] for key in sorted(model, key=lambda key: slots[key])]
    assert fragments.message() == b"".join(in_order)
