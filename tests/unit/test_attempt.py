"""Why an attempt to be registered is over: each reason alone, and none where all is well."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fakehw_plugin.deviceplugin.attempt import Attempt


def make_attempt(*, streams: int = 1, in_place: bool = True, now: object = "kubelet") -> Attempt:
    endpoint: Any = SimpleNamespace(servicer=SimpleNamespace(live_streams=streams), is_in_place=lambda: in_place)
    directory: Any = SimpleNamespace(identity=lambda: now)
    return Attempt(endpoint, directory, identity="kubelet")  # type: ignore[arg-type]  # anything that can be compared


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        pytest.param({}, None, id="all is well"),
        pytest.param({"streams": 0}, None, id="no stream yet"),
        pytest.param({"now": "next"}, "kubelet_replaced", id="another kubelet"),
        pytest.param(
            {"now": "next", "in_place": False}, "kubelet_replaced", id="another kubelet, which deleted the sockets"
        ),
        pytest.param({"in_place": False}, "socket_removed", id="our socket is gone"),
        pytest.param({"now": None, "streams": 0}, "kubelet_gone", id="no kubelet and no stream"),
        pytest.param({"now": None}, None, id="its socket is gone and its stream alive"),
    ],
)
def test_an_attempt_is_over_for_the_first_reason_there_is(state: dict[str, Any], reason: str | None) -> None:
    assert make_attempt(**state).lost() == reason


def test_what_the_kubelet_has_dropped_is_over_though_nothing_ended() -> None:
    attempt = make_attempt()
    attempt.dropped = "displaced"

    assert attempt.lost() == "displaced"
    assert attempt.has_stream
