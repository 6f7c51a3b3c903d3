"""What baselines and rankers are called in results and pages."""

from __future__ import annotations

POPULARITY = "global top frequency, 28 days"
PERSONAL = "personal top frequency"

STORED = "MLP 128-64-1 of the training set"
PLAIN = "MLP 128-64-1, stored features only"
RETRIEVAL = "MLP 128-64-1, with retrieval columns"
WIDE = "MLP 256-64-1"
PIECEWISE = "MLP 256-64-1, piecewise-linear"
TAUGHT = "MLP 256-64-1, piecewise-linear, taught"
LISTWISE = "MLP 256-64-1, piecewise-linear, taught, rows and lists"
PAIRWISE = "MLP 256-64-1, piecewise-linear, taught, rows and pairs"
MLPS = "MLPs, taught, four seeds"
LISTWISE_HOUSEHOLDS = "MLP 256-64-1, piecewise-linear, taught, rows and lists, by household"
LISTWISES_HOUSEHOLDS = "MLPs, taught, rows and lists, by household, three seeds"
LAMBDARANK = "LightGBM LambdaRank"
LAMBDARANKS = "LightGBM LambdaRanks, three seeds, calibrated"
LIGHTGBM = "LightGBM, log loss"
LIGHTGBM_HOUSEHOLDS = "LightGBM, log loss, by household"
CHAMPION = "ensemble of MLPs and trees"
