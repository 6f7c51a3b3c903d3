"""The Compose file and what it mounts."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deployment import COMPOSE, DEPLOY, YAML, documents

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]


def schema() -> dict[str, Any]:
    """The Compose specification's schema, as check-jsonschema ships it."""
    text = (files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json").read_text()
    return dict(json.loads(text))


@pytest.mark.parametrize("path", YAML, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_file_is_yaml(path: Any) -> None:
    assert all(documents(path))


def test_the_file_follows_the_compose_specification() -> None:
    jsonschema.validate(yaml.safe_load(COMPOSE.read_text()), schema())


def test_a_file_with_a_key_that_there_is_not_is_refused() -> None:
    with pytest.raises(jsonschema.ValidationError, match="prots"):
        jsonschema.validate({"services": {"server": {"image": "shoprank:0.1.0", "prots": []}}}, schema())


def test_ports_are_published_on_the_loopback_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_mounted_file_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (COMPOSE.parent / source).exists(), source


def test_prometheus_scrapes_the_port_that_the_server_tells_its_metrics_on() -> None:
    from server.settings import Settings

    (config,) = documents(COMPOSE.parent / "prometheus.yaml")
    (scraped,) = config["scrape_configs"]
    assert scraped["job_name"] == "shoprank"  # what the alerts ask for
    rules = [path.removeprefix("/etc/prometheus/rules/") for path in config["rule_files"]]
    assert all((DEPLOY / "prometheus" / name).is_file() for name in rules)
    metrics = SERVICES["server"]["environment"]["SHOPRANK_TELEMETRY__METRICS_PORT"]
    assert scraped["static_configs"] == [{"targets": [f"server:{metrics}"]}]
    assert SERVICES["server"]["ports"] == [f"127.0.0.1:{Settings().port}:{Settings().port}"]


def test_the_server_has_time_to_drain() -> None:
    from server.process.supervisor import MARGIN

    from server.settings import Settings

    server = SERVICES["server"]
    drain = float(server["environment"]["SHOPRANK_PROCESS__DRAIN_SECONDS"])
    assert float(server["stop_grace_period"].removesuffix("s")) > drain + Settings().grace_seconds + MARGIN
