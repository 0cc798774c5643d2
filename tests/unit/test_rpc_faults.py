from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin.rpc_faults import FILES, STREAMS, Fault, Kind


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("delay 2s", Fault(Kind.DELAY, delay_s=2.0)),
        ("delay 1.5m\n", Fault(Kind.DELAY, delay_s=90.0)),
        ("delay 250ms", Fault(Kind.DELAY, delay_s=0.25)),
        ("delay 60m", Fault(Kind.DELAY, delay_s=3600.0)),
        ("delay 0s", Fault(Kind.DELAY, delay_s=0.0)),
        (" hang ", Fault(Kind.HANG)),
        ("drop", Fault(Kind.DROP)),
        ("error UNAVAILABLE", Fault(Kind.ERROR, code=grpc.StatusCode.UNAVAILABLE)),
        ("error INTERNAL the bus\nis gone", Fault(Kind.ERROR, code=grpc.StatusCode.INTERNAL, text="the bus is gone")),
    ],
)
def test_what_a_file_may_say(value: str, fault: Fault) -> None:
    assert Fault.parse(value, method="list_and_watch") == fault


@pytest.mark.parametrize(
    "value",
    [
        "delay",
        "delay 2",
        "delay 61m",
        "delay 3600001ms",
        "delay 2s now",
        "delay -1s",
        "delay 2h",
        "error",
        "error OK",
        "error unavailable",
        "hang on",
        "drop it",
        "x",
    ],
)
def test_what_it_may_not_say(value: str) -> None:
    with pytest.raises(ValueError, match=r"^must be delay 2s \(ms, s or m\), error CODE text, hang, drop$"):
        Fault.parse(value, method="list_and_watch")


def test_only_a_stream_can_be_dropped() -> None:
    for method in set(FILES.values()) - set(STREAMS):
        with pytest.raises(ValueError, match=r"hang$"):
            Fault.parse("drop", method=method)


@given(st.text(max_size=60))
def test_no_text_is_a_crash(value: str) -> None:
    try:
        Fault.parse(value, method="allocate")
    except ValueError as error:
        assert str(error).startswith("must be delay")
