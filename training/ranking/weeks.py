"""Which weeks the ranking evaluation trains, tunes and tests on: a split by time, the same for every contender."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shoprank.errors import UserError
from training.schedule import HORIZON, WEEK


@dataclass(frozen=True)
class Weeks:
    """Cutoffs (naive UTC, ascending) of each purpose.

    train: rankers learn from them. validation: hyper-parameters, early stopping and calibration. test: figures. Every
    label window of train and validation ends at or before the first test cutoff. Raises UserError where one does not.
    """

    train: tuple[datetime, ...]
    validation: tuple[datetime, ...]
    test: tuple[datetime, ...]

    def __post_init__(self) -> None:
        ordered = (*self.train, *self.validation)
        if not (self.train and self.validation and self.test):
            raise UserError("train, validation and test need at least one week each")
        if list(ordered) != sorted(ordered) or max(ordered) + HORIZON > min(self.test):
            raise UserError(
                f"validation at {max(ordered)} sees purchases of {HORIZON.days} days, beyond test at {min(self.test)}"
            )

    @classmethod
    def before(cls, test: tuple[datetime, ...], train: int = 5, validation: int = 2) -> Weeks:
        """The weeks directly before the first test cutoff: `validation` of them, and `train` before those.

        Raises UserError where the calendar has no such weeks.
        """
        first = min(test)
        if train + validation > (first - datetime.min) // WEEK:
            raise UserError(
                f"{train} weeks to train on and {validation} to validate: there are not so many before {first}"
            )
        return cls(
            train=tuple(first - WEEK * n for n in range(train + validation, validation, -1)),
            validation=tuple(first - WEEK * n for n in range(validation, 0, -1)),
            test=tuple(sorted(test)),
        )
