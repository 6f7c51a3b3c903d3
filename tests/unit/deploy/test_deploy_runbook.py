"""Every alert has its section in the runbook."""

from __future__ import annotations

import re

import yaml

from tests.deployment import DEPLOY, ROOT


def test_every_alert_has_its_section_and_links_to_it() -> None:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    _, _, runbook = (ROOT / "docs" / "operations.md").read_text().partition("\n# Runbook\n")
    sections = set(re.findall(r"^### (\w+)$", runbook, re.MULTILINE))
    assert rules
    assert {rule["alert"] for rule in rules} == sections
    for rule in rules:
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
