"""Says through health checks whether calls can be answered, and looks all the time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from shoprank.errors import ShoprankError

log = logging.getLogger(__name__)


class Readiness:
    """Keeps the health of the server and of each of its services at SERVING while every check passes.

    services: full names; "" is the server. checks: by what they look at; each raises where it is not as it should be.
    every: seconds between looks. told: called when it changes whether all pass.
    """

    def __init__(
        self,
        servicer: health.HealthServicer,
        services: Sequence[str],
        checks: Mapping[str, Callable[[], object]],
        every: float,
        told: Callable[[bool], None] = lambda ready: None,
    ) -> None:
        self._servicer = servicer
        self._services = ("", *services)
        self._checks = dict(checks)
        self._every = every
        self._told = told
        self._ready: bool | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="readiness", daemon=True)

    def start(self) -> None:
        """Look now, and from now on."""
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """Say NOT_SERVING from now on."""
        self._ended.set()
        self._servicer.enter_graceful_shutdown()

    def _watch(self) -> None:
        while not self._ended.wait(self._every):
            self._look()

    def _look(self) -> None:
        wrong = [f"{name}: {error}" for name, check in self._checks.items() if (error := _error(check))]
        ready = not wrong
        if ready == self._ready:
            return
        self._ready = ready
        self._told(ready)
        if not ready:
            log.error("not serving: %s", "; ".join(wrong))
        else:
            log.info("serving")
        for service in self._services:
            self._servicer.set(service, HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING)


def _error(check: Callable[[], object]) -> str:
    """What is wrong; whatever a check raises says so, for health must not keep its last word."""
    try:
        check()
    except ShoprankError as error:
        return str(error) or type(error).__name__
    except Exception as error:
        log.debug("a check failed", exc_info=True)
        return f"{type(error).__name__}: {error}"
    return ""
