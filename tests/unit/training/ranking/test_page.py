"""The page says what was measured."""

from __future__ import annotations

import json
from pathlib import Path

from training.ranking.plots import write_plots
from training.ranking.tables import written
from training.ranking.tried import RECORDS

ROOT = Path(__file__).parents[4]
FOUND = {
    name: json.loads((ROOT / f"benchmarks/results/ranking/{name}.json").read_text()) for name in ("ranking", *RECORDS)
}
RESULT = FOUND.pop("ranking")


def test_the_page_holds_the_figures_of_the_last_run() -> None:
    page = (ROOT / "docs/ranking.md").read_text()
    assert written(page, RESULT, FOUND) == page


def test_both_plots_are_drawn(tmp_path: Path) -> None:
    assert [path.name for path in write_plots(RESULT, tmp_path)] == ["slates.png", "explore.png"]
