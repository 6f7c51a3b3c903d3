"""Which weeks train, validate, test and serve: a split by time, never at random."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from feature_repo.paths import DataPaths, write_json
from feature_repo.snapshots import RUN_FEATURES, others, require_current
from shoprank.errors import UserError

HORIZON = timedelta(days=7)
"""The label's window: does the user buy the item within it?"""

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Schedule:
    """Cutoffs (naive UTC, ascending) of each split, and the one whose snapshot is served.

    Every label window of a split ends at or before the first cutoff of the next.
    """

    train: tuple[datetime, ...]
    validation: tuple[datetime, ...]
    test: datetime
    serving: datetime

    @property
    def cutoffs(self) -> tuple[datetime, ...]:
        """Every cutoff a snapshot is needed for, ascending."""
        return tuple(sorted({*self.train, *self.validation, self.test, self.serving}))

    def write(self, paths: DataPaths) -> None:
        """Keep the schedule beside the data, for the stages that follow."""
        write_json(
            paths.schedule,
            {
                "train": [c.isoformat() for c in self.train],
                "validation": [c.isoformat() for c in self.validation],
                "test": self.test.isoformat(),
                "serving": self.serving.isoformat(),
            },
        )

    @classmethod
    def read(cls, paths: DataPaths) -> Schedule:
        """The schedule of the last feature run.

        Raises UserError where there is none or it is damaged, and where a week has no snapshots of the events as they
        were ingested last: nothing is to be learned from features of others.
        """
        if not paths.schedule.is_file():
            raise UserError(f"{paths.schedule}: no such file; {RUN_FEATURES}")
        try:
            fields = json.loads(paths.schedule.read_text())
            schedule = cls(
                train=tuple(map(datetime.fromisoformat, fields["train"])),
                validation=tuple(map(datetime.fromisoformat, fields["validation"])),
                test=datetime.fromisoformat(fields["test"]),
                serving=datetime.fromisoformat(fields["serving"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{paths.schedule}: is damaged; {RUN_FEATURES}") from error
        require_current(paths, schedule.cutoffs)
        return schedule

    def require_snapshots(self, paths: DataPaths) -> None:
        """Raise UserError unless the snapshots are of these weeks, no more, and of the events as they are now."""
        require_current(paths, self.cutoffs)
        for path in others(paths, self.cutoffs):
            advice = f"{RUN_FEATURES}, with the options of its last run"
            raise UserError(f"{path}: is of no week of {paths.schedule}; {advice}")


def monday(moment: datetime) -> datetime:
    """Midnight of the Monday at or before `moment`."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=midnight.weekday())


def weeks_back(first: datetime, cutoff: datetime) -> int:
    """How many cutoffs there are after `first`: `cutoff` and, week by week, those before it."""
    return max(0, -((first - cutoff) // WEEK))


def plan(
    first: datetime,
    last: datetime,
    test: datetime | None = None,
    train_weeks: int = 16,
    validation_weeks: int = 2,
) -> Schedule:
    """Lay the splits out over events from `first` to `last` (naive UTC).

    `test` is the test cutoff; the last Monday whose label window is complete where it is None. Fewer training
    weeks are taken where the events do not reach back far enough. Raises UserError where not even one is left, and
    where `last` or `test` do not lie in the events.
    """
    if last < first:
        raise UserError(f"events that are complete until {last}: none lies before it; the first is of {first}")
    if test and test <= first:
        raise UserError(f"test cutoff {test}: no event lies before it; the first is of {first}")
    test = test or monday(last - HORIZON)
    if test > last - HORIZON:
        raise UserError(f"test cutoff {test}: the events end at {last}, before the label window of 7 days is over")
    validation = tuple(test - WEEK * n for n in range(validation_weeks, 0, -1))
    weeks = min(train_weeks, weeks_back(first, validation[0] - WEEK))
    train = tuple(validation[0] - WEEK * n for n in range(weeks, 0, -1))
    if not train:
        raise UserError(
            f"events from {first} to {last} are too few: test at {test} and {validation_weeks} validation weeks "
            f"before it leave no week to train on"
        )
    return Schedule(train, validation, test, serving=monday(last))
