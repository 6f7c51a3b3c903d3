"""The one place where errors become gRPC codes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from server.methods import Behaviour, Method
from shoprank.errors import (
    BundleError,
    Conflict,
    FeatureStoreError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    ShoprankError,
    TooLate,
    TrafficError,
    Unauthenticated,
    UserError,
)

CODES: tuple[tuple[type[ShoprankError], grpc.StatusCode], ...] = (
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (TooLate, grpc.StatusCode.DEADLINE_EXCEEDED),
    (BundleError, grpc.StatusCode.FAILED_PRECONDITION),
    (TrafficError, grpc.StatusCode.FAILED_PRECONDITION),
    (Conflict, grpc.StatusCode.FAILED_PRECONDITION),
    (FeatureStoreError, grpc.StatusCode.UNAVAILABLE),
    (UserError, grpc.StatusCode.INVALID_ARGUMENT),
    (ShoprankError, grpc.StatusCode.INTERNAL),
)
"""The first that an error is of is its code: a model that is not active is nothing wrong with a request."""
FAILURES = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}
"""Codes that say something is wrong here: these errors are logged."""

MAX_VIOLATION_BYTES = 3_000
"""Bytes of violations a reply carries: its trailers, encoded, must stay below the 8 KiB that gRPC always takes."""

MAX_TEXT_BYTES = 700
"""Bytes of a message, which names what was given: it is sent beside the details, and percent-encoded."""

log = logging.getLogger(__name__)


def translated(method: Method, behaviour: Behaviour) -> Behaviour:
    """The stage that ends a call whose handler raised with the error's code, message and details."""

    def unary(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return behaviour(request, context)
        except Exception as error:
            _end(method, context, error)

    def streaming(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from behaviour(request, context)
        except Exception as error:
            _end(method, context, error)

    return streaming if method.server_streams else unary


def code_of(error: Exception) -> grpc.StatusCode:
    """The gRPC code that an error ends a call with."""
    return next((code for kind, code in CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def _end(method: Method, context: grpc.ServicerContext, error: Exception) -> NoReturn:
    """Abort the call with the error's status."""
    if not isinstance(error, ShoprankError):
        if not context.is_active():  # the transport's own way to say that the caller has gone
            raise error
        log.error("%s failed", method.path, exc_info=error)
        context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log says more")
    if (code := code_of(error)) in FAILURES:
        log.error("%s: %s", method.path, error)
    if isinstance(error, InvalidRequest):
        context.abort_with_status(rpc_status.to_status(bad_request(error)))
    if isinstance(error, Overloaded):
        context.abort_with_status(rpc_status.to_status(retry_later(error)))
    context.abort(code, cut(str(error)))


def bad_request(error: InvalidRequest) -> status_pb2.Status:
    """INVALID_ARGUMENT with a google.rpc.BadRequest naming every bad field, as many as fit."""
    bad = error_details_pb2.BadRequest()
    for v in error.violations[:100]:
        violation = error_details_pb2.BadRequest.FieldViolation(field=cut(v.field), description=cut(v.description))
        if bad.ByteSize() + violation.ByteSize() > MAX_VIOLATION_BYTES:
            break
        bad.field_violations.append(violation)
    message = "; ".join(f"{v.field} {v.description}" for v in error.violations[:5])
    if len(error.violations) > 5:
        message += f"; and {len(error.violations) - 5} more"
    return _status(grpc.StatusCode.INVALID_ARGUMENT, message, bad)


def retry_later(error: Overloaded) -> status_pb2.Status:
    """RESOURCE_EXHAUSTED with a google.rpc.RetryInfo."""
    delay = Duration()
    delay.FromNanoseconds(int(error.retry_after * 1e9))
    return _status(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), error_details_pb2.RetryInfo(retry_delay=delay))


def _status(code: grpc.StatusCode, message: str, details: Message) -> status_pb2.Status:
    packed = AnyMessage()
    packed.Pack(details)
    return status_pb2.Status(code=code.value[0], message=cut(message), details=[packed])


def cut(text: str) -> str:
    """As much of the text as a status has room for."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= MAX_TEXT_BYTES:
        return encoded.decode()
    return encoded[:MAX_TEXT_BYTES].decode(errors="ignore") + "…"
