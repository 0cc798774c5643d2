"""Vendors' looks as data: what is served, which labels nodes have, and why devices break."""

from __future__ import annotations

import re

import pytest

import fakehw
from fakehw import cli, layout
from fakehw.spec import profiles

VENDORS = [name for name in profiles.names() if profiles.labels(name)]
RESOURCES = {"nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "aws.amazon.com/neuron", "google.com/tpu"}
LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def test_each_vendor_is_there() -> None:
    served = set()
    for name in VENDORS:
        (node,) = fakehw.load_topology(name).nodes.values()
        assert node.host is None, "each node of a cluster serves it"
        served |= {fake_class.resource for fake_class in node.classes.values()}
    assert served == RESOURCES


@pytest.mark.parametrize("name", VENDORS)
def test_labels_are_those_that_an_api_server_takes_and_count_what_is_there(name: str) -> None:
    labels = profiles.labels(name)
    assert all(LABEL_KEY.fullmatch(key) for key in labels)
    assert all(LABEL_VALUE.fullmatch(value) for value in labels.values())
    counts = {value for key, value in labels.items() if key.endswith((".count", "accelerator-count"))}
    assert counts <= {str(fakehw.load_topology(name).device_count)}


@pytest.mark.parametrize("name", VENDORS)
def test_reasons_fit_a_health_file(name: str) -> None:
    for text in profiles.reasons(name).values():
        assert layout.parse_health(f"unhealthy {text}") == (layout.Health.UNHEALTHY, text)


def test_labels_and_reasons_are_printed_as_commands_take_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["topology", "labels", "nvidia-h100"]) == 0
    assert "nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3\n" in capsys.readouterr().out
    assert cli.main(["topology", "reasons", "nvidia-h100", "79"]) == 0
    assert capsys.readouterr().out == "XID 79: GPU has fallen off the bus\n"
    assert cli.main(["topology", "reasons", "amd-mi300x"]) == 0
    assert capsys.readouterr().out.startswith("UMC        uncorrectable ECC error in UMC\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["labels", "nvidia-h200"], "did you mean nvidia-h100?"),
        (["labels", "seed"], "'seed': must be one of amd-mi300x, "),
        (["reasons", "nvidia-a100", "1"], "'1': must be one of 31, 48"),
    ],
)
def test_a_name_or_code_that_is_none_is_said(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["topology", *arguments]) == 2
    assert said in capsys.readouterr().err
