"""Turns calls away before they cost much, by a part of grpcio that is private to it.

grpcio's server asks its C core for one call of a method at a time, and for the next as soon as it has handed the last
to a thread pool. However many are waiting already, the pool takes them all in, and whatever is refused later has cost
about as much as an empty call; and a caller that begins calls and never sends a request takes all threads. The gate
asks in grpcio's place, and hands a call over with its request. While as many calls wait for a thread as may, calls are
refused by the thread that receives them, in one step. Beyond so many refusals a second the C core is not asked at all:
calls wait there, and those above the channel argument `grpc.server.max_pending_requests` are ended by it.

Whatever is private stands in this module, and `Gate` raises where it is not as in the versions tested.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from threading import Timer
from typing import Any

import grpc
from grpc import _common
from grpc import _server as private
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # an extension without stubs
from grpc_status import rpc_status

from server.errors import retry_later
from server.process.bounds import FRESH_SECONDS, Allowance, Awaited, Bounds, Crowd
from shoprank.errors import Overloaded, ShoprankError

AT_THE_END = 64
"""Calls of a method that are asked for before the server shuts down: those that wait in the C core are answered."""
AT_HAND = 64
"""Calls of each other method that are asked for ahead, so that the C core need not end any."""
OTHER_THREADS = 2
"""Threads for the other methods, such as health checks."""
NO_FLAGS = 0


class Gate:
    """Bounds the calls of some methods; those of others pass.

    server: not started, with the methods registered. methods: paths, `/package.Service/Name`; they get threads of their
    own, `threads` where they are given. told: called for each call that is refused. Raises ShoprankError where this
    version of grpcio is made differently.
    """

    def __init__(
        self,
        server: grpc.Server,
        methods: Collection[str],
        bounds: Bounds,
        threads: Executor | None = None,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self._state = checked_state(server)
        self._core = self._state.server
        self._threads = threads or ThreadPoolExecutor(bounds.threads, thread_name_prefix="answer")
        self._told = told
        self._others = ThreadPoolExecutor(OTHER_THREADS, thread_name_prefix="other")
        self._bounds = bounds
        self._allowed = Allowance(bounds.refusals)
        self._methods: dict[str, _Method] = {
            path: _Method(self, path, handler, bounded=path in methods)
            for path, handler in self._state.registered_method_handlers.items()
            if not handler.request_streaming
        }
        self._bounded = [method for method in self._methods.values() if method.bounded]
        self._inside = 0
        self._awaited = Awaited[Any](bounds.request_seconds)
        self._timer: Timer | None = None
        self._crowd = Crowd(bounds.queue, bounds.patience)
        self._closing = False
        status = rpc_status.to_status(retry_later(Overloaded("more calls than can be answered", bounds.retry_after)))
        self._refusal = (status.trailing_metadata, cygrpc.StatusCode.resource_exhausted, status.details.encode())
        self._state.server = _Core(self, self._core)
        self.refused = 0

    def request(self, path: str) -> None:
        """grpcio starts to ask for calls of the method. The server's lock is held."""
        method = self._methods.get(path)
        if method is None:  # grpcio's own way for what clients stream
            queue = self._state.completion_queue
            self._core.request_registered_call(queue, queue, path, path)
            return
        for _ in range(max(1, self._room()) if method.bounded else AT_HAND):
            self._ask(method)

    def arrived(self, method: _Method, event: Any) -> tuple[Any, tuple[()]]:
        """The C core hands over a call, or nothing more when it shuts down.

        Returns as grpcio expects of an event: a state to forget, or None.
        """
        with self._state.lock:
            method.asked -= 1
            if not event.success:
                return self._ended(method)
            # A thread is counted until it is done, a moment after its caller has the answer and may ask again.
            full = method.bounded and self._room() <= -self._bounds.threads and not self._closing
            refused = full and self._allowed.left()
            if refused:
                self._refuse(event)
            else:
                self._receive(method, event)
            self._ask_for_more(method)
        return None, ()

    def _room(self) -> int:
        """Calls that may still come in."""
        waiting = self._inside + self._awaited.fresh() - self._bounds.threads
        return (self._bounds.queue if self._crowd.lasts(waiting) else self._bounds.burst) - waiting

    def _receive(self, method: _Method, event: Any) -> None:
        """Wait for the call's request. A thread gets the call with it, and never waits for one that does not come."""
        call: Any = private._RPCState()  # type: ignore[no-untyped-call]
        self._state.rpc_states.add(call)
        with call.condition:
            event.call.start_server_batch(
                (cygrpc.ReceiveCloseOnServerOperation(NO_FLAGS),), private._receive_close_on_server(call)
            )
            call.due.add(private._RECEIVE_CLOSE_ON_SERVER_TOKEN)
            event.call.start_server_batch(
                (cygrpc.ReceiveMessageOperation(NO_FLAGS),), lambda got: self._received(method, event, call, got)
            )
            call.due.add(private._RECEIVE_MESSAGE_TOKEN)
        self._awaited.add(event)
        for overdue in self._awaited.overdue():
            overdue.call.cancel()

    def _received(self, method: _Method, event: Any, call: Any, got: Any) -> Any:
        """The request is there, or will not come."""
        request = got.batch_operations[0].message()
        with self._state.lock:
            self._awaited.remove(event)
            if request is not None:
                self._hand_over(method, event, call, request)
        with call.condition:
            if request is None and call.client is not private._CANCELLED:
                private._abort(call, event.call, cygrpc.StatusCode.unimplemented, b"exactly one request is needed")
            return private._possibly_finish_call(call, private._RECEIVE_MESSAGE_TOKEN)

    def _hand_over(self, method: _Method, event: Any, call: Any, request: bytes) -> None:
        """Have a thread answer."""

        def parsed() -> Any:
            message = _common.deserialize(request, method.handler.request_deserializer)
            if message is None:
                with call.condition:
                    private._abort(call, event.call, cygrpc.StatusCode.internal, b"the request is no message")
            return message

        threads = self._threads if method.bounded else self._others
        future = threads.submit(
            call.context.run, method.answer, event, call, method.behaviour, parsed,
            method.handler.request_deserializer, method.handler.response_serializer,
        )  # fmt: skip
        if method.bounded:
            self._inside += 1
            future.add_done_callback(self._left)

    def _left(self, future: Future[Any]) -> None:
        with self._state.lock:
            self._inside -= 1
            self._ask_for_more()

    def _refuse(self, event: Any) -> None:
        self.refused += 1
        self._told()
        self._allowed.spend()
        self._state.rpc_states.add(event)  # the server does not stop before the refusal was sent
        operations = (  # anew each time: the C core writes into them
            cygrpc.SendInitialMetadataOperation(None, NO_FLAGS),
            cygrpc.ReceiveCloseOnServerOperation(NO_FLAGS),
            cygrpc.SendStatusFromServerOperation(*self._refusal, NO_FLAGS),
        )
        event.call.start_server_batch(operations, lambda _: (event, ()))

    def _ask_for_more(self, method: _Method | None = None) -> None:
        """Ask for as many calls of each method as there is room for, so that a burst need not wait in the C core."""
        if self._closing:
            return
        if method and not method.bounded:
            self._ask(method)
            return
        wanted = self._room()
        if wanted <= 0:
            wanted = min(self._allowed.left(), AT_HAND)  # to refuse them
            self._look_again()
        for bounded in self._bounded:
            while bounded.asked < wanted:
                self._ask(bounded)

    def _look_again(self) -> None:
        """Calls whose request does not come stop counting, and no event says so."""
        if self._inside < self._bounds.threads and self._timer is None:
            self._timer = Timer(FRESH_SECONDS, self._looked_again)
            self._timer.daemon = True
            self._timer.start()

    def _looked_again(self) -> None:
        with self._state.lock:
            self._timer = None
            self._ask_for_more()

    def _ask(self, method: _Method) -> None:
        method.asked += 1
        queue = self._state.completion_queue
        self._core.request_registered_call(queue, queue, method.path, method)

    def close(self) -> None:
        """Ask for all calls that wait; none will come after. The server's lock is held."""
        self._closing = True
        for method in self._methods.values():
            while method.asked < AT_THE_END:
                self._ask(method)

    def _ended(self, method: _Method) -> tuple[Any, tuple[()]]:
        """One of those asked for was not needed. After the last the server may stop."""
        if method.asked:
            return None, ()
        self._state.due.discard(method.path)
        self._state.rpc_states.add(method)  # grpcio looks whether it can stop when it forgets a state
        return method, ()


