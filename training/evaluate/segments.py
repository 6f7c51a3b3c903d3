"""A model's ranking figures with 95 % intervals, whole and by segment of users."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import duckdb
import numpy as np

from feature_repo.files import read_whole
from feature_repo.paths import DataPaths
from training.evaluate.bootstrap import resample
from training.evaluate.ranking import Text, ranking_metrics
from training.evaluate.slates import F64
from training.ingested import events_table

RESAMPLES = 2_000
ATTRIBUTES = ("age", "income", "household_size")
LENGTHS = ((0, "none"), (3, "1–3"), (20, "4–20"), (100, "21–100"), (500, "101–500"))
"""Purchases before the cutoff, at most, and the segment's name."""
LONGEST = "more than 500"
UNKNOWN = "unknown"
SMALLEST = 10
"""Users a segment needs; of fewer nothing is said."""


def segments_of(paths: DataPaths, cutoff: datetime) -> dict[str, dict[str, str]]:
    """Segment of each user by attribute, and by purchases before the cutoff (naive UTC)."""
    with duckdb.connect() as connection:
        counted = connection.execute(
            f"select user_id, count(*) filter (event_time < ?) from {events_table(paths)} "
            "where event_type = 'purchase' group by user_id",
            [cutoff],
        ).fetchall()
    rows = read_whole(paths.users, ["user_id", *ATTRIBUTES]).to_pylist()
    found = {name: {row["user_id"]: row[name] or UNKNOWN for row in rows} for name in ATTRIBUTES}
    found["purchases before"] = {user: _length(count) for user, count in counted}
    return found


def _length(purchases: int) -> str:
    return next((name for most, name in LENGTHS if purchases <= most), LONGEST)


def measured_by_segment(
    top: Mapping[str, Text],
    truth: Mapping[str, frozenset[str]],
    segments: Mapping[str, Mapping[str, str]],
    seed: int = 0,
) -> dict[str, Any]:
    """`whole`, and `slices` by attribute and segment: each users, and by metric mean and interval.

    Every user of `truth` counts; who has no segment is in `unknown`. Segments of fewer than 10 users are left out.
    """
    users = sorted(truth)
    each = [ranking_metrics(top, {user: truth[user]}) for user in users]
    values = {name: np.array([metrics[name] for metrics in each]) for name in each[0]}
    slices: dict[str, dict[str, Any]] = {}
    for attribute, segment in segments.items():
        names = np.array([segment.get(user, UNKNOWN) for user in users])
        counted = {name: int((names == name).sum()) for name in sorted(map(str, np.unique(names)), key=_place)}
        slices[attribute] = {
            name: _figures({metric: v[names == name] for metric, v in values.items()}, seed)
            for name, count in counted.items()
            if count >= SMALLEST
        }
    return {"whole": _figures(values, seed), "slices": slices}


def _place(segment: str) -> tuple[bool, int, bool, str]:
    """Where a segment stands among others: by the first number in its name, those without one first, unknown last."""
    number = re.search(r"\d+", segment)
    return segment == UNKNOWN, int(number[0]) if number else -1, not segment.lower().startswith("under"), segment


def _figures(values: Mapping[str, F64], seed: int) -> dict[str, Any]:
    count = len(next(iter(values.values())))
    resamples = resample(np.arange(count), RESAMPLES, seed)
    figures = {name: {"mean": float(v.mean()), "interval": list(resamples.interval(v))} for name, v in values.items()}
    return {"users": count, "metrics": figures}
