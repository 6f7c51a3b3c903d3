"""Calls on a schedule, whether or not the former are answered.

Latency counts from the moment a call was due, so a server that stalls is charged for every call that was due meanwhile,
and a generator that is late for what it is late by: there is no coordinated omission (Tene, How NOT to Measure Latency,
2013).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc
import numpy as np

from benchmarks.load.arrivals import F64
from benchmarks.load.outcome import Outcome

HEAD_START = 0.05
IN_FLIGHT = 2_000
"""Calls open at once at most: past that the server is so far behind that waiting for more tells nothing."""


class Answers:
    """Takes answers as they come: when, whether right, and some of them whole."""

    def __init__(self, count: int, keep_every: int) -> None:
        self.ended = np.full(count, np.nan)
        self.kept: list[tuple[int, bytes]] = []
        self.errors: Counter[str] = Counter()
        self.finished = 0
        self.all_finished = threading.Condition()
        self._keep_every = keep_every

    def take(self, number: int, call: Any) -> None:
        """The callback of a call."""
        now = time.perf_counter()
        if call.code() is grpc.StatusCode.OK:
            self.ended[number] = now
            if number % self._keep_every == 0:
                self.kept.append((number, call.result()))
        else:
            self.errors[call.code().name] += 1
        with self.all_finished:
            self.finished += 1
            self.all_finished.notify()

    def wait(self, count: int, seconds: float) -> None:
        """Until so many calls have ended, or so long."""
        with self.all_finished:
            self.all_finished.wait_for(lambda: self.finished >= count, seconds)


def run(
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes],
    requests: Sequence[bytes],
    moments: F64,
    keep_every: int,
    timeout: float,
) -> tuple[Outcome, list[tuple[int, bytes]]]:
    """Send a request at each moment (seconds from now); the outcome, and every so manieth call's number and reply."""
    answers = Answers(len(moments), keep_every)
    sent = np.full(len(moments), np.nan)
    start = time.perf_counter() + HEAD_START
    open_calls = 0
    for i, moment in enumerate(moments):
        if (wait := start + moment - time.perf_counter()) > 0:
            time.sleep(wait)
        if i - answers.finished > IN_FLIGHT:
            break
        sent[i] = time.perf_counter()
        call.future(requests[i % len(requests)], timeout=timeout).add_done_callback(partial(answers.take, i))
        open_calls = i + 1
    answers.wait(open_calls, timeout + 5)
    if unsent := len(moments) - open_calls:
        answers.errors["NOT_SENT"] = unsent
    due = start + moments
    answered = np.isfinite(answers.ended)
    last = float(answers.ended[answered].max()) if answered.any() else start
    latency = (answers.ended - due)[answered] * 1e3
    late = (sent - due)[:open_calls] * 1e3
    return Outcome(max(last - start, float(moments[-1])), latency, late, errors=answers.errors), answers.kept
