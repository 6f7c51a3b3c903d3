"""Rows for a ranker: every candidate of every user at a cutoff, with all that is known of the pair and its label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_repo import schema
from feature_repo.paths import DataPaths
from feature_repo.store import offline_store
from feature_repo.transforms import assemble
from shoprank.errors import UserError
from training.dataset.labels import epoch
from training.dataset.point_in_time import catalogue_at, users_at
from training.evaluate.slates import member
from training.ranking.arrays import write_arrays
from training.retrieval.blend import Candidates
from training.retrieval.log import F32, I32, I64, PurchaseLog, unseen
from training.schedule import HORIZON, Schedule
from training.shards import Columns

Bools = npt.NDArray[np.bool_]


def columns_of(sources: Sequence[str]) -> Columns:
    """The ranker's columns: those of the feature schema and the item, then of each source its score and its rank."""
    retrieval = [f"retrieval_{source}_{what}" for what in ("score", "rank") for source in sources]
    return Columns(
        (*schema.NUMERIC, *retrieval, "retrieval_blend_rank", "retrieval_sources"), (*schema.CATEGORICAL, "item_key")
    )


@dataclass(frozen=True)
class Rows:
    """Candidates of n users, k each: a row a pair, users in order and each one's candidates in the blend's.

    users: int (n,). items: int32 (n, k). label: bool (n, k). owned: bool (n, k), whether the user ever bought the
    item. wanted, wanted_new: int (n,), distinct items bought in the label window, and those never bought before.
    numeric: float32 (n·k, F). categorical: int64 (n·k, C).
    """

    cutoff: datetime
    users: I64
    items: I32
    label: Bools
    owned: Bools
    wanted: I64
    wanted_new: I64
    numeric: F32
    categorical: I64

    @property
    def shape(self) -> tuple[int, int]:
        """Users and candidates of each."""
        rows, candidates = self.items.shape
        return rows, candidates

    def write(self, path: Path) -> None:
        """Keep the rows in one file, written whole or not at all."""
        arrays = {name: value for name, value in vars(self).items() if name != "cutoff"}
        write_arrays(path, cutoff=self.cutoff.isoformat(), **arrays)

    @classmethod
    def read(cls, path: Path) -> Rows:
        """Rows that were kept."""
        with np.load(path) as arrays:
            return cls(
                datetime.fromisoformat(str(arrays["cutoff"])),
                *(arrays[name] for name in list(cls.__dataclass_fields__)[1:]),
            )


def active_users(log: PurchaseLog, cutoff: datetime, horizon: timedelta = HORIZON) -> I64:
    """Users with a purchase before the cutoff and one in the window after it, ascending."""
    return np.intersect1d(log.before(cutoff).users, log.truth(cutoff, horizon).nonzero()[0]).astype(np.int64)


def required_users(log: PurchaseLog, cutoff: datetime) -> I64:
    """The active users of the week that begins at the cutoff. Raises UserError where there are none."""
    users = active_users(log, cutoff)
    if not len(users):
        raise UserError(f"the week of {cutoff.date()}: nobody bought anything in it who had bought before")
    return users


def rows_at(
    paths: DataPaths,
    log: PurchaseLog,
    cutoff: datetime,
    candidates: Candidates,
) -> Rows:
    """Label the candidates and join the features as they were at the cutoff. Raises UserError where there are none."""
    truth, owned = log.truth(cutoff, HORIZON), log.before(cutoff).owned()
    users = np.asarray(candidates.users, np.int64)
    numeric, categorical = features(paths, log, cutoff, candidates)
    return Rows(
        cutoff,
        users,
        candidates.items,
        member(users, candidates.items, truth),
        member(users, candidates.items, owned),
        np.diff(truth.indptr)[users].astype(np.int64),
        np.diff(unseen(truth, owned).indptr)[users].astype(np.int64),
        numeric,
        categorical,
    )


def features(paths: DataPaths, log: PurchaseLog, cutoff: datetime, candidates: Candidates) -> tuple[F32, I64]:
    """Numbers (n·k, F) and keys (n·k, C) of the candidates, by the point-in-time join and the transforms of serving."""
    Schedule.read(paths).require_snapshots(paths)
    store, time = offline_store(paths), epoch(cutoff)
    catalogue = catalogue_at(store, log.catalogue.item_ids.tolist(), cutoff)
    if not len(catalogue):
        raise UserError(f"no features of any item at {cutoff:%Y-%m-%d}: `shoprank features` made none for that time")
    ids = log.catalogue.user_ids[candidates.users].tolist()
    users = users_at(store, ids, [cutoff] * len(ids))
    n, k = candidates.items.shape
    width = len(schema.NUMERIC)
    columns = columns_of(candidates.sources)
    numeric = np.empty((n * k, len(columns.numeric)), np.float32)
    categorical = np.empty((n * k, len(columns.categorical)), np.int64)
    for j, user in enumerate(users):
        keys = log.catalogue.item_keys[candidates.items[j]]
        inputs = assemble(user, catalogue.rows.take(catalogue.positions(keys)), time)
        at = slice(j * k, (j + 1) * k)
        numeric[at, :width], categorical[at, :-1], categorical[at, -1] = inputs.numeric, inputs.categorical, keys
    numeric[:, width:] = retrieval_columns(candidates)
    return numeric, categorical


def retrieval_columns(candidates: Candidates) -> F32:
    """What the sources say of each candidate, float32 (n·k, 2·G + 2).

    Scores are over the user's highest of the source, so that sources and users are alike; ranks are log(1 + rank).
    """
    n, k, sources = candidates.scores.shape
    highest = np.maximum(candidates.scores.max(axis=1, keepdims=True), 1e-12)
    listed = (candidates.ranks < candidates.ranks.max()).sum(axis=2, dtype=np.float32)[..., None]
    place = np.broadcast_to(np.log1p(np.arange(k, dtype=np.float32))[None, :, None], (n, k, 1))
    ranks = np.log1p(candidates.ranks.astype(np.float32))
    parts = [np.clip(candidates.scores / highest, -1, 1), ranks, place, listed]
    return np.concatenate(parts, axis=2).reshape(n * k, 2 * sources + 2).astype(np.float32)
