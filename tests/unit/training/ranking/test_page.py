"""The page says what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.ranking.plots import write_plots
from training.ranking.tables import SHORT, written

ROOT = Path(__file__).parents[4]
RESULT = json.loads((ROOT / "benchmarks/results/ranking/ranking.json").read_text())


def test_the_page_holds_the_figures_of_the_last_run() -> None:
    page = (ROOT / "docs/ranking.md").read_text()
    assert written(page, RESULT) == page


def test_both_plots_are_drawn(tmp_path: Path) -> None:
    assert [path.name for path in write_plots(RESULT, tmp_path)] == ["slates.png", "explore.png"]


@pytest.mark.parametrize("name", ["movielens", "clickstream"])
def test_the_pages_of_other_data_sets_have_a_place_for_each_of_their_tables(name: str) -> None:
    page = (ROOT / f"docs/ranking-{name}.md").read_text()
    assert RESULT["champion"] in written(page, RESULT, SHORT)
