"""Clients that ask again when they have their answer: the latency of a quiet server, or the most it can answer."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

import grpc
import numpy as np

from benchmarks.load.outcome import Outcome


def run(
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes],
    requests: Sequence[bytes],
    clients: int,
    seconds: float,
    keep_every: int,
    timeout: float,
) -> tuple[Outcome, list[tuple[int, bytes]]]:
    """So many clients for so long; the outcome, and every so manieth call's number and reply."""
    latency: list[list[float]] = [[] for _ in range(clients)]
    kept: list[tuple[int, bytes]] = []
    errors: Counter[str] = Counter()
    start = time.perf_counter()

    def client(which: int) -> None:
        number = which
        while (began := time.perf_counter()) < start + seconds:
            try:
                reply = call(requests[number % len(requests)], timeout=timeout)
            except grpc.RpcError as error:
                errors[error.code().name] += 1
                continue
            latency[which].append(time.perf_counter() - began)
            if number // clients % keep_every == 0:
                kept.append((number, reply))
            number += clients

    threads = [threading.Thread(target=client, args=(which,)) for which in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = np.array([ms for some in latency for ms in some]) * 1e3
    return Outcome(time.perf_counter() - start, taken, errors=errors), kept
