"""Opening, applying and materializing the Feast repository over a data directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import yaml
from feast import FeatureStore
from feast.errors import FeastObjectNotFoundException
from feast.repo_config import RepoConfig
from google.protobuf.message import DecodeError

from feature_repo import schema, views
from feature_repo.packed import packed_store
from feature_repo.paths import DataPaths, write_json, write_text
from feature_repo.snapshots import VIEWS, cutoffs_there, require_current
from shoprank.bundle import Manifest, versions
from shoprank.errors import FeatureStoreError, StoreNotReady, UserError

REPO = Path(__file__).resolve().parent
MATERIALIZED = "materialized.json"
APPLY_FIRST = "run `shoprank apply` first"
FEAST_SETTINGS = "feature_store.yaml"
REDIS_VARIABLE = "${SHOPRANK_REDIS}"
"""What stands for the URL of Redis in a file, as it may hold a password; Feast puts the variable's value there."""


def service_name(model: str, version: int) -> str:
    """Feature service of one model version, such as `purchase_v3`."""
    return f"{model}_v{version}"


def service_names(model_repository: Path) -> list[str]:
    """Feature services of every ranking bundle there is, ascending."""
    if not model_repository.is_dir():
        return []
    return [
        service_name(model.name, version)
        for model in sorted(model_repository.iterdir())
        for version in versions(model_repository, model.name)
        if Manifest.read(model / str(version)).kind == "ranking"
    ]


def open_store(paths: DataPaths, repo: Path = REPO) -> FeatureStore:
    """The Feast store of `repo`: its registry is below `paths.feast`, its online store there or in `paths.redis`."""
    return FeatureStore(config=RepoConfig(repo_path=repo, **_settings(paths, repo, paths.redis)))


def _settings(paths: DataPaths, repo: Path, redis: str | None) -> dict[str, Any]:
    """The repository's `feature_store.yaml` with the registry and the online store of `paths`."""
    config: dict[str, Any] = yaml.safe_load((repo / FEAST_SETTINGS).read_text())
    config["registry"]["path"] = str(paths.registry.resolve())
    online = config["online_store"]
    if redis is not None:
        online |= {"backend": "redis", "connection_string": redis}
    elif online.get("backend", "lmdb") == "lmdb":
        online["path"] = str(paths.online.resolve())
    return config


@contextmanager
def _reading_registry(paths: DataPaths) -> Iterator[None]:
    """Enclose what reads the registry. Raises StoreNotReady where it is damaged."""
    try:
        yield
    except DecodeError as error:
        raise StoreNotReady(f"{paths.registry}: is damaged; remove it, then run `shoprank apply`") from error


def apply(paths: DataPaths, model_repository: Path, repo: Path = REPO) -> list[str]:
    """Register the repository's objects and return their names. Applying again changes nothing.

    Leaves a `feature_store.yaml` beside the registry, for Feast's own command line. Raises StoreNotReady where there is
    a registry and it is damaged.
    """
    paths.feast.mkdir(parents=True, exist_ok=True)
    objects = views.build(paths, service_names(model_repository))
    with _reading_registry(paths):
        open_store(paths, repo).apply(objects)
    settings = _settings(paths, repo, REDIS_VARIABLE if paths.redis else None)
    write_text(paths.feast / FEAST_SETTINGS, yaml.safe_dump(settings, sort_keys=False))
    return [o.name for o in objects]


def applied_store(paths: DataPaths, repo: Path = REPO) -> FeatureStore:
    """The store, once it is applied and holds the views of `feature_repo.schema`. Enough to read features online.

    Raises StoreNotReady where the repository was not applied, its schema is another or its registry is damaged.
    """
    if not paths.registry.is_file():
        raise StoreNotReady(f"{paths.registry}: the feature repository is not applied; {APPLY_FIRST}")
    store = open_store(paths, repo)
    for name, fields in (
        ("user_features", views.user_fields()),
        ("user_history", views.history_fields()),
        ("item_features", views.item_fields()),
    ):
        try:
            with _reading_registry(paths):
                known = {f.name for f in store.get_feature_view(name).features}
        except FeastObjectNotFoundException as error:
            raise StoreNotReady(f"feature view {name} is not applied; {APPLY_FIRST}") from error
        if missing := {f.name for f in fields} - known:
            raise StoreNotReady(f"feature view {name} lacks {sorted(missing)}; {APPLY_FIRST}")
    return store


def offline_store(paths: DataPaths, repo: Path = REPO) -> FeatureStore:
    """The applied store, once its views read the snapshots below `paths`: the registry names their folder.

    Raises StoreNotReady as `applied_store` does, and where the data folder was copied or moved since.
    """
    store = applied_store(paths, repo)
    for name in VIEWS:
        read, own = store.get_feature_view(name).batch_source.path, views.snapshot_files(paths, name)
        if read != own:
            raise StoreNotReady(f"feature view {name} is applied to {read}, not to {own}; {APPLY_FIRST}")
    return store


@dataclass(frozen=True, slots=True)
class Loaded:
    """A view that was materialized, and how many of its rows were kept for being newer than the snapshot."""

    view: str
    kept: int


def materialize(paths: DataPaths, cutoff: datetime, repo: Path = REPO, replace: bool = False) -> Generator[Loaded]:
    """Load the snapshots of `cutoff` (naive UTC) into the online store, yielding each view when it is in.

    Rows that are newer than the snapshot stay; `replace` removes them first, which an earlier cutoff needs. An
    interrupted load can be run again. Raises StoreNotReady where the repository is not applied to `paths`, UserError
    where there is no such snapshot, or it is of other events than those ingested last, and FeatureStoreError where a
    file of the view's is none of Parquet.
    """
    store = offline_store(paths, repo)
    online = packed_store(store)
    moment = cutoff.replace(tzinfo=UTC)
    if (there := cutoffs_there(paths)) and cutoff not in there:
        raise UserError(f"no snapshot of {cutoff}; there are {len(there)}, from {there[0]} to {there[-1]}")
    require_current(paths, [cutoff])
    mark = paths.feast / MATERIALIZED
    mark.unlink(missing_ok=True)
    for name in VIEWS:
        if replace:
            online.clear(store.config, store.get_feature_view(name))
        try:
            store.materialize(start_date=moment, end_date=moment, feature_views=[name])
        except duckdb.Error as error:
            files, reason = views.snapshot_files(paths, name), str(error).partition("\n")[0]
            advice = "remove the file, then run `shoprank features`"
            raise FeatureStoreError(f"{files}: cannot be read: {reason}; {advice}") from error
        yield Loaded(name, online.written.older)
    write_json(mark, {"key": _snapshot_key(paths, cutoff)})


def is_materialized(paths: DataPaths, cutoff: datetime) -> bool:
    """Whether the last materialization that ended was of the snapshots of `cutoff` as they are now."""
    try:
        mark = json.loads((paths.feast / MATERIALIZED).read_text())
        return bool(mark["key"] == _snapshot_key(paths, cutoff))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _snapshot_key(paths: DataPaths, cutoff: datetime) -> str:
    events = paths.quality.read_bytes() if paths.quality.is_file() else b""
    return hashlib.sha256(events + f"{cutoff} {schema.schema_hash()} {paths.redis or 'lmdb'}".encode()).hexdigest()
