"""What is told of a user of whom no purchase is known: the keys of its traits, and what sells to those like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from feature_repo.schema import USER_TRAITS, key_of
from feature_repo.transforms import F32, I64, UserRow
from server.retrieval.history import History
from server.retrieval.keys import I32
from server.retrieval.sources import Source

NO_ITEMS: I32 = np.zeros(0, np.int32)
NO_SCORES: F32 = np.zeros(0, np.float32)


def keys_of(traits: Mapping[str, str]) -> I64:
    """Keys of the values of USER_TRAITS, int64 (7,), 0 for those not told."""
    return np.array([key_of(traits[name]) if name in traits else 0 for name in USER_TRAITS], np.int64)


def told(user: UserRow, keys: I64) -> UserRow:
    """The user's row with the keys, int64 (7,), of those traits that it has none of; the store's own stay."""
    return replace(user, keys=np.where(user.keys == 0, keys, user.keys))


def by_traits(source: Source, history: History) -> tuple[I32, F32]:
    """Items of a source of the form `traits`, and their scores; none for a user with a history or without a trait that
    the source knows."""
    if len(history.items):
        return NO_ITEMS, NO_SCORES
    parts = source.arrays
    own = parts["keys"] == history.user.keys[parts["traits"]]
    if not own.any():
        return NO_ITEMS, NO_SCORES
    items: I32 = parts["items"]
    scores: F32 = np.exp(parts["base"] + parts["lifts"][own].sum(axis=0))
    return items, scores
