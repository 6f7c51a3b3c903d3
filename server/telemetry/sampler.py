"""Samples what the model was asked and what it said, and counts it into the reference's bins, off the path."""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from feature_repo.transforms import F32, ItemRows, UserRow, assemble
from server.telemetry import registry
from server.telemetry.layout import LAYOUT
from server.telemetry.references import References
from server.telemetry.registry import Role
from server.telemetry.slot import Slot
from server.telemetry.window import PARTS

if TYPE_CHECKING:
    from server.towers import Asked

WAITING = 256
"""Samples that may wait to be counted."""
SCORES = 256
"""Probabilities of one query that are counted at most."""

PROBABILITY = LAYOUT.places(registry.PROBABILITY)
BOUNDS = np.array(registry.PROBABILITIES)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A sample of a query: one item's row (n = 1) and log-odds, and the log-odds of some of all the items."""

    user: UserRow
    item: ItemRows
    time: int
    logit: float
    logits: F32
    role: Role
    version: int


class Sampler:
    """Takes a row of some queries, to be counted later, by one thread.

    A row of the champion is counted into the window of drift, if its bundle has a reference. rows_per_second: about so
    many at most, at random intervals; 0 for none. window_seconds: what the window spans.
    """

    def __init__(self, slot: Slot, references: References, rows_per_second: float, window_seconds: float) -> None:
        self._slot = slot
        self._references = references
        self._rate = rows_per_second
        self._stretch = window_seconds / PARTS
        self._next = monotonic() if rows_per_second else float("inf")
        self._taken: deque[_Taken] = deque()

    def wants(self) -> bool:
        """Whether it is time for another; then the next time is another."""
        now = monotonic()
        if now < self._next:
            return False
        self._next = now + random.expovariate(self._rate)
        return True

    def take(self, asked: Asked, logits: F32, version: int, role: Role) -> None:
        """Take one item of a query with n ≥ 1 of them, and some of the log-odds, float32 (n,)."""
        if len(self._taken) >= WAITING:
            self._slot.add(LAYOUT.first(registry.DRIFT_DROPPED))
            return
        count = len(logits)
        i = random.randrange(count)
        some = logits[:: max(1, -(-count // SCORES))].copy()
        row = asked.items.shelf.rows.take(asked.items.positions[i : i + 1])
        self._taken.append(_Taken(asked.user, row, asked.time, float(logits[i]), some, role, version))

    def count(self) -> None:
        """Count what was taken so far."""
        while self._taken:
            taken = self._taken.popleft()
            self._count_probabilities(taken)
            if taken.role == "champion":
                self._count_row(taken)

    def _count_probabilities(self, taken: _Taken) -> None:
        at = PROBABILITY[taken.role]
        probabilities = sigmoid(taken.logits)
        buckets = np.bincount(np.searchsorted(BOUNDS, probabilities), minlength=len(BOUNDS) + 1).tolist()
        with self._slot.lock:
            for i, count in enumerate(buckets):
                if count:
                    self._slot.cells[at + i] += count
            self._slot.cells[at + len(buckets)] += float(probabilities.sum())

    def _count_row(self, taken: _Taken) -> None:
        reference = self._references.of(taken.version)
        if reference is None:
            return
        inputs = assemble(taken.user, taken.item, taken.time)
        counts = reference.bins.count(inputs, sigmoid(np.array([taken.logit], np.float32)))
        self._slot.window.add(counts, int(time.time() / self._stretch), taken.version)
        self._slot.add(LAYOUT.first(registry.DRIFT_ROWS))


def sigmoid(logits: F32) -> F32:
    """Probabilities of log-odds, float32 (n,)."""
    with np.errstate(over="ignore"):
        probabilities: F32 = np.float32(1) / (np.float32(1) + np.exp(-logits))
    return probabilities
