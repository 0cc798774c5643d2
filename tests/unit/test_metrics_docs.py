"""The table of metrics, the dashboard and the alerts, each held to what the code serves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from fakehw_plugin import metrics
from fakehw_plugin.daemon import Daemon
from fakehw_plugin.device_metrics import DeviceCollector
from tests.factories import make_config, make_device

REPOSITORY = Path(__file__).parents[2]
MONITORING = REPOSITORY / "deploy/components/monitoring"
SUFFIXES = {"counter": ("_total",), "info": ("_info",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
FUNCTIONS = {"sum", "rate", "increase", "max", "count", "histogram_quantile", "label_values", "vector"}
WORDS = {"by", "on", "group_left", "or", "le", "instance", "and"}
FOREIGN = {"process_resident_memory_bytes"}


@pytest.fixture
async def daemon(tmp_path: Path) -> Daemon:
    return Daemon(make_config(tmp_path / "tree", tmp_path))


def served(daemon: Daemon) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return what the code serves: the name as the documentation writes it, with type and labels."""
    found = {}
    by_device = DeviceCollector(daemon.inventories.by_offer.values, daemon.config.root)
    for family in (*metrics._PluginCollector(daemon, "1.2.3").collect(), *by_device.collect()):
        labels = tuple(getattr(family, "_labelnames", ()))
        if family.type == "info":
            labels = tuple(family.samples[0].labels)
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        found[family.name + suffix] = ("gauge" if family.type == "info" else family.type, labels)
    return found


def sample_names(daemon: Daemon) -> dict[str, tuple[str, ...]]:
    """Return every series name that an expression may use, with its labels."""
    return {
        name + suffix: (*labels, "le") if kind == "histogram" else labels
        for name, (kind, labels) in served(daemon).items()
        for suffix in (SUFFIXES["histogram"] if kind == "histogram" else ("",))
    }


async def test_the_table_says_what_the_code_serves(daemon: Daemon) -> None:
    rows = re.findall(
        r"^\| `(fakehw_\w+)` \| (\w+) \| ([^|]*)\|", (REPOSITORY / "docs/metrics.md").read_text(), re.MULTILINE
    )

    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}

    assert documented == served(daemon)
    assert len(rows) == len(documented)


async def test_names_keep_the_conventions_of_prometheus(daemon: Daemon) -> None:
    for name, (kind, labels) in served(daemon).items():
        assert re.fullmatch(r"fakehw(_[a-z]+)+", name)
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(count|sum|bucket|ms|millis|kb|mb)$", name), name
        assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in labels)
        if kind == "histogram":
            assert name.endswith("_seconds"), "base units"


async def test_devices_are_counted_by_resource_node_and_health_and_forgotten_with_their_resource(
    daemon: Daemon,
) -> None:
    counts = daemon.telemetry
    for number in (1, 2):
        counts.count_change("a/b", make_device(number).node, None, "Healthy")
    counts.count_change("a/b", "node2", "Healthy", "Unhealthy")
    counts.count_change("a/b", "node2", "Healthy", None)

    text = metrics.pages(daemon, version="1")["/metrics"]().body.decode()
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert {key[1:]: value for key, value in samples.items() if key[0] == "fakehw_devices"} == {
        ("node2", "Healthy", "a/b"): 0,
        ("node2", "Unhealthy", "a/b"): 1,
    }
    assert samples["fakehw_device_transitions_total", "a/b", "removed"] == 1
    counts.forget("a/b")
    assert counts.devices == {}
    assert counts.transitions["a/b", "Healthy"] == 2


def expressions() -> dict[str, str]:
    board = json.loads((MONITORING / "dashboard.json").read_text())
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel.get("targets", ())
    }
    found |= {
        one["name"]: one["query"]["query"] for one in board["templating"]["list"] if isinstance(one["query"], dict)
    }
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    return found | {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}


@pytest.mark.parametrize("title", expressions())
async def test_every_expression_uses_what_the_code_serves(title: str, daemon: Daemon) -> None:
    expression, known = expressions()[title], sample_names(daemon)
    bare = re.sub(r'"[^"]*"', '""', expression)
    assert [bare.count(bracket) for bracket in "([{"] == [bare.count(bracket) for bracket in ")]}"]
    names = set(re.findall(r"(?<![\w$])[a-z_]\w*", re.sub(r"\{[^}]*\}|\[[^]]*\]", "", bare)))
    labels_used = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", "".join(re.findall(r"\{[^}]*\}", bare))))
    for grouping in re.findall(r"(?:by|on) \(([^)]*)\)", bare):
        labels_used |= {label.strip() for label in grouping.split(",")}
    series = names & known.keys()

    assert series
    assert names - known.keys() - FUNCTIONS - WORDS - FOREIGN - labels_used - {"resource", "fake_node"} == set()
    allowed = {label for name in series for label in known[name]} | {"instance"}
    assert labels_used <= allowed


def test_every_rule_says_what_it_means_and_every_panel_has_its_place() -> None:
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    for rule in rules["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"]
    board: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool comes with Prometheus (Debian: apt install prometheus)"
)
@pytest.mark.parametrize("what", [("check", "alerts.yaml"), ("test", "alerts_test.yaml")])
def test_promtool_takes_the_rules_and_their_stories(what: tuple[str, str]) -> None:
    verb, name = what
    result = subprocess.run(["promtool", verb, "rules", str(MONITORING / name)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
