"""Rows from the packed online store, as our server reads them. Runs in this project's own environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from feature_repo.paths import DataPaths
from feature_repo.store import applied_store
from feature_repo.transforms import ItemRows, UserRow
from server.features import OnlineFeatures


class Packed:
    """The packed store below a data folder."""

    def __init__(self, data: Path) -> None:
        self._features = OnlineFeatures(applied_store(DataPaths(data)))

    def read(self, user_id: str, item_ids: Sequence[str]) -> tuple[UserRow, ItemRows]:
        """The user's row and the items', a read each."""
        return self._features.user(user_id).row, self._features.items(item_ids).rows
