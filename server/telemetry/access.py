"""A line of the log for calls worth one: failed, slow, or every one where that is asked for; so many a second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import grpc

from server.call import Call
from server.methods import Method
from server.telemetry.recorder import Recorder
from server.telemetry.settings import Telemetry

FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes that say something about the server, and not about the request."""

log = logging.getLogger("shoprank.calls")


class AccessLog:
    """Writes the lines. name_user: what a user is called in them, where they name users at all."""

    def __init__(self, settings: Telemetry, recorder: Recorder, name_user: Callable[[str], str]) -> None:
        self._every = settings.log_calls
        self._slow = settings.slow_seconds
        self._users = settings.log_users
        self._name_user = name_user
        self._recorder = recorder
        self._budget = Budget(settings.log_lines_per_second)

    def wants(self, code: grpc.StatusCode, seconds: float) -> bool:
        """Whether a call that took so long and ended so is worth a line."""
        return self._every or seconds >= self._slow or (code is not grpc.StatusCode.OK and code in FAULTS)

    def write(self, method: Method, call: Call, code: grpc.StatusCode, seconds: float, request: Any) -> None:
        """Write the line of a call, unless there were too many."""
        if not self._budget.spend():
            self._recorder.line_dropped()
            return
        fields: dict[str, Any] = {"method": method.path.removeprefix("/"), "code": code.name}
        fields["seconds"] = round(seconds, 6)
        fields |= {f"{phase}_seconds": round(spent, 6) for phase, spent in call.phases.items()}
        if call.principal:
            fields["principal"] = call.principal
        if self._users and (user := getattr(method.message(request), "user_id", "")):
            fields["user"] = self._name_user(user)
        log.log(logging.WARNING if code in FAULTS else logging.INFO, "call", extra={"fields": fields})


class Budget:
    """So many a second, and as many at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second)
        self._left = self._most
        self._at = monotonic()
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Whether there is one left; it is used then."""
        with self._lock:
            now = monotonic()
            self._left = min(self._most, self._left + (now - self._at) * self._per_second)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True
