"""What Feast's own tests run against, for its FULL_REPO_CONFIGS_MODULE: the packed online store and a compute engine.

`run` sets the environment: CONFORMANCE_ONLINE_STORE, the `online_store` of a `feature_store.yaml` as JSON, and
CONFORMANCE_ENGINE, the engine's class path. This is imported beside Feast's tests, which own the name `tests` there.
"""

from __future__ import annotations

import json
import os
from collections import UserDict
from collections.abc import ValuesView
from importlib import import_module
from types import ModuleType
from typing import Any

from feast.repo_config import BATCH_ENGINE_CLASS_FOR_TYPE

from feature_repo.packed import PackedOnlineStoreConfig

Store = tuple[dict[str, Any], None]
"""Configuration of an online store, and what would start it: nothing, it runs already."""


class OneStore(UserDict[str, Store]):
    """One store under every name that Feast restricts tests to, so that it meets those too, and the others once."""

    def values(self) -> ValuesView[Store]:
        """The store, once."""
        return dict([next(iter(self.items()))]).values()


NAMES = ("sqlite", "redis", "mongodb")
"""Names whose tests ask for what every store has: types, event times, clearing, async calls. Tests of other names look
for connection pools, vectors or documents."""


def _feast(module: str) -> ModuleType:
    return import_module(f"tests.universal.feature_repos.{module}")


STORE: dict[str, Any] = json.loads(os.environ["CONFORMANCE_ONLINE_STORE"])

AVAILABLE_ONLINE_STORES = OneStore((name, (STORE, None)) for name in NAMES)
AVAILABLE_OFFLINE_STORES = [
    ("local", _feast("universal.data_sources.file").FileDataSourceCreator),
    ("local", _feast("duckdb_repo_configuration").DuckDBDataSourceCreator),
]

# Feast's tests name no engine but "local".
BATCH_ENGINE_CLASS_FOR_TYPE["local"] = os.environ["CONFORMANCE_ENGINE"]


def instead_of_sqlite(path: str) -> PackedOnlineStoreConfig:
    """The store's configuration where a test makes that of a SQLite file: with a folder beside it."""
    return PackedOnlineStoreConfig(**STORE | {"path": f"{path}.packed"})
