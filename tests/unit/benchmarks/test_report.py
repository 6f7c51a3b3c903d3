"""The targets and the tables of docs/benchmarks.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report, targets

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "benchmarks/results"


def test_a_bound_is_kept_to_the_letter() -> None:
    at_least, at_most, above = (targets.Target("r", sense, 2.0, "") for sense in (">=", "<=", ">"))
    assert at_least.met(2.0)
    assert not at_least.met(1.99)
    assert at_most.met(2.0)
    assert not at_most.met(2.01)
    assert not above.met(2.0)


def test_a_target_that_was_not_measured_is_not_met(tmp_path: Path) -> None:
    assert {verdict for *_, verdict in targets.lines(targets.measured(tmp_path))} == {"not measured"}


def test_ratios_of_all_result_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "serving.json").write_text(json.dumps({"ratios": {"rank_100_lmdb_throughput_over_empty": 0.6}}))
    (tmp_path / "peers.json").write_text(json.dumps({"ratios": {"rank_100_lmdb_throughput_over_mlserver": 0.5}}))
    verdicts = [verdict for *_, verdict in targets.lines(targets.measured(tmp_path))]
    assert verdicts.count("met") == 1
    assert verdicts.count("missed") == 1


@pytest.mark.parametrize("page", report.PLACES)
def test_the_tables_of_a_page_are_those_of_the_results(page: Path) -> None:
    text = (ROOT / page).read_text()
    assert report.write_tables(text, RESULTS, report.PLACES[page]) == text


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(SystemExit, match="0 places for"):
        report.write_tables("", RESULTS)
