"""A gRPC server with one handler, in several ways; run by `benchmarks.transport` as a process.

Arguments: transport, handler, port (shared by SO_REUSEPORT), cores.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import grpc.aio

from server.process.bounds import Bounds
from server.process.gate import Gate

METHOD = "/benchmarks.Echo/Echo"
SERVICE, NAME = METHOD[1:].split("/")
REPLY = b"y" * 2_000
HELD_SECONDS, RELEASED_SECONDS = 0.25e-3, 0.08e-3
OWN = "own polling"
"""In the name of a transport: connections are watched by the threads that answer, not by the core's own."""
Handler = Callable[[bytes], bytes]
Option = tuple[str, int]


def empty() -> Handler:
    """Nothing but the reply."""
    return lambda request: REPLY


def working() -> Handler:
    """As long as a ranking of 100 candidates: part of it holds the interpreter's lock, part of it does not."""
    rounds = _times(lambda: sum(range(100)), HELD_SECONDS)
    data = bytes(_times(lambda: hashlib.sha256(bytes(4_096)), RELEASED_SECONDS) * 4_096)

    def handle(request: bytes) -> bytes:
        for _ in range(rounds):
            sum(range(100))
        hashlib.sha256(data)
        return REPLY

    return handle


def _times(work: Callable[[], object], seconds: float) -> int:
    """How often the work fits into the time; the best of several looks, for other processes only slow it."""
    best = min(_taken(work, 500) for _ in range(20))
    return max(1, round(seconds / best))


def _taken(work: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - began) / count


def threads(handler: Handler, port: int, count: int, options: Sequence[Option] = (), gate: bool = False) -> None:
    """grpcio's server on a thread pool, with the method registered; behind the gate, or not."""
    server = grpc.server(ThreadPoolExecutor(count), options=[("grpc.so_reuseport", 1), *options])
    handlers = {NAME: grpc.unary_unary_rpc_method_handler(lambda request, context: handler(request))}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)  # type: ignore[attr-defined]  # stubs lack it
    if gate:
        bounds = Bounds(count, 64, 64, 1.0, 0.0, 1.0, 10.0)
        Gate(server, [METHOD], bounds)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    told_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: told_to_stop.set())
    print("echo: ready", flush=True)
    told_to_stop.wait()
    server.stop(1).wait()


def coroutines(handler: Handler, port: int, loop: str) -> None:
    """grpcio's asyncio server; the handler runs in the loop."""

    async def answer(request: bytes, context: Any) -> bytes:
        return handler(request)

    async def serve() -> None:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
        handlers = {NAME: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        told_to_stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_stop.set)
        print("echo: ready", flush=True)
        await told_to_stop.wait()
        await server.stop(1)

    if loop == "uvloop":
        import uvloop

        uvloop.run(serve())
    else:
        asyncio.run(serve())


HANDLERS: dict[str, Callable[[], Handler]] = {"empty": empty, "working": working}
TRANSPORTS: dict[str, Callable[[Handler, int], None]] = {
    "1 thread": partial(threads, count=1),
    "2 threads": partial(threads, count=2),
    "4 threads": partial(threads, count=4),
    "8 threads": partial(threads, count=8),
    "16 threads": partial(threads, count=16),
    "2 threads, minimal stack": partial(threads, count=2, options=[("grpc.minimal_stack", 1)]),
    "2 threads, no BDP probe": partial(threads, count=2, options=[("grpc.http2.bdp_probe", 0)]),
    "1 thread behind the gate": partial(threads, count=1, gate=True),
    "2 threads behind the gate": partial(threads, count=2, gate=True),
    "4 threads behind the gate": partial(threads, count=4, gate=True),
    f"2 threads, {OWN}": partial(threads, count=2),
    f"1 thread behind the gate, {OWN}": partial(threads, count=1, gate=True),
    f"2 threads behind the gate, {OWN}": partial(threads, count=2, gate=True),
    "asyncio": partial(coroutines, loop="asyncio"),
    "uvloop": partial(coroutines, loop="uvloop"),
}


def main() -> None:
    """Serve until told to stop."""
    transport, handler, port, cores = sys.argv[1:]
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    TRANSPORTS[transport](HANDLERS[handler](), int(port))


if __name__ == "__main__":
    main()
