"""A Feast online store that keeps one packed record a row, in LMDB or Redis. See docs/online-store.md."""

from feature_repo.packed.engine import PackedComputeEngine, PackedComputeEngineConfig
from feature_repo.packed.rows import Rows, Status
from feature_repo.packed.store import PackedOnlineStore, PackedOnlineStoreConfig, packed_store

__all__ = [
    "PackedComputeEngine",
    "PackedComputeEngineConfig",
    "PackedOnlineStore",
    "PackedOnlineStoreConfig",
    "Rows",
    "Status",
    "packed_store",
]
