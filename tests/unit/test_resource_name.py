from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin.resource_name import ResourceName


@pytest.mark.parametrize(
    "text",
    ["myplugin.io/mydevice-1", "nvidia.com/gpu", "a/b", "vendor.example/A_b.c-9", f"{'a' * 63}.io/{'n' * 63}"],
)
def test_a_name_that_the_kubelet_takes_is_taken(text: str) -> None:
    assert ResourceName.parse(text) == text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param("mydevice-1", "domain/name", id="no domain"),
        pytest.param("kubernetes.io/gpu", "kubernetes.io/", id="Kubernetes itself"),
        pytest.param("my-kubernetes.io/x", "kubernetes.io/", id="kubernetes.io anywhere (REG-10)"),
        pytest.param("requests.cpu/x", "requests.", id="quota prefix"),
        pytest.param("My.io/x", "lower-case", id="upper-case domain"),
        pytest.param("-a.io/x", "lower-case", id="dash at the start"),
        pytest.param("a..io/x", "lower-case", id="empty part"),
        pytest.param("/x", "lower-case", id="empty domain"),
        pytest.param("a.io/", "1 to 63", id="empty name"),
        pytest.param("a.io/x/y", "1 to 63", id="two slashes"),
        pytest.param("a.io/-x", "1 to 63", id="name starts with a dash"),
        pytest.param(f"a.io/{'x' * 64}", "1 to 63", id="name of 64"),
        pytest.param(f"{'a' * 245}/x", "at most 244", id="domain too long"),
        pytest.param("a.io/x\n", "1 to 63", id="newline"),
    ],
)
def test_a_name_that_the_kubelet_refuses_is_refused_with_the_rule(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        ResourceName.parse(text)


@given(st.text(max_size=80))
def test_any_text_is_taken_whole_or_refused(text: str) -> None:
    try:
        assert ResourceName.parse(text) == text
    except ValueError as error:
        assert str(error)
