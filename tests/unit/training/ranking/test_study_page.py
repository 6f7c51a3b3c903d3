"""The page of a study says what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.ranking.studies import STUDIES
from training.ranking.study_page import differences, written

ROOT = Path(__file__).parents[4]


def result_of(study: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / f"benchmarks/results/study-{study}/{study}.json").read_text())
    return found


@pytest.mark.parametrize("study", list(STUDIES))
def test_a_page_holds_the_figures_of_the_last_run(study: str) -> None:
    page = (ROOT / f"docs/study-{study}.md").read_text()
    assert written(page, result_of(study)) == page


@pytest.mark.parametrize("study", list(STUDIES))
def test_a_result_is_of_the_contenders_and_settings_that_the_study_names(study: str) -> None:
    result, settings = result_of(study), STUDIES[study]
    assert {c.name for c in settings.contenders} <= set(result["contenders"])
    assert set(result["tuning"]) == {*(c.name for c in settings.contenders), "blend"}
    for contender in settings.contenders:
        trials = result["tuning"][contender.name]["trials"]
        assert len(contender.settings) in (len(trials), 1)
    assert len(result["protocol"]["test"]) == settings.test


def test_a_difference_is_called_one_only_beyond_its_interval() -> None:
    def compared(low: float, high: float) -> dict[str, Any]:
        found = {"difference": (low + high) / 2, "difference_interval": [low, high]}
        return {"ndcg@10": found, "recall@20": found}

    names = ("ours", "weak", "even", "strong")
    result = {
        "contenders": {name: {"whole": {"ndcg@10": {"mean": 0.1}}} for name in names},
        "comparisons": {
            "ours": {"weak": compared(0.01, 0.03), "even": compared(-0.01, 0.01), "strong": compared(-0.03, -0.01)}
        },
    }
    verdicts = [line.split(", ")[-1].removesuffix(" |") for line in differences(result).splitlines()[2:]]
    assert verdicts == ["better", "no difference shown", "worse"]
