"""What a call costs the generator itself, by the way it is made with grpcio.

Run as `python -m benchmarks.load.cost`; prints microseconds of CPU a call and calls a second of each way, against an
empty handler on the first core, the generator on the last. Ways take turns, each in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks import servers
from benchmarks.cores import generator_cores, server_cores
from benchmarks.load.job import METHOD
from benchmarks.load.traffic import Traffic

CALLS, OPEN_AT_ONCE, ROUNDS = 4_000, 4, 3
REQUEST, REPLY = b"r" * 800, b"a" * 2_000


def by_threads(address: str) -> None:
    """Blocking calls."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)

        def client() -> None:
            for _ in range(CALLS // OPEN_AT_ONCE):
                call(REQUEST)

        threads = [threading.Thread(target=client) for _ in range(OPEN_AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def by_futures(address: str) -> None:
    """Calls whose end is told to a callback."""
    free = threading.Semaphore(OPEN_AT_ONCE)

    def ended(call: Any) -> None:
        call.result()
        free.release()

    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        for _ in range(CALLS):
            free.acquire()
            call.future(REQUEST).add_done_callback(ended)
        for _ in range(OPEN_AT_ONCE):
            free.acquire()


def by_asyncio(address: str) -> None:
    """Coroutines."""

    async def clients() -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)

            async def client() -> None:
                for _ in range(CALLS // OPEN_AT_ONCE):
                    await call(REQUEST)

            await asyncio.gather(*(client() for _ in range(OPEN_AT_ONCE)))

    asyncio.run(clients())


WAYS: dict[str, Callable[[str], None]] = {"threads": by_threads, "futures": by_futures, "asyncio": by_asyncio}


def measure(way: str, address: str) -> dict[str, float]:
    """CPU and rate of one way, in this process."""
    os.sched_setaffinity(0, generator_cores())
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    WAYS[way](address)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_us": spent / CALLS * 1e6, "per_second": CALLS / seconds}


def main() -> None:
    """Measure every way, or with --way and --address one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--address")
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.address)))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="shoprank-") as name:
        folder = Path(name)
        Traffic([REQUEST], [REPLY]).write(folder)
        with servers.floor([folder], server_cores()) as address:
            for _ in range(ROUNDS):
                for way in WAYS:
                    command = [sys.executable, "-m", "benchmarks.load.cost", "--way", way, "--address", address]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    found[way].append(json.loads(done.stdout))
    for way, runs in found.items():
        cpu, rate = (np.median([run[key] for run in runs]) for key in ("cpu_us", "per_second"))
        print(f"{way}: {cpu:.0f} µs of CPU a call, {rate:,.0f} calls/s")


if __name__ == "__main__":
    main()
