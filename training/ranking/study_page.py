"""The tables of a study's page, from its JSON alone."""

from __future__ import annotations

import re
from typing import Any

from training.evaluate.page import placed, table
from training.ranking.tables import interval, ordered

METRICS = {"ndcg@10": "NDCG@10", "recall@20": "Recall@20"}


def protocol(result: dict[str, Any]) -> str:
    """The data and its weeks."""
    found = result["protocol"]
    rows = [
        ["positives", f"{found['purchases']:,} from {found['first']} to {found['last']}"],
        ["users, items", f"{found['users']:,}, {found['items']:,}"],
        *(
            [f"{name} weeks begin on", ", ".join(found[name])]
            for name in ("train", "validation", "test")
            if name in found
        ),
        ["slates judged", f"{sum(found['slates'])} of {found['distinct_users']} users"],
        ["slates show what the user has", "yes" if found["repeats"] else "no"],
    ]
    return table(["", ""], rows)


def contenders(result: dict[str, Any]) -> str:
    """Every contender's accuracy with its interval, the best NDCG@10 first."""
    rows = []
    for name in ordered(result):
        whole = result["contenders"][name]["whole"]
        cells = [interval(whole[metric]) for metric in METRICS]
        cells += [f"{whole['mrr@10']['mean']:.4f}", f"{whole['hit_rate@10']['mean']:.4f}"]
        rows.append([f"**{name}**" if name in result["comparisons"] else name, *cells])
    return table(["", *METRICS.values(), "MRR@10", "hit rate@10"], rows)


def differences(result: dict[str, Any]) -> str:
    """Ours less each other, with intervals, and what they say."""
    rows = []
    for ours, others in result["comparisons"].items():
        for name in ordered(result):
            if name in others:
                rows.append([ours, name, *(_difference(others[name][metric]) for metric in METRICS)])
    return table(["", "less", *METRICS.values()], rows)


def beyond(result: dict[str, Any]) -> str:
    """What the slates are made of, and the time it takes."""
    rows = []
    for name in ordered(result):
        found, seconds = result["contenders"][name]["beyond_accuracy"], result["contenders"][name]["seconds"]
        cells = [f"{found['coverage']:.1%}", f"{found['novelty']:.2f}", f"{found['diversity']:.3f}"]
        cells += [f"{found['popularity_bias']:.2f}", f"{found['repeat_share']:.0%}", f"{seconds['fit']:.1f}"]
        rows.append([name, *cells])
    return table(["", "coverage", "novelty, bits", "diversity", "popularity bias", "repeat", "fit, s"], rows)


def budget(result: dict[str, Any]) -> str:
    """The settings chosen, of how many, and their NDCG@10 on the validation weeks."""
    rows = []
    for name, found in result["tuning"].items():
        reached = f"{max(found['trials'].values()):.4f}" if found["trials"] else "–"
        rows.append([name, str(max(len(found["trials"]), 1)), f"`{_setting(found['chosen'])}`", reached])
    return table(["", "settings tried", "chosen", "NDCG@10, validation"], rows)


TABLES = (protocol, contenders, differences, beyond, budget)


def written(page: str, result: dict[str, Any]) -> str:
    """The page with every table anew. Raises UserError where a table's place is missing."""
    return placed(page, {make.__name__: make(result) for make in TABLES})


def _setting(chosen: str) -> str:
    """A setting as the page shows it: a blend by its name."""
    blend = re.match(r"Fused\(name='([^']*)'", chosen)
    return blend[1] if blend else chosen


def _difference(found: dict[str, Any]) -> str:
    low, high = found["difference_interval"]
    verdict = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
    return f"{found['difference']:+.4f} ({low:+.4f} to {high:+.4f}), {verdict}"
