"""The tables of docs/ranking.md, from the JSON of the evaluation alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from training.evaluate.page import placed, table
from training.ranking.names import CALIBRATED, LAMBDARANK, LIGHTGBM, PERSONAL, POPULARITY, TAUGHT


def contenders(result: dict[str, Any]) -> str:
    """Every contender's accuracy with its interval, the best NDCG@10 first."""
    rows = []
    for name in ordered(result):
        whole, explore = result["contenders"][name]["whole"], result["contenders"][name]["explore"]
        cells = [interval(whole["ndcg@10"]), interval(whole["recall@20"]), f"{whole['mrr@10']['mean']:.4f}"]
        cells += [f"{whole['hit_rate@10']['mean']:.4f}", interval(explore["recall@20"])]
        rows.append([f"**{name}**" if name == result["champion"] else name, *cells])
    return table(["", "NDCG@10", "Recall@20", "MRR@10", "hit rate@10", "Recall@20 of new products"], rows)


def differences(result: dict[str, Any], ours: str = "champion") -> str:
    """The champion, called `ours` there, less each other, with intervals."""
    rows = []
    for name in ordered(result):
        if name == result["champion"]:
            continue
        found = result["comparisons"][name]
        rows.append([name, *(_difference(found[m]) for m in ("ndcg@10", "recall@20", "explore_recall@20"))])
    return table([f"{ours} less", "NDCG@10", "Recall@20", "Recall@20 of new products"], rows)


def weeks(result: dict[str, Any]) -> str:
    """NDCG@10 and Recall@20 of each test week."""
    cutoffs = result["protocol"]["test"]
    rows = [
        [
            name,
            *(f"{result['contenders'][name]['by_week'][c][m]:.4f}" for m in ("ndcg@10", "recall@20") for c in cutoffs),
        ]
        for name in ordered(result)
    ]
    return table(["", *(f"{m}, {c}" for m in ("NDCG@10", "Recall@20") for c in cutoffs)], rows)


def beyond(result: dict[str, Any]) -> str:
    """What the slates are made of, and the time it takes."""
    rows = []
    for name in ordered(result):
        found, seconds = result["contenders"][name]["beyond_accuracy"], result["contenders"][name]["seconds"]
        cells = [f"{found['coverage']:.1%}", f"{found['novelty']:.2f}", f"{found['diversity']:.3f}"]
        cells += [f"{found['popularity_bias']:.2f}", f"{found['repeat_share']:.0%}", f"{found['explore_share']:.0%}"]
        rows.append([name, *cells, f"{seconds['fit']:.1f}", f"{seconds['score_a_household_ms']:.2f}"])
    header = ["", "coverage", "novelty, bits", "diversity", "popularity bias", "repeat", "explore", "fit, s"]
    return table([*header, "score, ms a household"], rows)


def stages(result: dict[str, Any]) -> str:
    """What a week's slates take, stage by stage."""
    seconds = {name: float(spent) for name, spent in result["stage_seconds"].items()}
    households = seconds.pop("households")
    scored = result["contenders"][result["champion"]]["seconds"]["score_a_household_ms"]
    seconds["rank, by the champion"] = households * scored / 1e3
    rows = [[name, f"{spent:.1f}", f"{1e3 * spent / households:.1f}"] for name, spent in seconds.items()]
    return table([f"{households:,.0f} households", "seconds", "ms a household"], rows)


def candidates(result: dict[str, Any]) -> str:
    """What bounds the candidates."""
    found = result["candidates"]
    labels = {
        "candidates": "among the 500 candidates",
        "attainable": "attainable: in the household's history, or sold to anybody in 28 days",
        "share_of_attainable": "candidates over attainable",
        "history": "in the household's history",
        "history_held": "… and among the candidates",
        "new_sold": "new to the household, sold in 28 days",
        "new_held": "new to the household, and among the candidates",
        "unsold": "neither in the history nor sold in 28 days",
        "foretold": "had the candidates been the whole history and, up to 500, the best sellers of the week to come",
        "foretold_department": "… its history and those best sellers in the departments alone that it will buy from",
        "foretold_category": "… in the categories alone that it will buy from",
    }
    return table(["share of what was bought", ""], [[label, f"{found[name]:.3f}"] for name, label in labels.items()])


def sources(result: dict[str, Any]) -> str:
    """What each source lists of the truth that the candidates hold."""
    found = sorted(result["candidates"]["by_source"].items(), key=lambda entry: -entry[1])
    return table(["source", "lists of the purchases found"], [[name, f"{value:.0%}"] for name, value in found])


def ablation(result: dict[str, Any]) -> str:
    """Every ranker on the same rows."""
    rows = []
    for name, found in result["contenders"].items():
        if name in result["tuning"]:
            continue  # a baseline
        whole, explore = found["whole"], found["explore"]
        scored = result["classification"].get(name)
        cells = [f"{whole['ndcg@10']['mean']:.4f}", f"{whole['recall@20']['mean']:.4f}"]
        cells.append(f"{explore['recall@20']['mean']:.4f}")
        if scored is None:
            cells += ["–"] * 4
        else:
            cells += [f"{scored['roc_auc']:.4f}", f"{scored['pr_auc']:.4f}", f"{scored['log_loss']:.5f}"]
            cells.append(f"{scored['calibration_error'] / result['classified']['base_rate']:.1%}")
        rows.append([name, *cells])
    header = ["", "NDCG@10", "Recall@20", "new, Recall@20", "ROC AUC", "PR AUC", "log loss", "calibration error / base"]
    return table(header, rows)


