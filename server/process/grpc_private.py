"""What is private to grpcio and used here, and whether it is as in the versions tested."""

from __future__ import annotations

import inspect
from typing import Any

import grpc
from grpc import _common
from grpc import _server as private

from shoprank.errors import ShoprankError

CODES: dict[grpc.StatusCode, Any] = getattr(_common, "STATUS_CODE_TO_CYGRPC_STATUS_CODE", {})
"""gRPC's codes as its core has them."""

IN_POOL = ["rpc_event", "state", "behavior", "argument_thunk", "request_deserializer", "response_serializer"]
PARAMETERS = {
    "_RPCState": [],
    "_GenericMethod": ["generic_handlers"],
    "_RegisteredMethod": ["name", "registered_handler"],
    "_abort": ["state", "call", "code", "details"],
    "_handle_call": ["rpc_event", "method_with_handler", "interceptor_pipeline", "thread_pool", "concurrency_exceeded"],
    "_possibly_finish_call": ["state", "token"],
    "_process_event_and_continue": ["state", "event"],
    "_receive_close_on_server": ["state"],
    "_request_registered_call": ["state", "method"],
    "_serve": ["state"],
    "_stop_serving": ["state"],
    "_stream_response_in_pool": IN_POOL,
    "_unary_response_in_pool": IN_POOL,
}
CONSTANTS = (
    "_CANCELLED", "_RECEIVE_CLOSE_ON_SERVER_TOKEN", "_RECEIVE_MESSAGE_TOKEN", "_REQUEST_CALL_TAG", "_ServerStage"
)  # fmt: skip
ATTRIBUTES = (
    "server", "due", "lock", "completion_queue", "rpc_states", "registered_method_handlers", "stage", "thread_pool",
    "interceptor_pipeline", "generic_handlers",
)  # fmt: skip


def checked_state(server: Any) -> Any:
    """The private state of a server. Raises ShoprankError where it, or what uses it, is not as expected."""
    state = getattr(server, "_state", None)
    other = [f"_ServerState.{name}" for name in ATTRIBUTES if not hasattr(state, name)]
    for name, parameters in PARAMETERS.items():
        found = getattr(private, name, None)
        if found is None or list(inspect.signature(found).parameters) != parameters:
            other.append(name)
    other += [name for name in CONSTANTS if not hasattr(private, name)]
    if set(CODES) != set(grpc.StatusCode):
        other.append("STATUS_CODE_TO_CYGRPC_STATUS_CODE")
    if other:
        raise ShoprankError(
            f"grpcio {grpc.__version__} is made differently in {', '.join(other)}, so calls cannot be held back; "
            "install a version that shoprank was tested with, or set SHOPRANK_LIMITS__GATE=false"
        )
    return state
