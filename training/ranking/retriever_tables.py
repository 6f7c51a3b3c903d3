"""The tables of docs/retrievers.md, from the JSON of the evaluation alone."""

from __future__ import annotations

from typing import Any

from training.evaluate.page import placed, table
from training.ranking.tables import interval

METRICS = ("whole", "repeats", "new", "new_of_unowned")


def retrievers(result: dict[str, Any]) -> str:
    """Every retriever alone, the highest recall of new products first."""
    found = result["retrievers"]
    rows = []
    for name in sorted(found, key=lambda n: -found[n]["new_of_unowned"]["mean"]):
        cells = [f"{found[name][m]['mean']:.4f}" for m in METRICS[:3]]
        rows.append([name, *cells, interval(found[name]["new_of_unowned"]), f"{found[name]['fit_seconds']:.0f}"])
    header = ["", "recall@500", "of repeats", "of new products", "of new products, by 500 the household has not"]
    return table([*header, "fit, s"], rows)


def epochs(result: dict[str, Any]) -> str:
    """Recall of the week that stops training, by epoch."""
    rows = [
        [name, *(f"{epoch['recall']:.4f}" for epoch in found["epochs"])]
        for name, found in result["retrievers"].items()
        if "epochs" in found
    ]
    most = max(len(row) for row in rows)
    return table(["epoch", *map(str, range(1, most))], [row + [""] * (most - len(row)) for row in rows])


def blends(result: dict[str, Any]) -> str:
    """The blend, and what each list of towers adds to it."""
    plain, rows = result["blend"]["without"], []
    rows.append(["the blend", "–", *(f"{plain[m]['mean']:.4f}" for m in METRICS)])
    for name, by_weight in result["blend"]["with"].items():
        rows += [[name, weight, *(_difference(found[m]) for m in METRICS)] for weight, found in by_weight.items()]
    header = ["with", "weight", "recall@500", "of repeats", "of new products"]
    return table([*header, "of new products, by 500 the household has not"], rows)


def search(result: dict[str, Any]) -> str:
    """The approximate search beside the exact."""
    found = result["search"]
    rows = [["one matrix product", "1", f"{found['exact_ms']:.2f}"]]
    rows += [
        [f"approximate, {probes} cells", f"{trial['recall']:.4f}", f"{trial['ms']:.2f}"]
        for probes, trial in found["approximate"].items()
    ]
    return table([f"500 of {found['items']:,} items", "recall of the exact 500", "ms a household"], rows)


TABLES = (retrievers, blends, epochs, search)


def written(page: str, result: dict[str, Any]) -> str:
    """The page with the tables anew. Raises UserError where a table's place is missing."""
    return placed(page, {make.__name__: make(result) for make in TABLES})


def _difference(found: dict[str, Any]) -> str:
    low, high = found["difference_interval"]
    return f"{found['mean']:.4f}, {found['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
