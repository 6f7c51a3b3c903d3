"""The purchases before a cutoff as plain arrays: what every generator is fitted on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from feature_repo.files import read_whole
from feature_repo.paths import DataPaths
from shoprank.errors import UserError
from training.dataset.labels import epoch
from training.ingested import events_table, unchanged
from training.retrieval.plan import Plan, read_plan

DAY = 86_400
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Sparse = Any
"""A scipy CSR matrix."""

CONTENT = ("department", "category", "subcategory", "brand", "manufacturer", "size")


@dataclass(frozen=True)
class Catalogue:
    """Users and items by position: user_ids (U,), item_ids (N,) text; item_keys int64 (N,), ascending.

    content: text columns of the items by name, (N,) each, "" where unknown.
    """

    user_ids: npt.NDArray[np.object_]
    item_ids: npt.NDArray[np.object_]
    item_keys: I64
    content: dict[str, npt.NDArray[np.object_]]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of users and of items."""
        return len(self.user_ids), len(self.item_ids)

    def codes(self, name: str) -> I32:
        """A content column as codes from 0, (N,)."""
        _, codes = np.unique(self.content[name].astype(str), return_inverse=True)
        return codes.astype(np.int32)


@dataclass(frozen=True)
class PurchaseLog:
    """Purchases in order of time: users, items, baskets int32 (n,) by position; at float64 (n,), days since 1970 UTC.

    now: the cutoff in the same days; every purchase lies before it. plan: of promotions, where there is one; what it
    says of the week after the cutoff counts as known at it.
    """

    catalogue: Catalogue
    users: I32
    items: I32
    baskets: I32
    at: F64
    now: float
    plan: Plan | None = None

    def __len__(self) -> int:
        return len(self.at)

    @property
    def age(self) -> F64:
        """Days from each purchase to the cutoff, (n,)."""
        return self.now - self.at

    def halved(self, days: float) -> F64:
        """Weights of the purchases, (n,): one now, half of that for each `days` days of age."""
        return 0.5 ** (self.age / days)

    def before(self, cutoff: datetime) -> PurchaseLog:
        """The purchases before `cutoff` (naive UTC), which becomes the log's own."""
        now = epoch(cutoff) / DAY
        return self.take(self.at < now, now)

    def take(self, chosen: npt.NDArray[np.bool_], now: float | None = None) -> PurchaseLog:
        """Some of the purchases, (n,) bool; `now` moves the cutoff."""
        return replace(
            self,
            users=self.users[chosen],
            items=self.items[chosen],
            baskets=self.baskets[chosen],
            at=self.at[chosen],
            now=self.now if now is None else now,
        )

    def recent(self, days: float) -> PurchaseLog:
        """The purchases of the last `days` days."""
        return self.take(self.age <= days)

    def matrix(self, weight: npt.NDArray[Any] | None = None) -> Sparse:
        """Users × items, float32 CSR: the sum of weights (n,) of the purchases, their number where there are none."""
        values = np.ones(len(self), np.float32) if weight is None else np.asarray(weight, np.float32)
        return sp.csr_matrix((values, (self.users, self.items)), self.catalogue.shape, dtype=np.float32)

    def owned(self) -> Sparse:
        """Users × items, 1 where the user ever bought the item."""
        matrix = self.matrix()
        matrix.data[:] = 1
        return matrix

    def popularity(self, days: float) -> F32:
        """Purchases of each item in the last `days` days, (N,)."""
        return np.bincount(self.recent(days).items, minlength=self.catalogue.shape[1]).astype(np.float32)

    def truth(self, cutoff: datetime, horizon: timedelta) -> Sparse:
        """Users × items, 1 where the user bought the item in [cutoff, cutoff + horizon)."""
        start = epoch(cutoff) / DAY
        inside = (self.at >= start) & (self.at < start + horizon.total_seconds() / DAY)
        return self.take(inside).owned()


def unseen(bought: Sparse, owned: Sparse) -> Sparse:
    """Of what was bought, users × items, what the user did not own."""
    new = (bought - bought.multiply(owned)).tocsr()
    new.eliminate_zeros()
    return new


def read_log(paths: DataPaths) -> PurchaseLog:
    """Every purchase there is, with the catalogue of items and users.

    Raises UserError where nothing was ingested, or no purchase among it, and Conflict where other events were ingested
    meanwhile.
    """
    with unchanged(paths):
        return _read_log(paths)


def _read_log(paths: DataPaths) -> PurchaseLog:
    catalogue = read_catalogue(paths)
    with duckdb.connect() as connection:
        table = connection.sql(
            f"""
            select user_id, item_key, epoch(event_time) as seconds,
                   coalesce(session_id, cast(cast(event_time as date) as varchar)) as basket
            from {events_table(paths)} where event_type = 'purchase' order by event_time, event_id
            """,
        ).to_arrow_table()
    if not len(table):
        raise UserError(f"{paths.events}: no purchase among the events")
    users = np.searchsorted(catalogue.user_ids.astype(str), table["user_id"].to_numpy().astype(str))
    baskets = table["basket"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    _, baskets = np.unique(users * (baskets.max() + 1) + baskets, return_inverse=True)
    at = table["seconds"].to_numpy() / DAY
    return PurchaseLog(
        catalogue,
        users.astype(np.int32),
        np.searchsorted(catalogue.item_keys, table["item_key"].to_numpy()).astype(np.int32),
        baskets.astype(np.int32),
        at,
        float(at.max()) + 1,
        read_plan(paths, catalogue.item_keys),
    )


def read_catalogue(paths: DataPaths) -> Catalogue:
    """Users sorted by id and items by key. Raises UserError where nothing was ingested."""
    for file in (paths.users, paths.items):
        if not file.is_file():
            raise UserError(f"{file}: no such file; run `shoprank ingest` first")
    users = read_whole(paths.users, ["user_id"])["user_id"].to_numpy()
    items = read_whole(paths.items).sort_by("item_key")
    content = {
        name: items[name].cast("string").fill_null("").to_numpy()
        if name in items.column_names
        else np.full(items.num_rows, "", object)
        for name in CONTENT
    }
    return Catalogue(
        np.sort(users.astype(str)).astype(object), items["item_id"].to_numpy(), items["item_key"].to_numpy(), content
    )
