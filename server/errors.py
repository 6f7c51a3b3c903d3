"""The one place where errors become gRPC codes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from shoprank.errors import BundleError, FeatureStoreError, InvalidRequest, ShoprankError, UserError

CODES: tuple[tuple[type[ShoprankError], grpc.StatusCode], ...] = (
    (UserError, grpc.StatusCode.INVALID_ARGUMENT),
    (BundleError, grpc.StatusCode.FAILED_PRECONDITION),
    (FeatureStoreError, grpc.StatusCode.UNAVAILABLE),
    (ShoprankError, grpc.StatusCode.INTERNAL),
)

MAX_VIOLATION_BYTES = 3_000
"""Bytes of violations a reply carries: its trailers, encoded, must stay below the 8 KiB that gRPC always takes."""

log = logging.getLogger(__name__)


class Errors(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    """Ends a call whose handler raised with the error's code, message and details."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            _guarded(handler.unary_unary, handler_call_details.method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _guarded(behaviour: Callable[[Any, grpc.ServicerContext], Any], method: str) -> Callable[..., Any]:
    def guarded(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return behaviour(request, context)
        except InvalidRequest as error:
            context.abort_with_status(rpc_status.to_status(bad_request(error)))
        except ShoprankError as error:
            code = next(code for kind, code in CODES if isinstance(error, kind))
            if code is not grpc.StatusCode.INVALID_ARGUMENT:
                log.error("%s: %s", method, error)
            context.abort(code, str(error))
        except Exception:
            log.exception("%s failed", method)
            context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log says more")

    return guarded


def bad_request(error: InvalidRequest) -> status_pb2.Status:
    """INVALID_ARGUMENT with a google.rpc.BadRequest naming every bad field, as many as fit."""
    bad = error_details_pb2.BadRequest()
    for v in error.violations[:100]:
        violation = error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
        if bad.ByteSize() + violation.ByteSize() > MAX_VIOLATION_BYTES:
            break
        bad.field_violations.append(violation)
    details = AnyMessage()
    details.Pack(bad)
    message = "; ".join(f"{v.field} {v.description}" for v in error.violations[:5])
    if len(error.violations) > 5:
        message += f"; and {len(error.violations) - 5} more"
    return status_pb2.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=message, details=[details])
