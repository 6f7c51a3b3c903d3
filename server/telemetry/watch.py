"""The stage that watches calls: counts, traces and logs each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import getrandbits
from typing import Any, Protocol

import grpc

from server import call
from server.call import Call
from server.methods import Behaviour, Method
from server.telemetry.access import AccessLog
from server.telemetry.recorder import MethodCells, Recorder
from shoprank.errors import FeatureStoreError, Overloaded, TooLate

REQUEST_ID = "x-request-id"
"""Metadata of a call, and of its answer."""
VALID_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class Tracer(Protocol):
    """Follows calls from process to process; see `tracing`."""

    def began(self, method: Method, metadata: Any, request_id: str) -> Call:
        """A call has arrived; what is known of it from now on."""
        ...

    def ended(self, answering: Call, code: grpc.StatusCode) -> None:
        """The call has ended."""
        ...


class Watch:
    """The stage that makes the `Call` and tells of its end. To stand outermost. tracer: None where nobody traces."""

    def __init__(self, recorder: Recorder, access: AccessLog, tracer: Tracer | None = None) -> None:
        self._recorder = recorder
        self._access = access
        self._tracer = tracer

    def __call__(self, method: Method, behaviour: Behaviour) -> Behaviour:
        """The behaviour, watched."""
        watched = _Watched(method, MethodCells.of(method.path), self._recorder, self._access, self._tracer)

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            answering = watched.arrived(context)
            try:
                reply = behaviour(request, context)
            except BaseException as error:
                watched.failed(answering, request, context, error)
                raise
            watched.answered(answering, request, context)
            return reply

        def streaming(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            answering = watched.arrived(context)
            try:
                yield from behaviour(request, context)
            except BaseException as error:
                watched.failed(answering, request, context, error)
                raise
            watched.answered(answering, request, context)

        return streaming if method.server_streams else unary


@dataclass(frozen=True, slots=True)
class _Watched:
    """One method's calls."""

    method: Method
    cells: MethodCells
    recorder: Recorder
    access: AccessLog
    tracer: Tracer | None

    def arrived(self, context: grpc.ServicerContext) -> Call:
        metadata: Any = context.invocation_metadata()
        request_id = given_id(metadata) or f"{getrandbits(64):016x}"
        if self.tracer is None:
            answering = Call(self.method.path, request_id)
        else:
            answering = self.tracer.began(self.method, metadata, request_id)
        call.enter(answering)
        self.recorder.began()
        return answering

    def answered(self, answering: Call, request: Any, context: grpc.ServicerContext) -> None:
        if answering.phases:
            answering.mark("reply")
        code: grpc.StatusCode | None = context.code()  # type: ignore[attr-defined]  # stubs lack it
        self._ended(answering, request, context, grpc.StatusCode.OK if code is None else code)

    def failed(self, answering: Call, request: Any, context: grpc.ServicerContext, error: BaseException) -> None:
        # `errors.translated` ends the call while it handles the error that becomes a code.
        cause = error.__context__
        if isinstance(cause, FeatureStoreError):
            self.recorder.store_failed()
        elif isinstance(cause, Overloaded | TooLate):
            self.recorder.shed("overload" if isinstance(cause, Overloaded) else "deadline")
        self._ended(answering, request, context, failure_code(context))

    def _ended(self, answering: Call, request: Any, context: grpc.ServicerContext, code: grpc.StatusCode) -> None:
        seconds = self.recorder.ended(self.cells, code, answering)
        own, others = (REQUEST_ID, answering.request_id), context.trailing_metadata()
        context.set_trailing_metadata((*others, own) if others else (own,))
        if self.tracer is not None:
            self.tracer.ended(answering, code)
        if self.access.wants(code, seconds):
            self.access.write(self.method, answering, code, seconds, request)


def given_id(metadata: Any) -> str:
    """The id that the caller gave; "" where it gave none, or one that is no id."""
    for key, value in metadata or ():
        if key == REQUEST_ID:
            return value if isinstance(value, str) and VALID_ID.fullmatch(value) else ""
    return ""


def failure_code(context: grpc.ServicerContext) -> grpc.StatusCode:
    """The code that a call ends with whose handler raised, as its caller sees it."""
    if not context.is_active():
        late = context.time_remaining() == 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
    code: grpc.StatusCode | None = context.code()  # type: ignore[attr-defined]  # stubs lack it
    return grpc.StatusCode.UNKNOWN if code is None else code
