"""The tables of docs/cold-start.md, from the JSON of the evaluation alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from training.evaluate.page import placed, table
from training.ranking.cold_users import WHOLE
from training.ranking.tables import interval

METRICS = {"ndcg@10": "NDCG@10", "recall@20": "Recall@20"}
RECALLS = {"recall@10": "Recall@10", "recall@20": "Recall@20", "recall@100": "Recall@100"}


def protocol(result: dict[str, Any]) -> str:
    """What is measured on."""
    found = result["protocol"]
    rows = [
        ["weeks begin on", ", ".join(found["cutoffs"])],
        ["households", f"{found['households']:,}; of {found['with_traits']:,} something is told"],
        ["slates of unknown households", _slates(result["unknown"])],
        ["first baskets", _slates(result["moments"])],
        ["slates of households of few trips", _slates(result["trips"][WHOLE])],
        *(
            [f"new items: {name}", f"{_counts(result['items'][kind]['items'])}; {_slates(result['items'][kind])}"]
            for kind, name in (("recent", "first sold in 28 days"), ("unsold", "never sold before"))
        ),
    ]
    return table(["", ""], rows)


def unknown(result: dict[str, Any]) -> str:
    """Popularity by what households told of themselves."""
    return _compared(result["unknown"], METRICS)


def moments(result: dict[str, Any]) -> str:
    """Popularity at the moment of the first basket."""
    return _compared(result["moments"], METRICS)


def trips(result: dict[str, Any]) -> str:
    """NDCG@10 of every contender by the number of trips that are known."""
    return _by_trips(result["trips"], "ndcg@10")


def trips_recall(result: dict[str, Any]) -> str:
    """Recall@20 of every contender by the number of trips that are known."""
    return _by_trips(result["trips"], "recall@20")


def differences(result: dict[str, Any]) -> str:
    """What each contender is above global popularity, by the number of trips that are known."""
    runs = {run: found["contenders"] for run, found in result["trips"].items() if run != WHOLE}
    baseline = result["trips"][WHOLE]["baseline"]
    rows = [
        [contender, *(_difference(found[contender]["ndcg@10"]) for found in runs.values())]
        for contender in result["trips"][WHOLE]["contenders"]
        if contender != baseline
    ]
    return table([f"NDCG@10 above {baseline}", *(_trips(run) for run in runs)], rows)


def recent(result: dict[str, Any]) -> str:
    """Recall among items first sold in 28 days."""
    return _compared(result["items"]["recent"], RECALLS, shown="recall@20")


def unsold(result: dict[str, Any]) -> str:
    """Recall among items never sold before."""
    return _compared(result["items"]["unsold"], RECALLS, shown="recall@20")


TABLES: Sequence[Callable[[dict[str, Any]], str]] = (
    protocol,
    unknown,
    moments,
    trips,
    trips_recall,
    differences,
    recent,
    unsold,
)


def written(page: str, result: dict[str, Any]) -> str:
    """The page with every table anew. Raises UserError where a table's place is missing."""
    return placed(page, {make.__name__: make(result) for make in TABLES})


def _by_trips(runs: Mapping[str, Any], metric: str) -> str:
    rows = [
        [contender, *(interval(found["contenders"][contender][metric]) for found in runs.values())]
        for contender in runs[WHOLE]["contenders"]
    ]
    return table([METRICS[metric], *map(_trips, runs)], rows)


def _compared(found: dict[str, Any], metrics: Mapping[str, str], shown: str = "ndcg@10") -> str:
    """Contenders with intervals, and what one metric is above the baseline's."""
    baseline = found["baseline"]
    rows = []
    for name, figures in found["contenders"].items():
        cells = [interval(figures[metric]) for metric in metrics]
        rows.append([name, *cells, "–" if name == baseline else _difference(figures[shown])])
    return table(["", *metrics.values(), f"{metrics[shown]} above {baseline}"], rows)


def _difference(found: dict[str, Any]) -> str:
    low, high = found["difference_interval"]
    return f"{found['difference']:+.4f} ({low:+.4f} to {high:+.4f})"


def _trips(run: str) -> str:
    return "whole history" if run == WHOLE else f"{run} trip{'' if run == '1' else 's'}"


def _slates(found: dict[str, Any]) -> str:
    return f"{found['slates']:,} of {found['households']:,} households"


def _counts(items: Sequence[int]) -> str:
    return ", ".join(f"{count:,}" for count in items) + " items"
