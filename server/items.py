"""The catalogue: what items are called, and the rows of all of them, for requests that name none."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from server.features import OnlineFeatures, StoredItems
from shoprank.errors import FeatureStoreError, UserError

DESCRIPTION = ("item_id", "name", "department", "category", "subcategory", "brand")


@dataclass(frozen=True, slots=True)
class Description:
    """What an item is, for people; empty where the catalogue does not say."""

    item_id: str
    name: str
    department: str
    category: str
    subcategory: str
    brand: str


class Catalogue:
    """Descriptions of every item that was ingested."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.ids: list[str] = table["item_id"].to_pylist()
        self._index = {item_id: i for i, item_id in enumerate(self.ids)}

    @classmethod
    def read(cls, path: Path) -> Catalogue:
        """The catalogue in a Parquet file. Raises UserError where there is none."""
        if not path.is_file():
            raise UserError(f"{path}: no such file; run `shoprank ingest` first")
        return cls(pq.read_table(path, columns=list(DESCRIPTION)))

    def describe(self, item_id: str) -> Description | None:
        """The item's description, None where the catalogue does not know it."""
        i = self._index.get(item_id)
        if i is None:
            return None
        return Description(*(self._table[name][i].as_py() or "" for name in DESCRIPTION))


class Items:
    """Rows of every item of the catalogue, read again whenever an item was written since.

    Raises FeatureStoreError where the store has none.
    """

    def __init__(self, features: OnlineFeatures, catalogue: Catalogue) -> None:
        self._features = features
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._known = self._read()
        if not len(self._known[1]):
            raise FeatureStoreError("the online store has no items; run `shoprank materialize` first")

    def all(self) -> StoredItems:
        """Rows as they are now."""
        version, rows = self._known
        if self._features.items_version() == version:
            return rows
        with self._lock:
            if self._features.items_version() != self._known[0]:
                self._known = self._read()
            return self._known[1]

    def _read(self) -> tuple[int, StoredItems]:
        """The version of the rows, and those of the catalogue's items that the store has: no others are candidates."""
        version = self._features.items_version()  # before the rows: a write in between is seen the next time
        return version, replace(self._features.items(self._catalogue.ids), unknown=[])
