"""The rankers that are held against each other: one change at a time from the plain MLP, and LightGBM beside them.

The model of the training set is the exception: it is what `shoprank train` makes, taught by trees of its own.
"""

from __future__ import annotations

from dataclasses import replace

from training.model import Architecture
from training.ranking.names import (
    CALIBRATED,
    CHAMPION,
    CROSSED,
    LAMBDARANK,
    LIGHTGBM,
    LIGHTGBM_HOUSEHOLDS,
    LISTWISE,
    LISTWISE_HOUSEHOLDS,
    LISTWISES_HOUSEHOLDS,
    PAIRWISE,
    PIECEWISE,
    PLAIN,
    RETRIEVAL,
    STORED,
    TAUGHT,
    WIDE,
)
from training.ranking.network import Network
from training.ranking.ranker import Ranker
from training.ranking.trees import Trees

BINS = 8
"""Of each number's piecewise-linear encoding, in the rankers that have one."""
RANK = 32
"""Of the products of columns with each other, in the rankers that are crossed."""
WIDE_LAYERS = Architecture(hidden=(256, 64), dropout=0.1, category_width=4)

BINNED_NETWORK = Network(WIDE_LAYERS, bins=BINS)
CROSSED_NETWORK = replace(BINNED_NETWORK, cross=RANK)
TAUGHT_NETWORK = replace(CROSSED_NETWORK, epochs=6, learning_rate=4e-3, teacher=0.7)
LIST_NETWORK = replace(TAUGHT_NETWORK, loss="listwise", teacher=0.5)
HOUSEHOLD_NETWORK = replace(TAUGHT_NETWORK, loss="listwise", share=0.1)
TREES = Trees("binary", 63, 0.03, 800)
LIST_TREES = Trees("lambdarank", 63, 0.03, 800, 100)

RANKERS = (
    Ranker(STORED, None, columns="schema", seeds=()),
    Ranker(PLAIN, Network(), columns="schema"),
    Ranker(RETRIEVAL, Network()),
    Ranker(WIDE, Network(WIDE_LAYERS)),
    Ranker(PIECEWISE, BINNED_NETWORK),
    Ranker(CROSSED, CROSSED_NETWORK),
    Ranker(LIGHTGBM, TREES),
    Ranker(TAUGHT, TAUGHT_NETWORK, teacher=LIGHTGBM),
    Ranker(LISTWISE, LIST_NETWORK, teacher=LIGHTGBM),
    Ranker(PAIRWISE, replace(TAUGHT_NETWORK, loss="pairwise"), teacher=LIGHTGBM),
    Ranker(LAMBDARANK, LIST_TREES),
    Ranker(CALIBRATED, None, seeds=(), members={LAMBDARANK: 1}),
    Ranker(LIGHTGBM_HOUSEHOLDS, TREES, by_user=1),
    Ranker(LISTWISE_HOUSEHOLDS, HOUSEHOLD_NETWORK, teacher=LIGHTGBM_HOUSEHOLDS, by_user=1),
    Ranker(
        LISTWISES_HOUSEHOLDS,
        HOUSEHOLD_NETWORK,
        seeds=(1,),
        members={LISTWISE_HOUSEHOLDS: 1},
        teacher=LIGHTGBM_HOUSEHOLDS,
        by_user=1,
    ),
    Ranker(
        CHAMPION,
        None,
        seeds=(),
        members={TAUGHT: 1, LISTWISES_HOUSEHOLDS: 2, LIGHTGBM_HOUSEHOLDS: 1, CALIBRATED: 1},
    ),
)
