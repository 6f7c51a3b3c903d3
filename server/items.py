"""The catalogue in memory: every item's features as one table of arrays, and what it is called.

One Feast read of 100 items costs tens of milliseconds, more than everything else in a request together, so the
rows are read when the server starts and again whenever items were materialized since.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.transforms import I64, ItemRows
from server.features import ITEMS_A_READ, OnlineFeatures
from shoprank.errors import FeatureStoreError, UserError

DESCRIPTION = ("item_id", "name", "department", "category", "subcategory", "brand")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ItemTable:
    """Features of n items: ids object (n,), rows of n, and when each was computed, int64 (n,)."""

    ids: npt.NDArray[np.object_]
    rows: ItemRows
    at: I64
    index: dict[str, int]

    @classmethod
    def of(cls, ids: Sequence[str], rows: ItemRows, at: I64) -> ItemTable:
        """The table of these rows, with its index by id."""
        return cls(np.array(ids, object), rows, at, {item_id: i for i, item_id in enumerate(ids)})

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, item_ids: Sequence[str]) -> tuple[npt.NDArray[np.intp], list[str]]:
        """Positions of the known items, in order, and the ids that are unknown."""
        at = [self.index.get(item_id, -1) for item_id in item_ids]
        unknown = [item_id for item_id, i in zip(item_ids, at, strict=True) if i < 0]
        positions = np.array(at, np.intp)
        return (positions[positions >= 0] if unknown else positions), unknown


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


def read_items(
    features: OnlineFeatures, item_ids: Sequence[str], progress: Callable[[int], None] = lambda done: None
) -> ItemTable:
    """The rows of all the items the store has. Raises FeatureStoreError where it has none.

    `progress` is told how many of the ids have been read.
    """
    ids: list[str] = []
    parts = []
    for part in features.items(item_ids):
        ids.extend(part.ids)
        parts.append(part)
        progress(min(len(item_ids), ITEMS_A_READ * len(parts)))
    if not ids:
        raise FeatureStoreError("the online store has no items; run `shoprank materialize` first")
    rows = ItemRows(*(np.concatenate([getattr(p.rows, name) for p in parts]) for name in ("numbers", "times", "keys")))
    return ItemTable.of(ids, rows, np.concatenate([p.at for p in parts]))


class Items:
    """The current item table; replaced whole by a thread that looks for new materializations."""

    def __init__(
        self,
        features: OnlineFeatures,
        catalogue: Catalogue,
        progress: Callable[[int], None] = lambda done: None,
    ) -> None:
        self._features = features
        self._catalogue = catalogue
        self._seen = features.materializations()
        self.table = read_items(features, catalogue.ids, progress)
        self._stopped = threading.Event()

    def refresh(self) -> bool:
        """Read the items again if they were materialized since; whether they were."""
        count = self._features.materializations()
        if count == self._seen:
            return False
        self.table = read_items(self._features, self._catalogue.ids)
        self._seen = count
        log.info("item features read again: %d items", len(self.table))
        return True

    def watch(self, seconds: float) -> None:
        """Refresh every so many seconds in the background, until `stop`. A failure is logged and tried again."""

        def run() -> None:
            while not self._stopped.wait(seconds):
                try:
                    self.refresh()
                except Exception:  # the registry is a file of Feast's that may be away or half written at the moment
                    log.exception("item features could not be read again; serving the former ones")

        threading.Thread(target=run, name="items", daemon=True).start()

    def stop(self) -> None:
        """End the watching thread."""
        self._stopped.set()
