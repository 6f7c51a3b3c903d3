"""A model repository on disk, without a server: what is in it, and changes that the servers of it follow."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from shoprank import bundle, traffic
from shoprank.errors import BundleError, Conflict, NotFound, TrafficError, UserError
from shoprank.models import Model, Version
from shoprank.sources import CandidateSources
from shoprank.traffic import Share, Traffic

UNKNOWN = "unknown"
"""Kind of a model none of whose manifests can be read."""


def models(repository: Path) -> list[Model]:
    """Every model that has a version. Raises UserError where there is no such folder."""
    if not repository.is_dir():
        raise UserError(f"{repository}: no such folder")
    names = sorted(p.name for p in repository.iterdir() if bundle.NAME.fullmatch(p.name) and p.is_dir())
    return [model(repository, name) for name in names if bundle.versions(repository, name)]


def model(repository: Path, name: str) -> Model:
    """One model, of the kind of its newest version that says so. Raises UserError where it has no version."""
    numbers = bundle.versions(repository, name)
    if not numbers:
        raise UserError(f"model {name}: no version in {repository}")
    state, reason = _traffic(repository / name)
    current = bundle.linked(repository, name) or 0
    previous = bundle.linked(repository, name, bundle.PREVIOUS) or 0
    versions = tuple(_version(repository, name, n, _roles(n, current, previous, state)) for n in numbers)
    kind = next(filter(None, (_kind(repository / name / str(n)) for n in reversed(numbers))), UNKNOWN)
    return Model(name, kind, False, current, 0, previous, state, state.etag, versions, reason)


def load(repository: Path, name: str, version: int) -> None:
    """Have servers keep the version loaded. Raises BundleError or NotFound where it is bad or not there."""
    bundle.checked(repository, name, version)
    with bundle.locked(repository / name):
        state = traffic.read(repository / name)
        traffic.write(repository / name, replace(state, loaded=tuple(sorted({*state.loaded, version}))))


def unload(repository: Path, name: str, version: int) -> None:
    """Have servers no longer keep the version loaded. Raises Conflict where it serves or shadows, NotFound where there
    is none and none was to be kept."""
    home = bundle.model_directory(repository, name)
    with bundle.locked(home):
        state = traffic.read(home)
        shares = (state.canary, state.shadow)
        if version in {bundle.linked(repository, name), *(share.version for share in shares if share)}:
            raise Conflict(f"model {name}: version {version} serves; activate another or change the traffic")
        if version not in state.loaded and not (home / str(version)).is_dir():
            raise NotFound(f"model {name}: no version {version} in {repository}")
        traffic.write(home, replace(state, loaded=tuple(v for v in state.loaded if v != version)))


def route(repository: Path, name: str, canary: Share | None, shadow: Share | None, etag: str = "") -> None:
    """Replace canary and shadow, in a garbled file too.

    Raises BundleError or NotFound where a version is bad or not there, Conflict where the traffic has another etag.
    """
    for share in (canary, shadow):
        if share:
            bundle.checked(repository, name, share.version)
    home = bundle.model_directory(repository, name)
    with bundle.locked(home):
        now, _ = _traffic(home)
        if etag and etag != now.etag:
            raise Conflict(f"model {name}: the traffic has changed meanwhile; look at it again")
        traffic.write(home, Traffic(canary, shadow, now.loaded))


def _traffic(home: Path) -> tuple[Traffic, str]:
    """The traffic, none where it is garbled, and what is wrong with it."""
    try:
        return traffic.read(home), ""
    except TrafficError as error:
        return Traffic(), str(error)


def _kind(version: Path) -> str:
    """The kind of a version, empty where its manifest cannot be read."""
    try:
        return bundle.Manifest.read(version).kind
    except BundleError:
        return ""


def _version(repository: Path, name: str, version: int, roles: tuple[str, ...]) -> Version:
    try:
        manifest = bundle.checked(repository, name, version)
        made = datetime.fromisoformat(manifest.created_at)
    except (BundleError, ValueError) as error:
        return Version(version, "bad", roles, str(error))
    return Version(version, "good", roles, "", made, manifest.metrics, CandidateSources.of(manifest))


def _roles(version: int, current: int, previous: int, state: Traffic) -> tuple[str, ...]:
    shares = {"canary": state.canary, "shadow": state.shadow}
    by_role = {"active": current, **{n: s.version for n, s in shares.items() if s}, "previous": previous}
    return tuple(role for role, which in by_role.items() if which == version)
