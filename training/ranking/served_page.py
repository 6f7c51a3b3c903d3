"""The tables of docs/recommendations.md on the slates that a server gave, from the JSON of their evaluation alone."""

from __future__ import annotations

from typing import Any

from training.evaluate.page import placed, table
from training.ranking.tables import contenders, differences, interval


def protocol(result: dict[str, Any]) -> str:
    """What was asked and judged."""
    found, server, split = result["protocol"], result["server"], result["schedule"]
    rows = [
        ["week begins on", found["cutoff"]],
        ["households asked for", f"{found['households']:,}; of {found['explore_households']:,} something new is truth"],
        ["newest features online", split["serving"]],
        ["model's training weeks begin", f"{split['train'][0]} to {split['train'][-1]}"],
        ["stops early and calibrates on", ", ".join(split["validation"])],
        ["sources of candidates count", f"purchases before {split['serving']}"],
        ["households the store knew", f"{server['users_found']:,}"],
        ["places with what the household had, in slates of new products", f"{found['explore_places_owned']:,}"],
    ]
    return table(["", ""], rows)


def candidates(result: dict[str, Any]) -> str:
    """How much of what was bought is among the candidates of each server."""
    rows = []
    for name, found in result["candidates"].items():
        cells = [interval(found[share]) for share in ("recall", "of_repeats", "of_new")]
        if name != result["champion"]:
            cells = [f"{cell}; {_less(found[share])}" for cell, share in zip(cells, found, strict=True)]
        rows.append([name, *cells, f"{result['median_ms'][name]:.1f}"])
    header = ["candidates of", f"recall@{result['server']['candidates']}", "of repeats", "of new products"]
    return table([*header, "median of a call, ms"], rows)


def _less(found: dict[str, Any]) -> str:
    """The difference from the first server."""
    low, high = found["difference_interval"]
    return f"{found['difference']:+.4f} ({low:+.4f} to {high:+.4f})"


def written(page: str, result: dict[str, Any]) -> str:
    """The page with its tables anew. Raises UserError where a table's place is missing."""
    tables = {
        "served-protocol": protocol(result),
        "served-candidates": candidates(result),
        "served": contenders(result),
        "served-differences": differences(result, ours=result["champion"]),
    }
    return placed(page, tables)
