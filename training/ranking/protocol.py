"""How a data set is split and read by the ranking evaluation: all that differs from one data set to another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shoprank.errors import UserError
from training.schedule import HORIZON, WEEK, monday, weeks_back

TEST = (datetime(2017, 10, 30), datetime(2017, 11, 13), datetime(2017, 12, 4))
"""Test weeks of the packaged retail data."""


@dataclass(frozen=True)
class Protocol:
    """Test cutoffs (naive UTC), and the weeks before the first of them that train and validate.

    parts: each training week takes every `parts`-th user, in turn. tuned_on: settings are tried on every so many of the
    validation weeks' users. repeats: whether people take an item again; where not, nobody is shown what they have.
    """

    test: tuple[datetime, ...] = TEST
    train: int = 12
    validation: int = 1
    parts: int = 1
    tuned_on: int = 3
    repeats: bool = True


def last_weeks(first: datetime, last: datetime, count: int) -> tuple[datetime, ...]:
    """The last `count` Mondays (naive UTC, ascending) after the first event whose label windows end by the last.

    Raises UserError where `count` is not positive, or there are fewer.
    """
    if count < 1:
        raise UserError(f"{count} test weeks: at least 1 is needed")
    newest = monday(last - HORIZON)
    if count > (there_are := weeks_back(first, newest)):
        raise UserError(f"{count} test weeks: the events from {first} to {last} have {there_are} whole ones")
    return tuple(newest - WEEK * n for n in range(count - 1, -1, -1))
