"""Alerts, the dashboard and the docs speak of metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from server.telemetry import registry
from server.telemetry.access import FAULTS
from server.telemetry.metric import Histogram, Metric
from tests.promtool import promtool

ROOT = Path(__file__).resolve().parents[4]
ALERTS, EXAMPLES = ROOT / "deploy/prometheus/alerts.yml", ROOT / "deploy/prometheus/alerts_test.yml"
DASHBOARD = ROOT / "deploy/grafana/shoprank.json"
DOCS = ROOT / "docs/observability.md"

SELECTOR = re.compile(r"\b(shoprank_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')
TARGET_LABELS = {"job", "instance"}


def exposed_names() -> dict[str, set[str]]:
    """Every name that a sample has, with its labels."""
    names: dict[str, set[str]] = {}
    for metric in registry.METRICS:
        labels = set(metric.label_names)
        if isinstance(metric, Histogram):
            names |= {f"{metric.name}_bucket": labels | {"le"}, f"{metric.name}_sum": labels}
            names[f"{metric.name}_count"] = labels
        else:
            names[metric.name] = labels
    return names


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[str]:
    """Those of alerts and of panels."""
    for rule in rules():
        yield rule["expr"]
    for panel in panels():
        for target in panel.get("targets", []):
            yield target["expr"]


def test_every_expression_asks_for_metrics_and_labels_that_there_are() -> None:
    names, bounds = exposed_names(), {m.name: m.bounds for m in registry.STORED if isinstance(m, Histogram)}
    values = {label.name: label.values for metric in registry.STORED for label in metric.labels}
    for expression in expressions():
        known = set(TARGET_LABELS) | {"le"}
        for name, matchers in SELECTOR.findall(expression):
            assert name in names, f"{name} in {expression}"
            known |= names[name]
            for label, operator, value in MATCHER.findall(matchers):
                assert label in names[name] | TARGET_LABELS, f"{label} of {name} in {expression}"
                if label == "le":
                    assert float(value) in bounds[name.removesuffix("_bucket")], f"no bucket {value} of {name}"
                elif label in values and "$" not in value:
                    wanted = value.split("|") if "~" in operator else [value]
                    assert set(wanted) <= set(values[label]), f"{label}={value} in {expression}"
        for group in GROUPING.findall(expression):
            assert {label.strip() for label in group.split(",")} <= known, expression


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {
        name
        for panel in panels()
        for target in panel.get("targets", [])
        for name, _ in SELECTOR.findall(target["expr"])
    }
    for metric in registry.METRICS:
        assert any(name.startswith(metric.name) for name in shown), metric.name


def test_the_same_codes_are_faults_to_alerts_and_to_the_log() -> None:
    found = {codes for expression in expressions() for codes in re.findall(r'code=~"([^"]*)"', expression)}
    (codes,) = found
    assert set(codes.split("|")) == {code.name for code in FAULTS}


def test_promtool_takes_alerts_and_panels(tmp_path: Path) -> None:
    promtool("check", "rules", str(ALERTS))
    promtool("check", "config", str(ROOT / "deploy/prometheus/prometheus.yml"))
    asked = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    recorded = [
        {"record": f"panel:{i}", "expr": expr.replace("$__rate_interval", "5m")} for i, expr in enumerate(asked)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    promtool("check", "rules", str(file))
    assert len(asked) > 30


def test_every_alert_fires_on_its_example_and_is_silent_on_another() -> None:
    promtool("test", "rules", str(EXAMPLES))
    examples = yaml.safe_load(EXAMPLES.read_text())["tests"]
    fires: set[str] = set()
    silent: set[str] = set()
    for example in examples:
        for expected in example["alert_rule_test"]:
            (fires if expected["exp_alerts"] else silent).add(expected["alertname"])
    alerts = {rule["alert"] for rule in rules()}
    assert fires == silent == alerts


def test_every_alert_has_a_runbook_of_its_name_and_a_severity() -> None:
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith((".", "'"))


def test_the_dashboard_is_well_formed() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            asked = set(re.findall(r"\$\{?(\w+)", target["expr"])) - {"__rate_interval"}
            assert asked <= variables, target["expr"]
            assert target["datasource"]["uid"] == "${datasource}"


def metric_table() -> str:
    """The table of docs/observability.md."""
    lines = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for metric in registry.METRICS:
        labels = ", ".join(f"`{name}`" for name in metric.label_names)
        lines.append(f"| `{metric.name}` | {metric.type} | {labels} | {metric.help} |")
    return "\n".join(lines)


def test_the_docs_tell_every_metric_as_the_registry_does() -> None:
    assert metric_table() in DOCS.read_text(), f"the table should be:\n{metric_table()}"


def test_every_label_that_is_stored_is_told_with_its_values() -> None:
    text = DOCS.read_text()
    for metric in registry.STORED:
        assert isinstance(metric, Metric)
        for label in metric.labels:
            if label.name not in ("method", "code"):
                for value in label.values:
                    assert f"`{value}`" in text, f"{label.name}={value}"


def test_the_operations_list_names_every_alert() -> None:
    text = DOCS.read_text()
    for rule in rules():
        assert f"`{rule['alert']}`" in text
