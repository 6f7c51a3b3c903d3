"""A call as it stands between gRPC's core and what answers it, in as few steps as grpcio's core allows.

grpcio's own server makes some ten objects a call and hands each to a thread. This one is the call's state, the context
its handler is given, and the receiver of what the core tells of it, in one object.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context as Variables
from threading import Lock
from typing import Any, Final, NoReturn

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # an extension without stubs

from server.process.grpc_private import CODES

log = logging.getLogger(__name__)

NO_FLAGS: Final = 0
OK: Final = CODES[grpc.StatusCode.OK]
Forget = tuple[Any, Sequence[Callable[[], None]]]
"""What grpcio expects of who is told of an event: a state that is to be forgotten, or None, and what is called then."""
NOTHING: Final[Forget] = (None, ())


class AbortError(Exception):
    """Unwinds a handler that has ended its call."""


class Context(grpc.ServicerContext):
    """One call with one request and one reply. Made when the call has arrived; its request is asked for at once.

    event: of its arrival. received: told of the request, None where none came, and returns what grpcio expects.
    """

    def __init__(self, event: Any, received: Callable[[Context, bytes | None], Forget]) -> None:
        self._event = event
        self._call = event.call
        self._received = received
        self._lock = Lock()
        self._due = 1  # what is sent to it; while it is watched also its end, as the core sees it
        self._watched = self._ended = False
        self._initial = True
        self._code: grpc.StatusCode | None = None
        self._details = b""
        self._trailing: Any = None
        self._callbacks: list[Callable[[], None]] | None = []
        self._receive()

    def watch(self) -> bool:
        """From here on `is_active` tells when the caller goes; before it says True. A call costs less unwatched.

        Nothing happens once the call's end was sent. Returns whether this call of it is the first.
        """
        with self._lock:
            if self._watched or self._ended:
                return False
            self._watched = True
            self._due += 1
            self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(NO_FLAGS),), self._closed)
            return True

    def answer(self, request: bytes, handler: Any) -> None:
        """Have the call answered by a handler of grpcio, and send the answer."""
        parse, serialize = handler.request_deserializer, handler.response_serializer
        variables = Variables()
        try:
            asked = request if parse is None else parse(request)
            reply = variables.run(handler.unary_unary, asked, self)
            message = reply if serialize is None else serialize(reply)
        except Exception as error:
            if not isinstance(error, AbortError):
                variables.run(log.exception, "a handler failed")  # where it is known whose ids to hide
                self._code, self._details = grpc.StatusCode.UNKNOWN, f"Exception calling application: {error}".encode()
            self.end(CODES[self._code or grpc.StatusCode.UNKNOWN])
        else:
            self.end(OK if self._code is None else CODES[self._code], message)

    def end(self, code: Any, message: bytes | None = None) -> None:
        """Send the reply, where there is one, and the status. What is sent to a caller who has gone, the core drops."""
        operations = [cygrpc.SendStatusFromServerOperation(self._trailing, code, self._details, NO_FLAGS)]
        if self._initial:
            operations.append(cygrpc.SendInitialMetadataOperation(None, NO_FLAGS))
        with self._lock:
            self._ended = True
        if not self._watched:  # the core asks for it, at the latest now
            operations.append(cygrpc.ReceiveCloseOnServerOperation(NO_FLAGS))
        if message is not None:
            operations.append(cygrpc.SendMessageOperation(message, NO_FLAGS))
        self._call.start_server_batch(operations, self._sent)

    def _receive(self) -> None:
        self._call.start_server_batch((cygrpc.ReceiveMessageOperation(NO_FLAGS),), self._arrived)

    def _arrived(self, event: Any) -> Forget:
        return self._received(self, event.batch_operations[0].message())

    def _closed(self, event: Any) -> Forget:
        with self._lock:
            self._due -= 1
            callbacks, self._callbacks = self._callbacks or (), None
            return (None if self._due else self), callbacks

    def _sent(self, event: Any) -> Forget:
        with self._lock:
            self._due -= 1
            if not self._watched:
                self._callbacks = None
            return (None, ()) if self._due else (self, ())

    # What a handler is given, as `grpc.ServicerContext` has it.

    def is_active(self) -> bool:
        """Whether somebody waits for the answer."""
        return self._callbacks is not None

    def time_remaining(self) -> float:
        """Seconds until the deadline."""
        return max(float(self._event.call_details.deadline) - time.time(), 0.0)

    def cancel(self) -> None:
        """End the call."""
        self._call.cancel()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have it called when the call ends; False where it has."""
        self.watch()
        with self._lock:
            if self._callbacks is None:
                return False
            self._callbacks.append(callback)
            return True

    def invocation_metadata(self) -> Any:
        """What the caller sent beside the request."""
        return self._event.invocation_metadata

    def peer(self) -> str:
        """Who called: `ipv4:127.0.0.1:4711`."""
        peer: bytes | str = self._call.peer()
        return peer if isinstance(peer, str) else peer.decode()

    def peer_identities(self) -> Any:
        """What the caller's certificate says."""
        return cygrpc.peer_identities(self._call)

    def peer_identity_key(self) -> str | None:
        """Which part of the certificate that is."""
        key: bytes | None = cygrpc.peer_identity_key(self._call)
        return None if key is None else key.decode()

    def auth_context(self) -> Mapping[str, Any]:
        """How the connection is secured."""
        found: Mapping[bytes, Any] | None = cygrpc.auth_context(self._call)
        return {key.decode(): value for key, value in (found or {}).items()}

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send metadata ahead of the reply."""
        if not self._initial:
            raise ValueError("initial metadata was sent already")
        self._initial = False
        operations = (cygrpc.SendInitialMetadataOperation(initial_metadata, NO_FLAGS),)
        self._call.start_server_batch(operations, lambda event: NOTHING)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Metadata that goes with the status."""
        self._trailing = trailing_metadata

    def trailing_metadata(self) -> Any:
        """See `set_trailing_metadata`."""
        return self._trailing

    def abort(self, code: Any, details: str) -> NoReturn:
        """End the call with a status other than OK; raises."""
        self._code, self._details = code, details.encode()
        raise AbortError

    def abort_with_status(self, status: Any) -> NoReturn:
        """As `abort`, with the status' metadata."""
        self._trailing = status.trailing_metadata
        self.abort(status.code, status.details)

    def set_code(self, code: grpc.StatusCode) -> None:
        """The code that the call ends with."""
        self._code = code

    def code(self) -> grpc.StatusCode | None:
        """See `set_code`."""
        return self._code

    def set_details(self, details: str) -> None:
        """What goes with the code."""
        self._details = details.encode()

    def details(self) -> bytes:
        """See `set_details`."""
        return self._details
