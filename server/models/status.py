"""What a model's versions are doing, as a person asks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from server.models.registry import Models
from shoprank import bundle
from shoprank.bundle import Manifest
from shoprank.errors import BundleError
from shoprank.traffic import Traffic


class State(Enum):
    """Of a version in this process."""

    AVAILABLE = "available"
    LOADING = "loading"
    LOADED = "loaded"
    WAITING = "waiting"
    REFUSED = "refused"


class Role(Enum):
    """What a version does in this process; a retired or idle one does nothing."""

    ACTIVE = "active"
    CANARY = "canary"
    SHADOW = "shadow"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version. manifest: None where it cannot be read. reason: why it is refused or waited for."""

    version: int
    state: State
    roles: tuple[Role, ...]
    manifest: Manifest | None
    reason: str


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model. current: version that the repository calls active. active: version that serves here; 0 for none.

    reason: why the traffic in the repository cannot be read, so that it stays as it was; empty where it can be.
    """

    name: str
    current: int
    active: int
    previous: int
    traffic: Traffic
    versions: tuple[VersionStatus, ...]
    reason: str


def status(models: Models) -> ModelStatus:
    """The state of a model's versions: of those in the repository, in memory or asked for by the traffic."""
    wanted, active, canary, shadow = models.wanted, models.active, models.canary, models.shadow
    served = {
        Role.ACTIVE: active.manifest.version if active else None,
        Role.CANARY: canary.manifest.version if canary else None,
        Role.SHADOW: shadow.model.manifest.version if shadow else None,
        Role.PREVIOUS: wanted.previous,
    }
    there, loaded = bundle.versions(models.repository, models.name), models.versions.numbers()
    shares = [share.version for share in (wanted.traffic.canary, wanted.traffic.shadow) if share]
    asked = {wanted.active or 0, *shares, *wanted.traffic.loaded} - {0}
    return ModelStatus(
        name=models.name,
        current=bundle.linked(models.repository, models.name) or 0,
        active=served[Role.ACTIVE] or 0,
        previous=wanted.previous or 0,
        traffic=wanted.traffic,
        versions=tuple(
            _version(models, v, tuple(role for role, which in served.items() if which == v))
            for v in sorted({*there, *loaded, *models.versions.failed(), *asked})
        ),
        reason=models.garbled,
    )


def _version(models: Models, version: int, roles: tuple[Role, ...]) -> VersionStatus:
    loaded, failure = models.versions.of(version), models.versions.failure(version)
    if models.versions.loading == version:
        state = State.LOADING
    elif loaded:
        state = State.LOADED
    elif failure:
        state = State.REFUSED if failure.final else State.WAITING
    else:
        state = State.AVAILABLE
    try:
        manifest = loaded.manifest if loaded else Manifest.read(models.repository / models.name / str(version))
    except BundleError:
        manifest = None
    return VersionStatus(version, state, roles, manifest, failure.reason if failure else "")
