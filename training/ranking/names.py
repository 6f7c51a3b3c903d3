"""What baselines and rankers are called in results and pages."""

from __future__ import annotations

from collections.abc import Sequence

POPULARITY = "global top frequency, 28 days"
PERSONAL = "personal top frequency"
RECENT = "recency-weighted frequency"
SERVED = "RecommendItems"

STORED = "MLP 128-64-1 of the training set"
PLAIN = "MLP 128-64-1, stored features only"
RETRIEVAL = "MLP 128-64-1, with retrieval columns"
WIDE = "MLP 256-64-1"
PIECEWISE = "MLP 256-64-1, piecewise-linear"
CROSSED = "MLP 256-64-1, piecewise-linear, crossed"
TAUGHT = "MLP, crossed, taught"
LISTWISE = "MLP, crossed, taught, rows and lists"
PAIRWISE = "MLP, crossed, taught, rows and pairs"
LISTWISE_HOUSEHOLDS = "MLP, crossed, taught, rows and lists, by household"
LISTWISES_HOUSEHOLDS = "MLPs, crossed, taught, rows and lists, by household, two seeds"
LAMBDARANK = "LightGBM LambdaRank"
LIGHTGBM = "LightGBM, log loss"
LIGHTGBM_HOUSEHOLDS = "LightGBM, log loss, by household"
CHAMPION = "ensemble of MLPs and trees"
CALIBRATED = "LambdaRank, calibrated"
"""LambdaRank's scores as log-odds; of those tried, no trial of its own."""


def served_with(learned: Sequence[str]) -> str:
    """What a server is called that has these learned sources too."""
    return f"{SERVED}, with {' and '.join(learned)}"
