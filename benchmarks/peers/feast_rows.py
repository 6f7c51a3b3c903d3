"""Rows of a user and of items as Feast answers them, by its SDK or by its own feature server, into our arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
from feast import FeatureStore

from benchmarks.peers.stores import ITEM_SERVICE, USER_SERVICE
from feature_repo.transforms import ItemRows, UserRow, item_rows, user_row

Columns = Mapping[str, Sequence[Any]]


class Sdk:
    """`get_online_features` in the server's own process."""

    def __init__(self, repo: Path) -> None:
        self._store = FeatureStore(repo_path=repo)
        self._user = self._store.get_feature_service(USER_SERVICE)
        self._items = self._store.get_feature_service(ITEM_SERVICE)

    def read(self, user_id: str, item_ids: Sequence[str]) -> tuple[UserRow, ItemRows]:
        """The user's row and the items', one call each."""
        user = self._store.get_online_features(features=self._user, entity_rows=[{"user_id": user_id}])
        items = self._store.get_online_features(
            features=self._items, entity_rows=[{"item_id": item_id} for item_id in item_ids]
        )
        return user_row(_first(user.to_dict())), item_rows(items.to_dict(), len(item_ids))


class FeatureServer:
    """`feast serve` over HTTP on a connection that is kept open."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/get-online-features"
        self._session = requests.Session()

    def read(self, user_id: str, item_ids: Sequence[str]) -> tuple[UserRow, ItemRows]:
        """The user's row and the items', one request each."""
        user = self._ask(USER_SERVICE, {"user_id": [user_id]})
        items = self._ask(ITEM_SERVICE, {"item_id": list(item_ids)})
        return user_row(_first(user)), item_rows(items, len(item_ids))

    def _ask(self, service: str, entities: Mapping[str, list[str]]) -> Columns:
        answer = self._session.post(self._url, json={"feature_service": service, "entities": entities}, timeout=30)
        answer.raise_for_status()
        body = answer.json()
        names = body["metadata"]["feature_names"]
        return {name: column["values"] for name, column in zip(names, body["results"], strict=True)}


def _first(columns: Columns) -> dict[str, Any]:
    return {name: values[0] for name, values in columns.items()}
