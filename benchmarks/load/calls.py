"""Calls of an open loop: when each was due, was sent and has ended."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np

from benchmarks.load.arrivals import F64
from benchmarks.load.outcome import Outcome

HEAD_START = 0.05
IN_FLIGHT = 2_000
"""Calls open at once at most: past that the server is so far behind that waiting for more tells nothing."""


class Calls:
    """One call at each of these moments (n,), in seconds from shortly after now.

    kept: number and reply of every so manieth call. begun, finished: how many were sent, and have ended.
    """

    def __init__(self, moments: F64, keep_every: int) -> None:
        self._moments = moments
        self._start = time.perf_counter() + HEAD_START
        self.due: list[float] = (self._start + moments).tolist()
        self._sent = np.full(len(moments), np.nan)
        self._ended = np.full(len(moments), np.nan)
        self._keep_every = keep_every
        self.kept: list[tuple[int, bytes]] = []
        self.errors: Counter[str] = Counter()
        self.begun = 0
        self.finished = 0

    @property
    def too_many(self) -> bool:
        """Whether the server is so far behind that no more should be sent."""
        return self.begun - self.finished > IN_FLIGHT

    def send(self, number: int) -> None:
        """The call is sent now."""
        self._sent[number] = time.perf_counter()
        self.begun = number + 1

    def end(self, number: int, code: str) -> bool:
        """The call has ended now, with gRPC's code. Returns whether its reply is to be kept."""
        self.finished += 1
        if code != "OK":
            self.errors[code] += 1
            return False
        self._ended[number] = time.perf_counter()
        return number % self._keep_every == 0

    def outcome(self) -> Outcome:
        """What became of all."""
        if unsent := len(self.due) - self.begun:
            self.errors["NOT_SENT"] = unsent
        due, answered = np.array(self.due), np.isfinite(self._ended)
        last = float(self._ended[answered].max()) if answered.any() else self._start
        latency = (self._ended - due)[answered] * 1e3
        late = (self._sent - due)[: self.begun] * 1e3
        seconds = max(last - self._start, float(self._moments[max(self.begun, 1) - 1]))
        return Outcome(seconds, latency, late, errors=self.errors)
