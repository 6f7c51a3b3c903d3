"""When a measurement may be used."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from benchmarks.load.job import Job, outcome_from_line, outcome_to_line
from benchmarks.load.outcome import Outcome


def outcome(count: int = 1_000, late_share: float = 0.0) -> Outcome:
    """A second of calls of 1 to 2 ms, a share of them sent 20 ms late."""
    late = np.where(np.arange(count) < late_share * count, 20.0, 0.1)
    return Outcome(1.0, np.linspace(1, 2, count), late, rate=count, checked=100)


def test_a_run_that_kept_its_schedule_is_valid_and_sustained() -> None:
    summary = outcome().summary()
    assert summary["valid"]
    assert summary["sustained"]
    assert summary["median_ms"] == pytest.approx(1.5)
    assert summary["p99_ms"] == pytest.approx(1.99)


def test_a_run_whose_generator_was_late_is_not_valid_and_says_why() -> None:
    summary = outcome(late_share=0.02).summary()
    assert not summary["valid"]
    assert "could not keep up" in summary["invalid_because"][0]


def test_a_run_with_a_wrong_reply_a_failed_call_or_no_answer_is_not_valid() -> None:
    wrong, failed, empty = outcome(), outcome(), Outcome(1.0, np.zeros(0))
    wrong.wrong = 1
    failed.errors = Counter(UNAVAILABLE=1)
    assert not any(o.summary()["valid"] for o in (wrong, failed, empty))


def test_a_server_that_falls_behind_is_a_valid_measurement_of_a_rate_not_sustained() -> None:
    slow = outcome()
    slow.seconds = 2.0
    summary = slow.summary()
    assert summary["valid"]
    assert not summary["sustained"]


def test_generators_side_by_side_add_up_their_rates() -> None:
    both = Outcome.together([outcome(), outcome()])
    assert both.rate == 2_000
    assert both.achieved == pytest.approx(2_000)


def test_rounds_one_after_another_do_not() -> None:
    both = Outcome.rounds([outcome(), outcome()])
    assert both.rate == 1_000
    assert both.achieved == pytest.approx(1_000)


def test_the_spectrum_shows_no_quantile_that_rests_on_fewer_than_ten_calls() -> None:
    quantiles = [q for q, _ in outcome(1_000).spectrum()]
    assert quantiles[0] == 0.0
    assert max(quantiles) == pytest.approx(0.99)


def test_jobs_and_outcomes_travel_as_lines() -> None:
    job = Job("127.0.0.1:1", "folder", 1.5, rate=20.0, seed=3)
    assert Job.from_line(job.to_line()) == job
    sent = outcome(10)
    sent.errors = Counter(INTERNAL=2)
    back = outcome_from_line(outcome_to_line(sent))
    np.testing.assert_allclose(back.latency, sent.latency, atol=1e-4)
    assert back.errors == sent.errors
    assert "\n" not in outcome_to_line(sent)
