"""How much of what was bought the candidates hold, and what bounds it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.ranking.rows import Rows
from training.ranking.slate import Week
from training.retrieval.log import F64, I64

LEVELS = ("department", "category")


def candidate_recall(rows: Sequence[Rows], weeks: Sequence[Week], days: float = 28) -> dict[str, float]:
    """Mean over households and weeks of the share of truth that is

    `candidates`: among the candidates; `attainable`: in the household's history or sold to anybody in the last `days`
    days; `history`: in the history; `history_held`: in the history and among the candidates; `new_held`: never bought
    before and among the candidates; `new_sold`: never bought before and sold; `unsold`: neither; `foretold`: found by
    whoever knows the week's sales (see `foretold`); `foretold_department`, `foretold_category`: by whoever knows them
    and the departments or categories that each household will buy from (see `foretold_within`).
    """
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for r, week in zip(rows, weeks, strict=True):
        truth, new = week.truth[r.users], week.new[r.users]
        sold = (week.log.popularity(days) > 0).astype(np.float32)
        repeats = r.wanted - r.wanted_new
        fresh = new @ sold
        found["candidates"].append(r.label.sum(1) / r.wanted)
        found["history"].append(repeats / r.wanted)
        found["history_held"].append((r.label & r.owned).sum(1) / r.wanted)
        found["new_held"].append((r.label & ~r.owned).sum(1) / r.wanted)
        found["new_sold"].append(fresh / r.wanted)
        found["foretold"].append((repeats + foretold(r.users, week, r.shape[1])) / r.wanted)
        for level in LEVELS:
            found[f"foretold_{level}"].append(foretold_within(level, r.users, week, r.shape[1]) / r.wanted)
        found["unsold"].append((np.diff(truth.indptr) - repeats - fresh) / r.wanted)
    means = {name: float(np.concatenate(values).mean()) for name, values in found.items()}
    attainable = means["history"] + means["new_sold"]
    return {**means, "attainable": attainable, "share_of_attainable": means["candidates"] / attainable}


def foretold(users: I64, week: Week, candidates: int) -> F64:
    """New purchases of each user (n,) among the best sellers of the very week, as many as there is room for beside the
    user's whole history: what candidates could hold by knowing what sells, without knowing who buys it."""
    sellers = np.argsort(-np.asarray(week.truth.sum(axis=0)).ravel(), kind="stable")
    found = np.zeros(len(users))
    for i, user in enumerate(users):
        owned = week.owned[user].indices
        likely = sellers[: candidates + len(owned)]
        likely = likely[~np.isin(likely, owned)][: max(candidates - len(owned), 0)]
        found[i] = np.isin(week.new[user].indices, likely).sum()
    return found


def foretold_within(level: str, users: I64, week: Week, candidates: int) -> F64:
    """Purchases of each user (n,) among what nobody can know: of the departments or categories (`level`) that the user
    will buy from, what it had before and then the best sellers of the very week, up to `candidates`."""
    sales = np.asarray(week.truth.sum(axis=0)).ravel()
    codes = week.log.catalogue.codes(level)
    sellers = np.argsort(-sales, kind="stable")[: int((sales > 0).sum())]
    found = np.zeros(len(users))
    for i, user in enumerate(users):
        truth, owned = week.truth[user].indices, week.owned[user].indices
        wanted = np.unique(codes[truth])
        kept = owned[np.isin(codes[owned], wanted)]
        kept = kept[np.argsort(-sales[kept], kind="stable")][:candidates]
        others = sellers[np.isin(codes[sellers], wanted)]
        others = others[~np.isin(others, kept)][: candidates - len(kept)]
        found[i] = np.isin(truth, kept).sum() + np.isin(truth, others).sum()
    return found


def recall_by_source(rows: Sequence[Rows], ranks_at: Sequence[int], depth: float) -> dict[int, float]:
    """For each column of ranks, the share of found truth that the source lists, whoever else does."""
    found = {}
    for column in ranks_at:
        listed = [r.label.ravel() & (r.numeric[:, column] < np.log1p(depth) - 1e-6) for r in rows]
        found[column] = float(sum(x.sum() for x in listed) / max(sum(r.label.sum() for r in rows), 1))
    return found
