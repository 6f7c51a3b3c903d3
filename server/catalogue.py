"""The catalogue: what items are called, and the rows of all of them, for requests that name none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from feature_repo.files import read_whole
from server.features import NO_ITEMS
from server.items import Found, Items, Wanted
from shoprank.errors import StoreNotReady, UserError

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
        return cls(read_whole(path, DESCRIPTION))

    @cached_property
    def known(self) -> dict[str, frozenset[str]]:
        """The values of each column that items are grouped by."""
        return {name: frozenset(self._table[name].unique().drop_null().to_pylist()) for name in DESCRIPTION[2:]}

    def name(self, item_id: str) -> str:
        """What the item is called; its id where the catalogue does not say."""
        i = self._index.get(item_id)
        return (self._table["name"][i].as_py() or item_id) if i is not None else item_id

    def describe(self, item_id: str) -> Description | None:
        """The item's description, None where the catalogue does not know it."""
        i = self._index.get(item_id)
        if i is None:
            return None
        return Description(*(self._table[name][i].as_py() or "" for name in DESCRIPTION))


@dataclass(frozen=True, slots=True)
class _Known:
    """The rows of all items as of a version of the store's items, and when the newest was computed."""

    version: int
    found: Found
    newest: int


class Listing:
    """The rows of every item of the catalogue that the store has: no others are candidates.

    Every method takes the version of the store's items that the caller has just learned, and raises FeatureStoreError
    where the store has none.
    """

    def __init__(self, items: Items, catalogue: Catalogue) -> None:
        self._items = items
        self._wanted = Wanted.of(catalogue.ids)
        self.catalogue = catalogue
        self._known: _Known | None = None

    def all(self, version: int) -> Found:
        """The rows."""
        return self._at(version).found

    def newest(self, version: int) -> int:
        """When the newest row was computed, seconds since 1970 UTC."""
        return self._at(version).newest

    def _at(self, version: int) -> _Known:
        known = self._known
        if known is not None and known.version == version:
            return known
        found = self._items.find(self._wanted, version)
        if not len(found):
            raise StoreNotReady(NO_ITEMS)
        known = self._known = _Known(version, Found(found.shelf, found.positions, []), int(found.at.max()))
        return known
