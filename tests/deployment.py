"""The files of deploy/, read for the tests that hold them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
CONTAINER = DEPLOY / "container"
BASE = DEPLOY / "kubernetes" / "base"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
YAML = sorted(path for ending in ("*.yaml", "*.yml") for path in DEPLOY.rglob(ending))
SETTING = re.compile(r"\bSHOPRANK_[A-Z_]+\b")


def documents(path: Path) -> list[dict[str, Any]]:
    """Every document of a YAML file."""
    return list(yaml.safe_load_all(path.read_text()))


def manifests() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every whole Kubernetes resource there is, patches and Kustomize's own files left out."""
    patches = {
        path.parent / patch["path"]
        for path in DEPLOY.rglob("kustomization.yaml")
        for patch in documents(path)[0].get("patches", [])
    }
    for path in sorted((DEPLOY / "kubernetes").rglob("*.yaml")):
        if path.name != "kustomization.yaml" and path not in patches:
            yield from ((path, document) for document in documents(path))


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and specification of every resource's pods."""
    for _, manifest in manifests():
        spec = manifest.get("spec", {})
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if pod := spec.get("template", {}).get("spec"):
            yield manifest["metadata"]["name"], pod


def environment(path: Path) -> dict[str, str]:
    """Variables of a file of name=value lines."""
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def settings_files() -> list[list[Path]]:
    """Each set of settings that a cluster runs with: the base's, and what is laid over it."""
    kubernetes = DEPLOY / "kubernetes"
    base, redis, tls = (kubernetes / folder / "settings.env" for folder in ("base", "overlays/redis", "components/tls"))
    return [[base], [base, redis], [base, redis, tls]]
