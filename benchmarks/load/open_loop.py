"""Calls on a schedule, whether or not the former are answered.

Latency counts from the moment a call was due, so a server that stalls is charged for every call that was due meanwhile,
and a generator that is late for what it is late by: there is no coordinated omission (Tene, How NOT to Measure Latency,
2013).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc

from benchmarks.load.arrivals import F64
from benchmarks.load.calls import Calls
from benchmarks.load.http2 import Connection
from benchmarks.load.outcome import Outcome

BEHIND_SECONDS = 1.0
"""Time for which as many calls as may be were open, and more were due, after which a plain client sends no more: a
generator that was held up itself has made up for it by then."""
LOOK_SECONDS = 0.1
Found = tuple[Outcome, list[tuple[int, bytes]]]
"""The outcome, and every so manieth call's number and reply."""


def by_grpcio(
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes],
    requests: Sequence[bytes],
    moments: F64,
    keep_every: int,
    timeout: float,
) -> Found:
    """Send a request at each moment (seconds from now), as a service in Python does."""
    calls = Calls(moments, keep_every)
    all_ended = threading.Condition()

    def ended(number: int, future: Any) -> None:
        with all_ended:
            if calls.end(number, future.code().name):
                calls.kept.append((number, future.result()))
            all_ended.notify()

    for number, due in enumerate(calls.due):
        if (wait := due - time.perf_counter()) > 0:
            time.sleep(wait)
        if calls.too_many:
            break
        calls.send(number)
        call.future(requests[number % len(requests)], timeout=timeout).add_done_callback(partial(ended, number))
    with all_ended:
        all_ended.wait_for(lambda: calls.finished >= calls.begun, timeout + 5)
    return calls.outcome(), calls.kept


def plainly(
    address: str, method: str, requests: Sequence[bytes], moments: F64, keep_every: int, timeout: float
) -> Found:
    """The same over a connection of `http2`, at a small part of the generator's time.

    A call counts as sent when it was begun, though it may wait for one of the connection's places. Its timeout counts
    from the moment it was due.
    """
    calls = Calls(moments, keep_every)
    connection = Connection(address, method)
    number, count, oldest = 0, len(moments), 0
    all_sent = time.perf_counter()
    while number < count or calls.finished < calls.begun:
        now = time.perf_counter()
        while number < count and calls.due[number] <= now and not calls.too_many:
            calls.send(number)
            connection.begin(requests[number % len(requests)])
            number += 1
        if number == count or calls.due[number] > now:
            all_sent = now
        elif now - all_sent > BEHIND_SECONDS:
            count = number
        while oldest < number and calls.due[oldest] + timeout <= now:
            if connection.cancel(oldest):
                calls.end(oldest, grpc.StatusCode.DEADLINE_EXCEEDED.name)
            oldest += 1
        connection.flush()
        soon = calls.due[number] if number < count and not calls.too_many else now + LOOK_SECONDS
        connection.wait(soon - time.perf_counter())
        for answer in connection.answers():
            if calls.end(answer.number, answer.code):
                calls.kept.append((answer.number, answer.reply))
    connection.close()
    return calls.outcome(), calls.kept
