"""A model in two graphs (see `training.towers`): an item's share of it is computed once, not once a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from feature_repo.pairs import WIDTH
from feature_repo.schema import OF_ITEM, OF_PAIR, OF_USER
from feature_repo.transforms import I64, ModelInput, UserRow, context_features, pair_features_of
from server.items import Found, Shelf

F32 = npt.NDArray[np.float32]
OUTPUTS = ["probability", "logit"]
_USER_WIDTH = len(OF_USER.numeric)
NO_OWNERS = np.zeros(8_192, np.int64)


@dataclass(frozen=True, slots=True)
class Asked:
    """One user's items to be scored, and the time of it, seconds since 1970 UTC."""

    user: UserRow
    items: Found
    time: int


@dataclass(frozen=True, slots=True)
class Shares:
    """Items' shares of the first layer: float32 (capacity, hidden) beside a shelf's rows, and which are there."""

    shelf: Shelf
    values: F32
    there: npt.NDArray[np.bool_]


class Towers:
    """Scores items for users by the item's graph and the pair's."""

    def __init__(self, item: ort.InferenceSession, pair: ort.InferenceSession) -> None:
        self._item = item
        self.pair = pair
        self._width = int(item.get_outputs()[0].shape[1])
        self._shares: Shares | None = None

    def score(self, asked: Asked) -> tuple[F32, F32]:
        """Calibrated probabilities and log-odds, float32 (n,) each, of one user's items."""
        user, items = asked.user, asked.items
        numbers = np.empty((1, _USER_WIDTH), np.float32)
        numbers[0, : len(user.numbers)] = user.numbers
        numbers[0, len(user.numbers) :] = context_features(asked.time)
        feeds = {
            "user_numeric": numbers,
            "user_categorical": user.keys[None],
            "owner": NO_OWNERS[: len(items)] if len(items) <= len(NO_OWNERS) else np.zeros(len(items), np.int64),
            "pair": pair_features_of(user, items.shelf.facts, items.positions, asked.time),
            "share": self.shares(items.shelf, items.positions),
        }
        probability, logit = self.pair.run(OUTPUTS, feeds)
        return probability, logit

    def score_all(self, asked: Sequence[Asked]) -> tuple[F32, F32]:
        """As `score`, of several users' items one behind the other, in one run of the graph."""
        counts = [len(one.items) for one in asked]
        users = np.empty((len(asked), _USER_WIDTH), np.float32)
        pairs = np.empty((sum(counts), WIDTH), np.float32)
        at = 0
        for row, one in enumerate(asked):
            users[row, : len(one.user.numbers)] = one.user.numbers
            users[row, len(one.user.numbers) :] = context_features(one.time)
            end = at + counts[row]
            pair_features_of(one.user, one.items.shelf.facts, one.items.positions, one.time, pairs[at:end])
            at = end
        feeds = {
            "user_numeric": users,
            "user_categorical": np.stack([one.user.keys for one in asked]),
            "owner": np.repeat(np.arange(len(asked)), counts),
            "pair": pairs,
            "share": self._shares_of(asked),
        }
        probability, logit = self.pair.run(OUTPUTS, feeds)
        return probability, logit

    def whole(self, inputs: ModelInput) -> tuple[F32, F32]:
        """As `score`, of rows of the whole model's input: what golden answers are held against."""
        numeric, categorical = inputs.numeric, inputs.categorical
        share = self._share(numeric[:, OF_ITEM.numeric], categorical[:, OF_ITEM.categorical])
        feeds = {
            "user_numeric": numeric[:, OF_USER.numeric],
            "user_categorical": categorical[:, OF_USER.categorical],
            "owner": np.arange(len(numeric)),
            "pair": numeric[:, OF_PAIR.numeric],
            "share": share,
        }
        probability, logit = self.pair.run(OUTPUTS, feeds)
        return probability, logit

    def shares(self, shelf: Shelf, positions: I64) -> F32:
        """The items' shares, float32 (n, hidden), computed for those that have none yet."""
        kept = self._shares
        if kept is None or kept.shelf is not shelf:
            values = np.empty((shelf.capacity, self._width), np.float32)
            kept = self._shares = Shares(shelf, values, np.zeros(shelf.capacity, np.bool_))
        if not kept.there[positions].all():
            new = positions[~kept.there[positions]]
            kept.values[new] = self._share(shelf.rows.numbers[new], shelf.rows.keys[new, 1:])
            kept.there[new] = True
        chosen: F32 = kept.values.take(positions, axis=0)
        return chosen

    def _shares_of(self, asked: Sequence[Asked]) -> F32:
        """Shares of the items of all, one behind the other: one copy where they are on one shelf."""
        shelf = asked[0].items.shelf
        if all(one.items.shelf is shelf for one in asked):
            return self.shares(shelf, np.concatenate([one.items.positions for one in asked]))
        return np.concatenate([self.shares(one.items.shelf, one.items.positions) for one in asked])

    def _share(self, numbers: F32, keys: npt.NDArray[Any]) -> F32:
        share: F32
        (share,) = self._item.run(["share"], {"item_numeric": numbers, "item_categorical": keys})
        return share
