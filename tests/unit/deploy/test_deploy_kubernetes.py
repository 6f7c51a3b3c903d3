"""Kubernetes' resources: valid by its schemas, hardened, and in step with the server's settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.deployment import BASE, DEPLOY, documents, environment, manifests, pods

NO_SCHEMA = {"ServiceMonitor"}
"""Not Kubernetes' own."""


def container() -> dict[str, Any]:
    """The server's container."""
    spec = documents(BASE / "deployment.yaml")[0]["spec"]["template"]["spec"]
    (server,) = spec["containers"]
    return dict(server)


@pytest.mark.parametrize(
    ("path", "manifest"), [pytest.param(p, m, id=f"{p.parent.name}-{m['kind']}") for p, m in manifests()]
)
def test_every_resource_is_valid_by_the_schema_of_kubernetes(path: Path, manifest: dict[str, Any]) -> None:
    if manifest["kind"] not in NO_SCHEMA:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_a_resource_with_a_field_that_there_is_not_is_refused() -> None:
    (service,) = documents(BASE / "service.yaml")
    service["spec"]["clusterip"] = "None"
    with pytest.raises(kubernetes_validate.ValidationError, match="clusterip"):
        kubernetes_validate.validate(service, kubernetes_validate.latest_version(), strict=True)


def test_kustomize_finds_every_file_and_leaves_none_out() -> None:
    for path in DEPLOY.rglob("kustomization.yaml"):
        (kustomization,) = documents(path)
        named = kustomization.get("resources", []) + kustomization.get("components", [])
        named += [patch["path"] for patch in kustomization.get("patches", [])]
        named += [file for map_ in kustomization.get("configMapGenerator", []) for file in map_["envs"]]
        for name in named:
            assert (path.parent / name).exists(), f"{path}: {name}"
        left_out = {file.name for file in path.parent.iterdir() if file.is_file()} - {*named, path.name}
        assert not left_out, path


@pytest.mark.parametrize(("name", "pod"), list(pods()))
def test_every_container_runs_without_privileges(name: str, pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for each in pod["containers"] + pod.get("initContainers", []):
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in each["resources"]["limits"]
        assert "cpu" in each["resources"]["requests"]


@pytest.mark.parametrize(("name", "pod"), list(pods()))
def test_every_mount_has_its_volume(name: str, pod: dict[str, Any]) -> None:
    claims = {
        claim["metadata"]["name"]
        for _, manifest in manifests()
        for claim in manifest.get("spec", {}).get("volumeClaimTemplates", [])
    }
    volumes = {volume["name"] for volume in pod.get("volumes", [])} | claims
    for each in pod["containers"] + pod.get("initContainers", []):
        assert {mount["name"] for mount in each["volumeMounts"]} <= volumes


def test_kubernetes_puts_no_variables_of_services_among_the_settings() -> None:
    """A service `shoprank` would make SHOPRANK_PORT an address, which is no port."""
    for name, pod in pods():
        if name != "shoprank-redis":
            assert pod["enableServiceLinks"] is False, name


def test_ports_and_probes_are_those_of_the_settings() -> None:
    from server.settings import Settings

    settings = environment(BASE / "settings.env")
    port, metrics = Settings().port, int(settings["SHOPRANK_TELEMETRY__METRICS_PORT"])
    assert "SHOPRANK_PORT" not in settings
    server = container()
    assert {p["name"]: p["containerPort"] for p in server["ports"]} == {"grpc": port, "metrics": metrics}
    assert server["readinessProbe"]["grpc"]["port"] == server["startupProbe"]["grpc"]["port"] == port
    assert server["livenessProbe"]["tcpSocket"]["port"] == port
    (service,) = documents(BASE / "service.yaml")
    assert {p["name"]: p["port"] for p in service["spec"]["ports"]} == {"grpc": port, "metrics": metrics}
    (policy,) = documents(BASE / "network-policy.yaml")
    assert [rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]] == [port, metrics]


def test_a_pod_has_time_to_drain() -> None:
    from server.process.supervisor import MARGIN

    settings = environment(BASE / "settings.env")
    pod = documents(BASE / "deployment.yaml")[0]["spec"]["template"]["spec"]
    needed = (
        container()["lifecycle"]["preStop"]["sleep"]["seconds"]
        + float(settings["SHOPRANK_PROCESS__DRAIN_SECONDS"])
        + float(settings["SHOPRANK_GRACE_SECONDS"])
        + MARGIN
    )
    assert pod["terminationGracePeriodSeconds"] > needed


def test_a_pod_may_start_as_long_as_a_worker_may() -> None:
    from server.settings import Settings

    probe = container()["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= Settings().process.start_seconds


def test_clients_find_every_pod() -> None:
    (service,) = documents(BASE / "service.yaml")
    assert service["spec"]["clusterIP"] == "None"
    labels = documents(BASE / "deployment.yaml")[0]["spec"]["template"]["metadata"]["labels"]
    for name in ("service", "pod-disruption-budget", "network-policy"):
        text = json.dumps(documents(BASE / f"{name}.yaml")[0]["spec"])
        for key, value in labels.items():
            assert f'"{key}": "{value}"' in text, name
