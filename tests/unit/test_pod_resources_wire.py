"""A kubelet's answers byte by byte: what is read of them, what is passed over, and what is no message at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw.view import pod_resources
from fakehw.view.pod_resources import UnknownError, holder, parse_allocatable, parse_holders
from kubeletapi.podresources.v1 import api_pb2


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, kind: int, content: bytes) -> bytes:
    return varint(number << 3 | kind) + content


def text(number: int, value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return field(number, 2, varint(len(raw)) + raw)


OTHERS = field(9, 0, varint(2**63)) + field(8, 1, b"\x0a" * 8) + field(7, 5, b"\x0a" * 4) + text(6, "x" * 300)
"""One field of each kind that nobody asked for; those of fixed width look like others inside."""


def test_fields_of_other_kinds_and_numbers_are_passed_over_wherever_they_stand() -> None:
    devices = OTHERS + text(2, "a") + OTHERS + text(1, "resource") + text(2, "b") + OTHERS
    assert parse_allocatable(OTHERS + text(1, devices) + OTHERS + text(2, text(2, "no"))) == {"a", "b"}
    assert parse_allocatable(b"") == frozenset()


@pytest.mark.parametrize("before", [field(8, 1, b"12345678"), field(7, 5, b"1234"), field(9, 0, b"\x01")])
def test_after_a_field_of_fixed_width_comes_the_next(before: bytes) -> None:
    assert parse_allocatable(before + text(1, text(2, "d"))) == {"d"}
    assert parse_allocatable(text(1, text(2, "d")) + before) == {"d"}


@given(st.integers(0, 2**64 - 1))
def test_after_a_number_of_up_to_64_bits_the_next_field_is_found(number: int) -> None:
    assert parse_allocatable(field(3, 0, varint(number)) + text(1, text(2, "d"))) == {"d"}


@given(st.integers(0, 700))
def test_a_text_of_any_length_is_read_to_its_last_byte(length: int) -> None:
    assert parse_allocatable(text(1, text(2, "x" * length))) == {"x" * length}


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (text(1, "abc")[:-1], "a message that is cut off"),
        (b"\x0a", "a message that is cut off"),
        (b"\x80", "a message that is cut off"),
        (field(3, 0, b"\xff" * 9), "a message that is cut off"),
        (field(3, 0, b"\xff" * 10 + b"\x01"), "a number of more than 64 bits"),
        (field(3, 1, b"1234567"), "a message that is cut off"),
        (field(3, 5, b"123"), "a message that is cut off"),
        (field(3, 3, b""), "wire type 3"),
        (field(3, 4, b""), "wire type 4"),
        (field(3, 7, b""), "wire type 7"),
    ],
)
def test_what_is_no_message_is_said(raw: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=f"^{what}$"):
        parse_allocatable(raw)


def claim(name: str, *resources: bytes) -> bytes:
    return text(5, text(1, "") + text(2, name) + text(3, "ns") + b"".join(text(4, resource) for resource in resources))


def resource(driver: str, device: str, *cdi: str) -> bytes:
    return b"".join(text(1, text(1, name)) for name in cdi) + text(2, driver) + text(3, "pool") + text(4, device)


def pod(name: str, *containers: bytes) -> bytes:
    return text(1, text(1, name) + text(2, "ns") + b"".join(text(3, container) for container in containers))


def test_who_holds_what_is_namespace_pod_and_container() -> None:
    raw = pod(
        "p1",
        text(1, "main") + text(2, text(1, "r") + text(2, "a") + text(2, "b")) + text(2, text(2, "c")),
        text(1, "side") + text(2, text(2, "d")),
    ) + pod("p2", text(2, text(2, "e")))
    assert parse_holders(raw) == {
        "a": "ns/p1/main",
        "b": "ns/p1/main",
        "c": "ns/p1/main",
        "d": "ns/p1/side",
        "e": "ns/p2/",
    }
    assert parse_holders(b"") == {}


def test_a_device_that_two_containers_share_by_claims_is_held_by_both_once_each() -> None:
    gpu = resource("our.io", "gpu", "k8s.our.io/claim=uid-gpu")
    shared = pod("p1", text(1, "main") + claim("c", gpu, gpu), text(1, "side") + claim("c", gpu))
    assert parse_holders(shared) == {"gpu": "ns/p1/main by c, ns/p1/side by c"}


@pytest.mark.parametrize(
    ("driver", "device", "cdi", "is_ours"),
    [
        ("our.io", "gpu", ["k8s.our.io/claim=uid-gpu"], True),
        ("our.io", "gpu", ["other.io/x=y", "k8s.our.io/claim=uid-gpu-more"], True),
        ("our.io", "gpu", ["k8s.our.io/claim=uid-tpu"], False),
        ("our.io", "gpu", ["k8s.other.io/claim=uid-gpu"], False),
        ("our.io", "gpu", ["k8s.our.io/gpu=uid-gpu"], False),
        ("our.io", "gpu", [], False),
    ],
)
def test_a_device_is_ours_by_a_name_that_our_driver_gives(
    driver: str, device: str, cdi: list[str], is_ours: bool
) -> None:
    raw = pod("p", text(1, "main") + claim("c", resource(driver, device, *cdi)))
    assert parse_holders(raw) == ({device: "ns/p/main by c"} if is_ours else {})


def test_a_holder_is_asked_for_by_id_or_by_the_name_in_a_slice() -> None:
    held = {"Node.A-gpu-1": "x", "node-a-gpu-2-000000": "no", "node2-gpu-3": "z"}
    assert holder(held, "Node.A-gpu-1") == "x"
    assert holder(held, "node2-gpu-3") == "z"
    assert holder(held, "node2-gpu-4") == ""


CALLS = [
    (pod_resources.allocatable, "GetAllocatableResources", text(1, text(2, "a")), frozenset({"a"})),
    (pod_resources.holders, "List", pod("p", text(1, "m") + text(2, text(2, "a"))), {"a": "ns/p/m"}),
]


@pytest.mark.parametrize(("call", "method", "answer", "expected"), CALLS)
async def test_each_question_is_one_call_and_an_answer_that_is_no_message_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, call: object, method: str, answer: bytes, expected: object
) -> None:
    asked: list[tuple[Path, str]] = []
    answers = [answer, b"\x0f", text(1, text(2, b"\xff"))]

    async def ask(socket: Path, method: str) -> bytes:
        asked.append((socket, method))
        return answers.pop(0)

    monkeypatch.setattr(pod_resources, "_ask", ask)
    assert callable(call)
    assert await call(Path("/a.sock")) == expected
    with pytest.raises(UnknownError, match=r"^an answer that is no message: wire type 7$"):
        await call(Path("/a.sock"))
    if call is pod_resources.allocatable:
        with pytest.raises(UnknownError, match=r"^an answer that is no message: 'utf-8'"):
            await call(Path("/a.sock"))
    assert set(asked) == {(Path("/a.sock"), method)}


def test_the_whole_of_a_real_answer_is_read() -> None:
    answer = api_pb2.AllocatableResourcesResponse(
        devices=[api_pb2.ContainerDevices(resource_name="a/b", device_ids=[str(n) for n in range(300)])],
        cpu_ids=[1, 2**40],
    )
    assert parse_allocatable(answer.SerializeToString()) == {str(n) for n in range(300)}