def budget(result: dict[str, Any]) -> str:
    """The settings chosen, of how many."""
    rows = [
        [name, str(max(len(found["trials"]), 1)), f"`{found['chosen']}`"] for name, found in result["tuning"].items()
    ]
    return table(["", "settings tried", "chosen"], rows)


KINDS = {"LambdaRank": "LightGBM LambdaRank", "LightGBM": "LightGBM, log loss", "MLP": "MLPs", "ensemble": "ensembles"}
"""How rankers tried on the weeks before the tests are called, by what their names begin with."""


def tried(rankers: dict[str, Any]) -> str:
    """How many of each kind of ranker were tried on the weeks before the tests', and which found most."""
    rows = []
    for prefix, kind in KINDS.items():
        found = {name: of for name, of in rankers.items() if name.startswith(prefix) and name != CALIBRATED}
        if found:
            best = (max(found, key=lambda name: found[name][m]) for m in ("ndcg@10", "recall@20"))
            rows.append([kind, str(len(found)), *best])
    return table(["", "tried", "best by NDCG@10", "best by Recall@20"], rows)


def validated(result: dict[str, Any]) -> str:
    """What was tried on the weeks before the tests': rankers in order of their trial, each held against the first."""
    rows = []
    for name, found in result["rankers"].items():
        cells = []
        for metric in ("ndcg@10", "recall@20"):
            difference, low, high = found["differences"][metric]
            apart = f" ({difference:+.4f}, {low:+.4f} to {high:+.4f})"
            cells.append(f"{found[metric]:.4f}" + ("" if name == result["protocol"]["against"] else apart))
        cells.append(f"{found['explore_recall@20']:.4f}")
        if "log_loss" in found:
            cells += [f"{found['roc_auc']:.4f}", f"{found['pr_auc']:.4f}", f"{found['log_loss']:.5f}"]
            shifted = found.get("calibration_over_base_shifted")
            cells += [f"{found['calibration_over_base']:.1%}", "–" if shifted is None else f"{shifted:.1%}"]
        else:
            cells += ["–"] * 5
        rows.append([name, *cells])
    header = ["", "NDCG@10", "Recall@20", "new, Recall@20", "ROC AUC", "PR AUC", "log loss", "calibration error / base"]
    return table([*header, "after the shift"], rows)


def targets(result: dict[str, Any]) -> str:
    """What the evaluation is held to, and whether it is met."""
    comparisons, base = result["comparisons"], result["classified"]["base_rate"]
    mlp, trees = result["classification"][TAUGHT], result["classification"][LIGHTGBM]
    lowest = min(
        found[m]["difference_interval"][0]
        for name, found in comparisons.items()
        if name in result["tuning"] or name == LAMBDARANK
        for m in ("ndcg@10", "recall@20")
    )
    champion = result["classification"][result["champion"]]
    lines = [
        ("NDCG@10 over personal top frequency", "≥ 1.12", comparisons[PERSONAL]["ndcg@10"]["ratio"], 1.12, 1),
        ("Recall@20 over personal top frequency", "≥ 1.12", comparisons[PERSONAL]["recall@20"]["ratio"], 1.12, 1),
        ("lowest bound of a difference to a baseline", "> 0", lowest, 0.0, 1),
        (
            "new products: Recall@20 over global popularity",
            "≥ 1.5",
            comparisons[POPULARITY]["explore_recall@20"]["ratio"],
            1.5,
            1,
        ),
        ("candidates: recall@500 over attainable", "≥ 0.80", result["candidates"]["share_of_attainable"], 0.8, 1),
        ("MLP's ROC AUC less LightGBM's", "≥ 0", mlp["roc_auc"] - trees["roc_auc"], 0.0, 1),
        ("MLP's PR AUC less LightGBM's", "≥ 0", mlp["pr_auc"] - trees["pr_auc"], 0.0, 1),
        ("MLP's log loss less LightGBM's", "≤ 0", mlp["log_loss"] - trees["log_loss"], 0.0, -1),
        ("MLP's calibration error over base rate", "≤ 0.05", mlp["calibration_error"] / base, 0.05, -1),
        ("champion's calibration error over base rate", "≤ 0.05", champion["calibration_error"] / base, 0.05, -1),
    ]
    rows = [
        [what, bound, f"{value:.4f}", "met" if sign * value >= sign * limit else "missed"]
        for what, bound, value, limit, sign in lines
    ]
    return table(["target", "bound", "measured", ""], rows)


TABLES: Sequence[Callable[[dict[str, Any]], str]] = (
    targets,
    contenders,
    differences,
    weeks,
    candidates,
    sources,
    ablation,
    beyond,
    stages,
    budget,
)


def written(page: str, result: dict[str, Any], records: dict[str, dict[str, Any]]) -> str:
    """The page with the tables anew, of the tests and, by their names, of the records of the weeks before them.

    Raises UserError where a table's place is missing.
    """
    every = {name: found for record in reversed(records.values()) for name, found in record["rankers"].items()}
    before = {name: validated(record) for name, record in records.items()}
    return placed(page, {make.__name__: make(result) for make in TABLES} | before | {"tried": tried(every)})


def ordered(result: dict[str, Any]) -> list[str]:
    """Names of the contenders, the highest NDCG@10 first."""
    return sorted(result["contenders"], key=lambda name: -result["contenders"][name]["whole"]["ndcg@10"]["mean"])


def interval(found: dict[str, Any]) -> str:
    """A mean with its interval."""
    low, high = found["interval"]
    return f"{found['mean']:.4f} ({low:.4f}–{high:.4f})"


def _difference(found: dict[str, Any]) -> str:
    low, high = found["difference_interval"]
    return f"{found['difference']:+.4f} ({low:+.4f} to {high:+.4f}), ×{found['ratio']:.3f}"
