"""What a user bought before a moment, as rows of one length: what the user tower reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.retrieval.generator import Users
from training.retrieval.log import F32, F64, I32, PurchaseLog

NONE = -1


@dataclass(frozen=True)
class History:
    """The last purchases of n users in order of time, at the right end of rows of L: items int32 (n, L), positions in
    the catalogue, `NONE` where there are fewer; weights float32 (n, L), halved for each `half_life` days, 0 there."""

    items: I32
    weights: F32

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: slice) -> History:
        """Some of the rows."""
        return History(self.items[rows], self.weights[rows])


@dataclass(frozen=True)
class Histories:
    """Purchases by user and time: items (n,), at (n,) days. starts: int (U + 1,), where each user's begin.

    times: all purchases' days, ascending, (n,), with their users: how many each user had made by a moment.
    """

    items: I32
    at: F64
    starts: npt.NDArray[np.int64]
    times: F64
    users: I32

    @classmethod
    def of(cls, log: PurchaseLog) -> Histories:
        """Sort the log's purchases by user."""
        order = np.argsort(log.users, kind="stable")
        counts = np.bincount(log.users, minlength=log.catalogue.shape[0])
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(log.items[order], log.at[order], starts, log.at, log.users)

    def before(self, moment: float, users: Users, length: int, half_life: float) -> History:
        """The last `length` purchases strictly before `moment` (days) of users at positions (n,).

        A position beyond the catalogue's is a user nobody knows, who bought nothing.
        """
        known = len(self.starts) - 1
        made = np.bincount(self.users[: np.searchsorted(self.times, moment)], minlength=known)
        user = np.minimum(users, known - 1)
        first, count = self.starts[user], np.where(users < known, made[user], 0)
        at = (first + count)[:, None] - length + np.arange(length)
        held = at >= first[:, None]
        held &= (count > 0)[:, None]
        at = np.where(held, at, 0)
        if not len(self.items):
            return empty(len(users), length)
        weights = np.where(held, 0.5 ** ((moment - self.at[at]) / half_life), 0)
        return History(np.where(held, self.items[at], NONE).astype(np.int32), weights.astype(np.float32))


def together(histories: Sequence[History]) -> History:
    """The histories of all users, in order."""
    items, weights = zip(*((h.items, h.weights) for h in histories), strict=True)
    return History(np.concatenate(items), np.concatenate(weights))


def empty(users: int, length: int) -> History:
    """The history of users who bought nothing."""
    return History(np.full((users, length), NONE, np.int32), np.zeros((users, length), np.float32))
