"""A model in three graphs (see `training.towers`): an item's share of it is computed once, not once a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

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


@dataclass(slots=True)
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
        shelf, count = asked[0].items.shelf, 0
        for one in asked:
            if one.items.shelf is not shelf:  # items are being written
                runs = [self.score(one) for one in asked]
                return np.concatenate([p for p, _ in runs]), np.concatenate([z for _, z in runs])
            count += len(one.items.positions)
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
        """The first layer's answers for all candidates, whose rows are on one shelf, in `out`, float32 (n, hidden)."""
        shelf, users = asked[0].items.shelf, [one.user for one in asked]
        times, positions = [one.time for one in asked], [one.items.positions for one in asked]
        ends = list(accumulate(map(len, positions)))
        together = positions[0] if len(asked) == 1 else np.concatenate(positions)
        numbers = np.concatenate([user.numbers for user in users]).reshape(len(users), -1)
        found = affinities_of(users, numbers, shelf.facts, together, ends, times)
        of_users, of_items, of_categories = self._of_users(users, numbers, times, found)
        self.shares.add(shelf, together, ends, of_users, (of_items, of_categories), found, out)
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

    def _of_users(
        self, users: Sequence[UserRow], numbers: F32, times: Sequence[int], found: Affinities
    ) -> tuple[F32, F32, F32]:
        """Shares of users, float32 (users, hidden), and of their items' and categories' affinities, (levels, rows,
        hidden)."""
        contexts = np.concatenate([context_features(time) for time in times]).reshape(len(times), -1)
        feeds = {
            "user_numeric": np.concatenate((numbers, contexts, found.of_users), axis=1),
            "user_categorical": np.concatenate([user.keys for user in users]).reshape(len(users), -1),
            "of_items": found.of_items,
            "of_categories": found.of_categories,
        }
        of_users, of_items, of_categories = self._user.run(OF_USERS, feeds)
        return of_users, of_items, of_categories

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
