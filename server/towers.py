"""A model in three graphs (see `training.towers`): an item's share of it is computed once, not once a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from feature_repo.schema import OF_AGE, OF_ITEM, OF_USER, TABLES
from feature_repo.transforms import I64, Affinities, ModelInput, UserRow, affinities_of, context_features
from server.items import Found
from server.shares import Ages, ItemShares, activate
from shoprank.errors import BundleError

F32 = npt.NDArray[np.float32]
OUTPUTS = ["probability", "logit"]
OF_USERS = ["user_share", *(f"{name}_shares" for name, _ in TABLES)]
_ITEM_COLUMNS = ((len(OF_ITEM.numeric), np.float32), (len(OF_ITEM.categorical), np.int64))


@dataclass(frozen=True, slots=True)
class Asked:
    """One user's items to be scored, and the time of it, seconds since 1970 UTC."""

    user: UserRow
    items: Found
    time: int


class Towers:
    """Scores items for users by the graphs of the item, the user and the layers above the first."""

    def __init__(self, item: ort.InferenceSession, user: ort.InferenceSession, top: ort.InferenceSession) -> None:
        self._item = item
        self._user = user
        self.top = top
        self._ages = self._of_ages()
        self.hidden = self._ages.kernel.shape[1]
        self.shares = ItemShares(self._of_items, self._ages)
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
        probability, logit = self.top.run(OUTPUTS, {"hidden": self.first_layer(asked, buffer[:count])})
        self._buffers.append(buffer)
        return probability, logit

    def first_layer(self, asked: Sequence[Asked], out: F32) -> F32:
        """The first layer's answers for all candidates, in `out`, float32 (n, hidden)."""
        found = [affinities_of(one.user, one.items.shelf.facts, one.items.positions, one.time) for one in asked]
        of_users, of_levels = self._of_users(asked, found)
        at, begins = 0, (0, 0)
        for one, mine, of_user in zip(asked, found, of_users, strict=True):
            end = at + len(one.items)
            self.shares.add(one.items, of_user, of_levels, mine, begins, out[at:end])
            at, begins = end, (begins[0] + mine.of_items.shape[2], begins[1] + mine.of_categories.shape[2])
        return out

    def whole(self, inputs: ModelInput) -> tuple[F32, F32]:
        """As `score`, of rows of the whole model's input: what golden answers are held against."""
        numeric, categorical = inputs.numeric, inputs.categorical
        of_user, *of_levels = self._user.run(
            OF_USERS,
            {
                "user_numeric": numeric[:, OF_USER.numeric],
                "user_categorical": categorical[:, OF_USER.categorical],
                **{name: np.stack([numeric[:, part.numeric].T for part in parts]) for name, parts in TABLES},
            },
        )
        of_item = self._of_items(numeric[:, OF_ITEM.numeric], categorical[:, OF_ITEM.categorical])
        hidden = of_item + of_user + np.concatenate(of_levels).sum(axis=0)
        activate(hidden, np.ascontiguousarray(numeric[:, OF_AGE.numeric].T), self._ages.shape, self._ages.kernel)
        probability, logit = self.top.run(OUTPUTS, {"hidden": hidden})
        return probability, logit

    def _of_users(self, asked: Sequence[Asked], found: Sequence[Affinities]) -> tuple[F32, tuple[F32, F32]]:
        """Shares of users, float32 (users, hidden), and of their items' and categories' affinities, (levels, rows,
        hidden)."""
        numbers = [
            part for one, mine in zip(asked, found, strict=True)
            for part in (one.user.numbers, context_features(one.time), mine.of_user)
        ]  # fmt: skip
        feeds = {
            "user_numeric": np.concatenate(numbers).reshape(len(asked), -1),
            "user_categorical": np.concatenate([one.user.keys for one in asked]).reshape(len(asked), -1),
            "of_items": _side_by_side([mine.of_items for mine in found]),
            "of_categories": _side_by_side([mine.of_categories for mine in found]),
        }
        of_users, of_items, of_categories = self._user.run(OF_USERS, feeds)
        return of_users, (of_items, of_categories)

    def _of_ages(self) -> Ages:
        numbers, keys = (np.zeros((1, size), kind) for size, kind in _ITEM_COLUMNS)
        asked = ["share", "age_shape", "age_kernel"]
        share, shape, kernel = self._item.run(asked, {"item_numeric": numbers, "item_categorical": keys})
        if (shape.shape, kernel.shape) != ((5, 2), (4, share.shape[1])):
            found = f"age_shape is {shape.shape} and age_kernel {kernel.shape}"
            raise BundleError(f"item.onnx: {found}, not (5, 2) and (4, {share.shape[1]})")
        return Ages(shape, kernel)

    def _of_items(self, numbers: F32, keys: I64) -> F32:
        share: F32
        (share,) = self._item.run(["share"], {"item_numeric": numbers, "item_categorical": keys})
        return share


def _side_by_side(arrays: Sequence[F32]) -> F32:
    """The arrays joined along their last axis."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)
