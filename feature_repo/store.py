"""Opening, applying and materializing the Feast repository over a data directory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from feast import FeatureStore
from feast.errors import FeastObjectNotFoundException
from feast.repo_config import RepoConfig

from feature_repo import views
from feature_repo.paths import DataPaths
from shoprank.bundle import Manifest, versions
from shoprank.errors import FeatureStoreError

REPO = Path(__file__).resolve().parent


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
    """The Feast store of `repo` with its registry and embedded online store below `paths.feast`."""
    config: dict[str, Any] = yaml.safe_load((repo / "feature_store.yaml").read_text())
    config["registry"]["path"] = str(paths.feast.resolve() / "registry.db")
    if config["online_store"]["type"] == "sqlite":
        config["online_store"]["path"] = str(paths.feast.resolve() / "online.db")
    return FeatureStore(config=RepoConfig(repo_path=repo, **config))


def apply(paths: DataPaths, model_repository: Path, repo: Path = REPO) -> list[str]:
    """Register the repository's objects and return their names. Applying again changes nothing."""
    paths.feast.mkdir(parents=True, exist_ok=True)
    objects = views.build(paths, service_names(model_repository))
    open_store(paths, repo).apply(objects)
    return [o.name for o in objects]


def applied_store(paths: DataPaths, repo: Path = REPO) -> FeatureStore:
    """The store, once it is applied and holds the views of `feature_repo.schema`.

    Raises FeatureStoreError where the repository was not applied or its schema is another.
    """
    advice = "run `shoprank apply` first"
    if not (paths.feast / "registry.db").is_file():
        raise FeatureStoreError(f"{paths.feast / 'registry.db'}: the feature repository is not applied; {advice}")
    store = open_store(paths, repo)
    for name, fields in (
        ("user_features", views.user_fields()),
        ("user_history", views.history_fields()),
        ("item_features", views.item_fields()),
    ):
        try:
            known = {f.name for f in store.get_feature_view(name).features}
        except FeastObjectNotFoundException as error:
            raise FeatureStoreError(f"feature view {name} is not applied; {advice}") from error
        if missing := {f.name for f in fields} - known:
            raise FeatureStoreError(f"feature view {name} lacks {sorted(missing)}; {advice}")
    return store


def materialize(paths: DataPaths, cutoff: datetime, repo: Path = REPO) -> Iterator[str]:
    """Load the snapshots of `cutoff` (naive UTC) into the online store, yielding each view when it is in."""
    store = applied_store(paths, repo)
    moment = cutoff.replace(tzinfo=UTC)
    for name in ("user_features", "user_history", "item_features"):
        store.materialize(start_date=moment, end_date=moment, feature_views=[name])
        yield name