class _Method:
    """A method of the server. Called with an event of the C core, as grpcio calls the tags of its own."""

    def __init__(self, gate: Gate, path: str, handler: Any, bounded: bool) -> None:
        self._gate = gate
        self.path = path
        self.handler = handler
        self.bounded = bounded
        self.asked = 0
        streams = handler.response_streaming
        self.behaviour = handler.unary_stream if streams else handler.unary_unary
        self.answer = private._stream_response_in_pool if streams else private._unary_response_in_pool

    def __call__(self, event: Any) -> tuple[Any, tuple[()]]:
        return self._gate.arrived(self, event)


class _Core:
    """The C core's server as grpcio sees it."""

    def __init__(self, gate: Gate, core: Any) -> None:
        self._gate = gate
        self._core = core

    def request_registered_call(self, call_queue: Any, server_queue: Any, method: str, tag: str) -> None:
        self._gate.request(method)

    def shutdown(self, queue: Any, tag: Any) -> None:
        self._gate.close()
        self._core.shutdown(queue, tag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)


IN_POOL = ["rpc_event", "state", "behavior", "argument_thunk", "request_deserializer", "response_serializer"]
PARAMETERS = {
    "_RPCState": [],
    "_abort": ["state", "call", "code", "details"],
    "_possibly_finish_call": ["state", "token"],
    "_process_event_and_continue": ["state", "event"],
    "_receive_close_on_server": ["state"],
    "_request_registered_call": ["state", "method"],
    "_stream_response_in_pool": IN_POOL,
    "_unary_response_in_pool": IN_POOL,
}
CONSTANTS = ("_CANCELLED", "_RECEIVE_CLOSE_ON_SERVER_TOKEN", "_RECEIVE_MESSAGE_TOKEN")
ATTRIBUTES = ("server", "due", "lock", "completion_queue", "rpc_states", "registered_method_handlers")


def checked_state(server: Any) -> Any:
    """The private state of a server. Raises ShoprankError where it, or what uses it, is not as expected."""
    state = getattr(server, "_state", None)
    other = [f"_ServerState.{name}" for name in ATTRIBUTES if not hasattr(state, name)]
    for name, parameters in PARAMETERS.items():
        found = getattr(private, name, None)
        if found is None or list(inspect.signature(found).parameters) != parameters:
            other.append(name)
    other += [name for name in CONSTANTS if not hasattr(private, name)]
    if other:
        raise ShoprankError(
            f"grpcio {grpc.__version__} is made differently in {', '.join(other)}, so calls cannot be held back; "
            "install a version that shoprank was tested with, or set SHOPRANK_LIMITS__GATE=false"
        )
    return state
