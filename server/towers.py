"""A model in three graphs (see `training.towers`): an item's share of it is computed once, not once a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from feature_repo.schema import OF_AGE, OF_ITEM, OF_LEVELS, OF_USER
from feature_repo.transforms import I64, Affinities, ModelInput, UserRow, affinities_of, context_features
from server.items import Found
from server.shares import ItemShares

F32 = npt.NDArray[np.float32]
OUTPUTS = ["probability", "logit"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One user's items to be scored, and the time of it, seconds since 1970 UTC."""

    user: UserRow
    items: Found
    time: int


class Towers:
    """Scores items for users by the graphs of the item, the user and the pair."""

    def __init__(self, item: ort.InferenceSession, user: ort.InferenceSession, pair: ort.InferenceSession) -> None:
        self._item = item
        self._user = user
        self.pair = pair
        self.hidden = int(item.get_outputs()[0].shape[1])
        self.shares = ItemShares(self._of_items, self.hidden)
        self._buffers: list[F32] = []  # one for each thread that has scored at once; a list's pop and append are atomic

    def score(self, asked: Asked) -> tuple[F32, F32]:
        """Calibrated probabilities and log-odds, float32 (n,) each, of one user's items."""
        return self.score_all((asked,))

    def score_all(self, asked: Sequence[Asked]) -> tuple[F32, F32]:
        """As `score`, of several users' items one behind the other, in one run of the graphs."""
        count = sum(len(one.items) for one in asked)
        try:
            buffer = self._buffers.pop()
        except IndexError:
            buffer = np.empty((count, self.hidden), np.float32)
        if len(buffer) < count:
            buffer = np.empty((count, self.hidden), np.float32)
        probability, logit = self.pair.run(OUTPUTS, self.pair_feeds(asked, buffer[:count]))
        self._buffers.append(buffer)
        return probability, logit

    def pair_feeds(self, asked: Sequence[Asked], share: F32) -> dict[str, F32]:
        """What the pair's graph is given: sums of shares, in `share`, float32 (n, hidden), and the numbers that are
        every candidate's own."""
        found = [affinities_of(one.user, one.items.shelf.facts, one.items.positions, one.time) for one in asked]
        of_users, of_levels = self._of_users(asked, found)
        at = row = 0
        for one, mine, of_user in zip(asked, found, of_users, strict=True):
            end = at + len(one.items)
            self.shares.add(one.items, of_user, of_levels, mine.rows, row, share[at:end])
            at, row = end, row + mine.table.shape[2]
        return {"share": share, "ages": _side_by_side([mine.ages for mine in found])}

    def whole(self, inputs: ModelInput) -> tuple[F32, F32]:
        """As `score`, of rows of the whole model's input: what golden answers are held against."""
        numeric, categorical = inputs.numeric, inputs.categorical
        table = np.zeros((len(OF_LEVELS), max(len(part.numeric) for part in OF_LEVELS), len(numeric)), np.float32)
        for level, part in enumerate(OF_LEVELS):
            table[level, : len(part.numeric)] = numeric[:, part.numeric].T
        of_user, of_levels = self._user.run(
            ["user_share", "level_shares"],
            {
                "user_numeric": numeric[:, OF_USER.numeric],
                "user_categorical": categorical[:, OF_USER.categorical],
                "affinities": table,
            },
        )
        of_item = self._of_items(numeric[:, OF_ITEM.numeric], categorical[:, OF_ITEM.categorical])
        share = of_item + of_user + of_levels.sum(axis=0)
        probability, logit = self.pair.run(OUTPUTS, {"share": share, "ages": numeric[:, OF_AGE.numeric].T})
        return probability, logit

    def _of_users(self, asked: Sequence[Asked], found: Sequence[Affinities]) -> tuple[F32, F32]:
        """Shares of users, float32 (users, hidden), and of their tables of affinities, (levels, rows, hidden)."""
        numbers = [
            part for one, mine in zip(asked, found, strict=True)
            for part in (one.user.numbers, context_features(one.time), mine.of_user)
        ]  # fmt: skip
        feeds = {
            "user_numeric": np.concatenate(numbers).reshape(len(asked), -1),
            "user_categorical": np.concatenate([one.user.keys for one in asked]).reshape(len(asked), -1),
            "affinities": _side_by_side([mine.table for mine in found]),
        }
        of_users, of_levels = self._user.run(["user_share", "level_shares"], feeds)
        return of_users, of_levels

    def _of_items(self, numbers: F32, keys: I64) -> F32:
        share: F32
        (share,) = self._item.run(["share"], {"item_numeric": numbers, "item_categorical": keys})
        return share


def _side_by_side(arrays: Sequence[F32]) -> F32:
    """The arrays joined along their last axis."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)
