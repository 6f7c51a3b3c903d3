"""The server with its own way to shed load, and with the plain ones, for comparison.

Run by `benchmarks.overload` as a process: variant, data, model repository.
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from server import app
from server.methods import Behaviour, Method
from server.process.settings import Limits
from server.settings import Settings
from shoprank.errors import Overloaded

THREADS = 2
INSIDE = THREADS + 8
"""Calls that the plain ways take in: as many as the gate."""


def gated() -> dict[str, Any]:
    """As shipped: calls are held back in the C core, which ends those above the bound."""
    return {}


def unbounded() -> dict[str, Any]:
    """No bound: every call is taken and waits for a thread."""
    return {"threads": THREADS, "limits": Limits(gate=False)}


def counted() -> dict[str, Any]:
    """grpcio's own `maximum_concurrent_rpcs`."""
    make: Callable[..., grpc.Server] = grpc.server
    patched: Any = grpc
    patched.server = lambda pool, options, **_: make(pool, options=options, maximum_concurrent_rpcs=INSIDE)
    return {"threads": THREADS, "limits": Limits(gate=False)}


def staged() -> dict[str, Any]:
    """A stage that counts, behind a pool with threads to spare, as an interceptor would."""
    working = ThreadPoolExecutor(THREADS)
    inside = threading.Semaphore(INSIDE)

    def shed(method: Method, behaviour: Behaviour) -> Behaviour:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            if not inside.acquire(blocking=False):
                raise Overloaded("more calls than can be answered", 1.0)
            try:
                return working.submit(behaviour, request, context).result()
            finally:
                inside.release()

        return answer

    patched: Any = app
    patched.Admission = type("Shed", (), {"of": staticmethod(lambda limits: shed)})
    return {"threads": 32, "limits": Limits(gate=False)}


VARIANTS = {
    "gate": gated,
    "maximum_concurrent_rpcs": counted,
    "a stage that refuses": staged,
    "no bound": unbounded,
}


def main() -> None:
    """Serve until told to stop."""
    variant, data, models = sys.argv[1:]
    logging.getLogger("feast").setLevel(logging.ERROR)
    settings = Settings(data=Path(data), model_repository=Path(models), port=0, clock="snapshot", **VARIANTS[variant]())
    running = app.start(settings)
    gc.freeze()  # as in `serve`
    print(f"shedding: {running.address}", flush=True)
    told_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: told_to_stop.set())
    told_to_stop.wait()
    running.stop()


if __name__ == "__main__":
    main()
