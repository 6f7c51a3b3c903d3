"""The project's feature views in Feast's own online stores.

Runs in Feast's environment: `python -m benchmarks.peers.stores sqlite DATA FOLDER` writes FOLDER/feature_store.yaml,
the registry and the store, filled with the serving snapshot by Feast's own materialization; `redis` fills the Redis at
--redis HOST:PORT and has it save its snapshot. A folder that holds the snapshot is left as it is.
"""

from __future__ import annotations

import argparse
import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import redis
import yaml
from feast import FeatureService, FeatureStore, FeatureView
from feast.on_demand_feature_view import OnDemandFeatureView

from feature_repo.paths import DataPaths
from feature_repo.views import build

USER_SERVICE, ITEM_SERVICE = "user_row", "item_row"
MARK = "filled.json"


def write_config(folder: Path, kind: str, address: str | None) -> None:
    """The feature_store.yaml of a store: what Feast's guide to a fast online server advises for a file registry."""
    online = {"sqlite": {"type": "sqlite", "path": "online.db"}, "redis": {"type": "redis"}}[kind]
    if address:
        online["connection_string"] = address
    config = {
        "project": "shoprank",
        "provider": "local",
        "registry": {"path": "registry.db", "cache_mode": "thread", "cache_ttl_seconds": 300},
        "offline_store": {"type": "duckdb"},
        "online_store": online,
        "entity_key_serialization_version": 3,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(config))


def services(objects: list[object]) -> list[FeatureService]:
    """One service for each kind of entity, so that a user's row is read once and not once an item."""
    views = {o.name: o for o in objects if isinstance(o, FeatureView)}
    return [
        FeatureService(name=USER_SERVICE, features=[views["user_features"], views["user_history"]]),
        FeatureService(name=ITEM_SERVICE, features=[views["item_features"]]),
    ]


def fill(folder: Path, data: Path) -> None:
    """Apply the views and materialize the serving snapshot."""
    objects = [o for o in build(DataPaths(data)) if not isinstance(o, OnDemandFeatureView)]
    store = FeatureStore(repo_path=folder)
    store.apply([*objects, *services(objects)])
    cutoff = datetime.fromisoformat(json.loads(DataPaths(data).schedule.read_text())["serving"]).replace(tzinfo=UTC)
    store.materialize(start_date=cutoff, end_date=cutoff)


def main() -> None:
    """Write the configuration and fill the store where it is not filled with this snapshot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("sqlite", "redis"))
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--redis", help="host:port of the Redis to fill")
    options = parser.parse_args()
    logging.getLogger("feast").setLevel(logging.ERROR)
    write_config(options.folder, options.kind, options.redis)
    snapshot = {"data": str(options.data.resolve()), "quality": DataPaths(options.data).quality.read_text()}
    mark = options.folder / MARK
    if mark.is_file() and json.loads(mark.read_text()) == snapshot:
        print(f"stores: {options.folder} holds this snapshot")
        return
    mark.unlink(missing_ok=True)
    fill(options.folder, options.data)
    if options.redis:
        redis.Redis(port=int(options.redis.rpartition(":")[2])).save()
    mark.write_text(json.dumps(snapshot))
    print(f"stores: filled {options.folder}")


if __name__ == "__main__":
    main()
