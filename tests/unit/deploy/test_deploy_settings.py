"""What deploy/ sets is what the server knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from server.settings import FILE_VARIABLE, NESTED, PREFIX, Settings, load
from tests.deployment import COMPOSE, CONTAINER, DEPLOY, ROOT, SETTING, environment, settings_files

IMAGE = "/var/lib/shoprank"


def names(model: type[BaseModel], prefix: str = PREFIX) -> set[str]:
    """Every variable that sets something, and the groups' own."""
    found = set()
    for name, field in model.model_fields.items():
        found.add(prefix + name.upper())
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= names(field.annotation, f"{prefix}{name.upper()}{NESTED}")
    return found


def files() -> list[Path]:
    documents = [ROOT / "docs" / "operations.md", ROOT / "docs" / "deploy.md"]
    return [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()] + documents


def test_every_setting_that_is_named_is_one() -> None:
    known = names(Settings) | {FILE_VARIABLE, "SHOPRANK_ADDRESS", "SHOPRANK_ROOT_CERTIFICATE"}
    for path in files():
        unknown = set(SETTING.findall(path.read_text())) - known
        assert not unknown, path


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without settings."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("layers", settings_files(), ids=["base", "redis", "redis-tls"])
def test_the_server_takes_the_settings_of_a_cluster(layers: list[Path], bare_environment: Any) -> None:
    for path in layers:
        for name, value in environment(path).items():
            bare_environment.setenv(name, value)
    assert load().host == "0.0.0.0"


def test_the_server_takes_the_settings_of_compose(bare_environment: Any) -> None:
    for name, value in yaml.safe_load(COMPOSE.read_text())["services"]["server"]["environment"].items():
        bare_environment.setenv(name, value)
    assert load().process.workers == 2


def test_folders_are_where_the_image_looks_for_them() -> None:
    text = (CONTAINER / "Containerfile").read_text()
    for folder in ("data", "model_repository"):
        assert f"SHOPRANK_{folder.upper()}={IMAGE}/{folder}" in text
        mounting = [p for p in DEPLOY.rglob("*.yaml") if f"{IMAGE}/{folder}" in p.read_text()]
        assert {COMPOSE, DEPLOY / "kubernetes" / "base" / "deployment.yaml"} <= set(mounting)
