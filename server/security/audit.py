"""The audit trail: a line of JSON for every call that needs the role admin, and for calls that were denied."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
from google.protobuf.message import Message

from server import call
from server.errors import code_of
from server.methods import Method
from server.security.pseudonym import Pseudonyms
from server.security.redaction import AUDIT, FIELDS, redacted
from shoprank.errors import UserError

DENIED_PER_SECOND = 10.0
DENIED_BURST = 50.0
MAX_TEXT = 120
MAX_ENTRIES = 8
MAX_DEPTH = 3

audit_log = logging.getLogger(AUDIT)
log = logging.getLogger(__name__)


class AuditFile(WatchedFileHandler):
    """Appends a line at a time by one write, buffers nothing, and opens the file anew when it was rotated away."""

    def emit(self, record: logging.LogRecord) -> None:
        """Append the line. Lines of several processes do not mix: the file is open for appending."""
        line = f"{self.format(record)}\n".encode()
        try:
            self.reopenIfNeeded()
            if self.stream is None or os.write(self.stream.fileno(), line) != len(line):
                raise OSError(f"{self.baseFilename}: no room for a whole line")
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """A line that cannot be written goes to the log instead."""
        log.error("%s: cannot be written; the audit line was: %s", self.baseFilename, record.getMessage())


class Audit:
    """Writes audit lines to the logger `shoprank.audit`, and from there to a file where one is given.

    Raises UserError for a file that cannot be opened.
    """

    def __init__(self, file: Path | None, pseudonyms: Pseudonyms | None) -> None:
        self._pseudonyms = pseudonyms
        self._denied = Allowance(DENIED_PER_SECOND, DENIED_BURST)
        direct(file)

    @contextmanager
    def recorded(self, method: Method, principal: str, request: Any, context: grpc.ServicerContext) -> Iterator[None]:
        """Write down the call that is made inside, with the code it ended with."""
        message = method.message(request)
        unread = "a stream" if method.client_streams else "no message"
        asked = unread if message is None else self.summary(message)
        try:
            yield
        except GeneratorExit:
            self._write("admin", method, principal, grpc.StatusCode.CANCELLED, context, request=asked)
            raise
        except Exception as error:
            self._write("admin", method, principal, code_of(error), context, request=asked)
            raise
        self._write("admin", method, principal, _code(context) or grpc.StatusCode.OK, context, request=asked)

    def denied(self, method: Method, principal: str, error: Exception, context: grpc.ServicerContext) -> None:
        """Write down a call that was refused; past some a second they are counted, and the next line says how many."""
        if (left_out := self._denied.take()) is not None:
            more = {"left_out": left_out} if left_out else {}
            reason = redacted(str(error)) if self._pseudonyms else str(error)
            self._write("denied", method, principal, code_of(error), context, reason=reason, **more)

    def summary(self, request: Message, depth: int = 0) -> dict[str, Any]:
        """The fields that are set, cut short; user ids as pseudonyms, bytes and long lists as how many there are."""
        return {field.name: self._shown(field.name, value, depth) for field, value in request.ListFields()}

    def _shown(self, name: str, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            hidden = self._pseudonyms.of(value) if self._pseudonyms and name in FIELDS else value
            return hidden if len(hidden) <= MAX_TEXT else hidden[:MAX_TEXT] + "…"
        if isinstance(value, bytes):
            return f"{len(value)} bytes"
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)  # JSON has no such numbers
        if isinstance(value, bool | int | float):
            return value
        if isinstance(value, Message):
            return self.summary(value, depth + 1) if depth < MAX_DEPTH else "…"
        if len(value) > MAX_ENTRIES or hasattr(value, "items"):
            return f"{len(value)} entries"
        return [self._shown(name, each, depth) for each in value]

    def _write(
        self,
        event: str,
        method: Method,
        principal: str,
        code: grpc.StatusCode,
        context: grpc.ServicerContext,
        **more: Any,
    ) -> None:
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "principal": principal,
            "method": method.path,
            "code": code.name,
            "peer": context.peer(),
            "request_id": call.current().request_id,
            **more,
        }
        audit_log.info("%s", json.dumps(line, ensure_ascii=True))


def direct(file: Path | None) -> None:
    """Let audit lines go to the file and to it alone, or without one to the log as all else does."""
    for handler in [h for h in audit_log.handlers if isinstance(h, AuditFile)]:
        audit_log.removeHandler(handler)
        handler.close()
    audit_log.setLevel(logging.INFO)
    audit_log.propagate = file is None
    if file is None:
        return
    try:
        opened = AuditFile(file, encoding="utf-8")
    except OSError as error:
        raise UserError(f"audit_file {file}: cannot be opened: {error.strerror}") from error
    opened.setFormatter(logging.Formatter("%(message)s"))
    audit_log.addHandler(opened)


class Allowance:
    """So many a second, and some at once: a token bucket."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst, self._left = per_second, burst, burst
        self._at = monotonic()
        self._refused = 0
        self._lock = threading.Lock()

    def take(self) -> int | None:
        """How many were refused since the last one taken; None where this one is refused."""
        with self._lock:
            now = monotonic()
            self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
            self._at = now
            if self._left < 1:
                self._refused += 1
                return None
            self._left -= 1
            refused, self._refused = self._refused, 0
            return refused


def _code(context: grpc.ServicerContext) -> grpc.StatusCode | None:
    """The code that a handler has set, None where it set none."""
    code: grpc.StatusCode | None = context.code()  # type: ignore[attr-defined]  # stubs lack it
    return code
