"""The rankers that are tried on the weeks before the tests."""

from __future__ import annotations

from dataclasses import replace

from training.ranking.ablation import (
    BINNED_NETWORK,
    CROSSED_NETWORK,
    HOUSEHOLD_NETWORK,
    LIST_NETWORK,
    LIST_TREES,
    TAUGHT_NETWORK,
    TREES,
    WIDE_LAYERS,
)
from training.ranking.attention import Attention
from training.ranking.names import CALIBRATED
from training.ranking.network import Network
from training.ranking.ranker import Ranker
from training.ranking.trees import Trees


def _lambdarank(how: Trees, by_user: float = 0) -> Ranker:
    name = f"LambdaRank, {how.leaves} leaves, rate {how.learning_rate}, {how.least} rows a leaf"
    return Ranker(name + (f", by household {by_user}" if by_user else ""), how, by_user=by_user)


REFERENCE = _lambdarank(LIST_TREES)
"""What the others are held against: the evaluation's."""
_CALIBRATED = Ranker(CALIBRATED, None, seeds=(), members={REFERENCE.name: 1})
_LEAVES = Ranker("LightGBM, 31 leaves", replace(TREES, leaves=31))
_MORE_LEAVES = Ranker("LightGBM, 63 leaves", TREES)
_BY_HOUSEHOLD = Ranker("LightGBM, 31 leaves, by household", _LEAVES.how, by_user=1)
_MORE_BY_HOUSEHOLD = Ranker("LightGBM, 63 leaves, by household", TREES, by_user=1)
_UNCROSSED = replace(TAUGHT_NETWORK, cross=0)
_TAUGHT = Ranker("MLP, 8 bins, taught", _UNCROSSED, teacher=_LEAVES.name)
_LISTS = Ranker("MLP, 8 bins, taught, rows and lists", replace(LIST_NETWORK, cross=0), teacher=_LEAVES.name)
_LISTS_BY_HOUSEHOLD = Ranker(
    "MLP, 8 bins, taught, rows and lists, by household",
    replace(HOUSEHOLD_NETWORK, cross=0),
    teacher=_BY_HOUSEHOLD.name,
    by_user=1,
)
_CROSSED = Ranker("MLP, 8 bins, crossed, taught by 63 leaves", TAUGHT_NETWORK, teacher=_MORE_LEAVES.name)
_CROSSED_BY_HOUSEHOLD = Ranker(
    "MLP, 8 bins, crossed, taught by 63 leaves, rows and lists, by household",
    HOUSEHOLD_NETWORK,
    teacher=_MORE_BY_HOUSEHOLD.name,
    by_user=1,
)


def _ensemble(name: str, *members: tuple[Ranker, float]) -> Ranker:
    return Ranker(name, None, seeds=(), members={ranker.name: weight for ranker, weight in members})


GROWN = (
    Ranker("MLP, 8 bins", BINNED_NETWORK),
    Ranker("MLP, 8 bins, crossed", CROSSED_NETWORK),
    Ranker("MLP, 8 bins, reading histories", replace(BINNED_NETWORK, history=Attention())),
)
"""What a network may be given beside its columns, against the one without; in a record of its own."""

CROSSED = (
    REFERENCE,
    _CALIBRATED,
    _MORE_LEAVES,
    _MORE_BY_HOUSEHOLD,
    _CROSSED,
    _CROSSED_BY_HOUSEHOLD,
    _ensemble(
        "ensemble, crossed, by household",
        (_CROSSED, 1),
        (_CROSSED_BY_HOUSEHOLD, 2),
        (_MORE_BY_HOUSEHOLD, 1),
        (_CALIBRATED, 1),
    ),
)
"""An ensemble of the champion's kind whose networks cross columns, beside the baseline; in a record of its own."""

TRIED = (
    REFERENCE,
    _lambdarank(replace(LIST_TREES, leaves=15, learning_rate=0.05)),
    _lambdarank(replace(LIST_TREES, leaves=31, least=500)),
    _lambdarank(replace(LIST_TREES, leaves=127)),
    _lambdarank(LIST_TREES, by_user=0.5),
    _CALIBRATED,
    Ranker("LightGBM", Trees("binary")),
    _LEAVES,
    _MORE_LEAVES,
    _BY_HOUSEHOLD,
    _MORE_BY_HOUSEHOLD,
    Ranker("MLP", Network(WIDE_LAYERS)),
    GROWN[0],
    _TAUGHT,
    Ranker("MLP, 8 bins, taught by 63 leaves", _UNCROSSED, teacher=_MORE_LEAVES.name),
    _LISTS,
    Ranker("MLP, 8 bins, taught, by household", _UNCROSSED, teacher=_BY_HOUSEHOLD.name, by_user=1),
    _LISTS_BY_HOUSEHOLD,
    _ensemble("ensemble", (_TAUGHT, 1), (_LISTS, 1), (_LEAVES, 1), (_CALIBRATED, 1)),
    _ensemble("ensemble, by household", (_TAUGHT, 1), (_LISTS_BY_HOUSEHOLD, 2), (_BY_HOUSEHOLD, 1), (_CALIBRATED, 1)),
    _ensemble(
        "ensemble, by household, lists thrice",
        (_TAUGHT, 1),
        (_LISTS_BY_HOUSEHOLD, 3),
        (_BY_HOUSEHOLD, 1),
        (_CALIBRATED, 1),
    ),
    _ensemble("ensemble, by household, no trees of rows", (_TAUGHT, 1), (_LISTS_BY_HOUSEHOLD, 2), (_CALIBRATED, 1)),
    _ensemble(
        "ensemble, by household, lists thrice, no trees of rows",
        (_TAUGHT, 1),
        (_LISTS_BY_HOUSEHOLD, 3),
        (_CALIBRATED, 1),
    ),
)

RECORDS = {"validation": TRIED, "grown": GROWN, "crossed": CROSSED}
"""What is tried together, by the name of its record; the first of each is what the others are held against."""
