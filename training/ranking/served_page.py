"""The tables of docs/recommendations.md on the slates that a server gave, from the JSON of their evaluation alone."""

from __future__ import annotations

from typing import Any

from training.evaluate.page import placed, table
from training.ranking.tables import contenders, differences


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


def written(page: str, result: dict[str, Any]) -> str:
    """The page with its tables anew. Raises UserError where a table's place is missing."""
    tables = {
        "served-protocol": protocol(result),
        "served": contenders(result),
        "served-differences": differences(result, ours=result["champion"]),
    }
    return placed(page, tables)
