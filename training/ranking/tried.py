"""The rankers that are tried on the weeks before the tests."""

from __future__ import annotations

from dataclasses import replace

from training.ranking.ablation import (
    BINNED_NETWORK,
    HOUSEHOLD_NETWORK,
    LIST_NETWORK,
    LIST_TREES,
    TAUGHT_NETWORK,
    TREES,
    WIDE_LAYERS,
    Ranker,
)
from training.ranking.attention import Attention
from training.ranking.names import CALIBRATED
from training.ranking.network import Network
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
_TAUGHT = Ranker("MLP, 8 bins, taught", TAUGHT_NETWORK, teacher=_LEAVES.name)
_LISTS = Ranker("MLP, 8 bins, taught, rows and lists", LIST_NETWORK, teacher=_LEAVES.name)
_LISTS_BY_HOUSEHOLD = Ranker(
    "MLP, 8 bins, taught, rows and lists, by household",
    HOUSEHOLD_NETWORK,
    teacher=_BY_HOUSEHOLD.name,
    by_user=1,
)


def _ensemble(name: str, taught: float, lists: float, trees: float, ordered: float) -> Ranker:
    members = (_TAUGHT, _LISTS_BY_HOUSEHOLD, _BY_HOUSEHOLD, _CALIBRATED)
    weights = zip(members, (taught, lists, trees, ordered), strict=True)
    return Ranker(name, None, seeds=(), members={ranker.name: weight for ranker, weight in weights if weight})


RANK = 32
"""Of the products of columns with each other, in the ranker that has them."""

GROWN = (
    Ranker("MLP, 8 bins", BINNED_NETWORK),
    Ranker("MLP, 8 bins, crossed", replace(BINNED_NETWORK, cross=RANK)),
    Ranker("MLP, 8 bins, reading histories", replace(BINNED_NETWORK, history=Attention())),
)
"""What a network may be given beside its columns, against the one without; in a record of its own."""

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
    Ranker("LightGBM, 63 leaves, by household", TREES, by_user=1),
    Ranker("MLP", Network(WIDE_LAYERS)),
    GROWN[0],
    _TAUGHT,
    Ranker("MLP, 8 bins, taught by 63 leaves", TAUGHT_NETWORK, teacher=_MORE_LEAVES.name),
    _LISTS,
    Ranker("MLP, 8 bins, taught, by household", TAUGHT_NETWORK, teacher=_BY_HOUSEHOLD.name, by_user=1),
    _LISTS_BY_HOUSEHOLD,
    Ranker(
        "ensemble",
        None,
        seeds=(),
        members={_TAUGHT.name: 1, _LISTS.name: 1, _LEAVES.name: 1, _CALIBRATED.name: 1},
    ),
    _ensemble("ensemble, by household", 1, 2, 1, 1),
    _ensemble("ensemble, by household, lists thrice", 1, 3, 1, 1),
    _ensemble("ensemble, by household, no trees of rows", 1, 2, 0, 1),
    _ensemble("ensemble, by household, lists thrice, no trees of rows", 1, 3, 0, 1),
)

RECORDS = {"validation": TRIED, "grown": GROWN}
"""What is tried together, by the name of its record; the first of each is what the others are held against."""
