"""Has grpcio answer the calls that the gate does not bound, in its own way, once their requests are there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from grpc import _server as private
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # an extension without stubs

from server.process.context import NO_FLAGS

THREADS = 2
"""Threads for the calls of one service; they answer no others, so that health checks wait for no change of a model."""


class Passing:
    """Calls that are taken as they come. state: the server's, whose lock is held when one is taken.

    streams: how many calls whose requests are a stream are open.
    """

    def __init__(self, state: Any) -> None:
        self._state = state
        self.streams = 0
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def take(self, path: str, handler: Any, event: Any) -> None:
        """Wait for the request of a call that has arrived, and have the handler answer it."""
        service = path.rpartition("/")[0]
        pool = self._pools.get(service)
        if pool is None:
            pool = self._pools[service] = ThreadPoolExecutor(THREADS, thread_name_prefix="other")
        call: Any = private._RPCState()  # type: ignore[no-untyped-call]
        self._state.rpc_states.add(call)
        with call.condition:
            event.call.start_server_batch(
                (cygrpc.ReceiveCloseOnServerOperation(NO_FLAGS),), private._receive_close_on_server(call)
            )
            call.due.add(private._RECEIVE_CLOSE_ON_SERVER_TOKEN)
            event.call.start_server_batch(
                (cygrpc.ReceiveMessageOperation(NO_FLAGS),), lambda got: self._received(pool, handler, event, call, got)
            )
            call.due.add(private._RECEIVE_MESSAGE_TOKEN)

    def take_stream(self, path: str, handler: Any, event: Any) -> None:
        """Have the handler answer a call whose requests are a stream, on a thread of the server's own pool."""
        state = self._state
        method = private._RegisteredMethod(path, handler)
        call, done = private._handle_call(event, method, state.interceptor_pipeline, state.thread_pool, False)
        if call is not None:
            state.rpc_states.add(call)
        if done is not None:
            self.streams += 1
            done.add_done_callback(self._ended)

    def _ended(self, done: Any) -> None:
        with self._state.lock:
            self.streams -= 1

    def _received(self, pool: ThreadPoolExecutor, handler: Any, event: Any, call: Any, got: Any) -> Any:
        request = got.batch_operations[0].message()

        def parsed() -> Any:
            try:  # grpcio would log a trace of each that is none
                return request if handler.request_deserializer is None else handler.request_deserializer(request)
            except Exception:
                with call.condition:
                    code = cygrpc.StatusCode.invalid_argument
                    private._abort(call, event.call, code, b"the request's bytes are no message of its type")
            return None

        if request is not None:
            streams = handler.response_streaming
            answer = private._stream_response_in_pool if streams else private._unary_response_in_pool
            pool.submit(
                call.context.run, answer, event, call, handler.unary_stream if streams else handler.unary_unary,
                parsed, handler.request_deserializer, handler.response_serializer,
            )  # fmt: skip
        with call.condition:
            if request is None and call.client is not private._CANCELLED:
                private._abort(call, event.call, cygrpc.StatusCode.unimplemented, b"exactly one request is needed")
            return private._possibly_finish_call(call, private._RECEIVE_MESSAGE_TOKEN)
