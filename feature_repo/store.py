"""Opening, applying and materializing the Feast repository over a data directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from feast import FeatureStore
from feast.errors import FeastObjectNotFoundException
from feast.repo_config import RepoConfig

from feature_repo import schema, views
from feature_repo.packed import packed_store
from feature_repo.paths import DataPaths, write_json
from feature_repo.snapshots import VIEWS, require_current
from shoprank.bundle import Manifest, versions
from shoprank.errors import StoreNotReady

REPO = Path(__file__).resolve().parent
MATERIALIZED = "materialized.json"
APPLY_FIRST = "run `shoprank apply` first"


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
    config: dict[str, Any] = yaml.safe_load((repo / "feature_store.yaml").read_text())
    config["registry"]["path"] = str(paths.feast.resolve() / "registry.db")
    online = config["online_store"]
    if paths.redis is not None:
        online |= {"backend": "redis", "connection_string": paths.redis}
    elif online.get("backend", "lmdb") == "lmdb":
        online["path"] = str(paths.online.resolve())
    return FeatureStore(config=RepoConfig(repo_path=repo, **config))


def apply(paths: DataPaths, model_repository: Path, repo: Path = REPO) -> list[str]:
    """Register the repository's objects and return their names. Applying again changes nothing."""
    paths.feast.mkdir(parents=True, exist_ok=True)
    objects = views.build(paths, service_names(model_repository))
    open_store(paths, repo).apply(objects)
    return [o.name for o in objects]


def applied_store(paths: DataPaths, repo: Path = REPO) -> FeatureStore:
    """The store, once it is applied and holds the views of `feature_repo.schema`. Enough to read features online.

    Raises StoreNotReady where the repository was not applied or its schema is another.
    """
    if not (paths.feast / "registry.db").is_file():
        raise StoreNotReady(f"{paths.feast / 'registry.db'}: the feature repository is not applied; {APPLY_FIRST}")
    store = open_store(paths, repo)
    for name, fields in (
        ("user_features", views.user_fields()),
        ("user_history", views.history_fields()),
        ("item_features", views.item_fields()),
    ):
        try:
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
    interrupted load can be run again. Raises StoreNotReady where the repository is not applied to `paths`, and
    UserError where there is no such snapshot, or it is of other events than those ingested last.
    """
    store = offline_store(paths, repo)
    online = packed_store(store)
    moment = cutoff.replace(tzinfo=UTC)
    require_current(paths, [cutoff])
    mark = paths.feast / MATERIALIZED
    mark.unlink(missing_ok=True)
    for name in VIEWS:
        if replace:
            online.clear(store.config, store.get_feature_view(name))
        store.materialize(start_date=moment, end_date=moment, feature_views=[name])
        yield Loaded(name, online.written.older)
    write_json(mark, {"key": _snapshot_key(paths, cutoff)})


def is_materialized(paths: DataPaths, cutoff: datetime) -> bool:
    """Whether the last materialization that ended was of the snapshots of `cutoff` as they are now."""
    mark = paths.feast / MATERIALIZED
    return mark.is_file() and bool(json.loads(mark.read_text())["key"] == _snapshot_key(paths, cutoff))


def _snapshot_key(paths: DataPaths, cutoff: datetime) -> str:
    events = paths.quality.read_bytes() if paths.quality.is_file() else b""
    return hashlib.sha256(events + f"{cutoff} {schema.schema_hash()} {paths.redis or 'lmdb'}".encode()).hexdigest()
