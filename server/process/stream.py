"""A call whose requests and replies are streams, answered a few requests at a time by whichever thread is free.

A thread that waits for the next request would be handed each by the thread that hears of it. This call waits for none:
what there is to answer is told to the gate, and its handler, a generator, goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextvars import Context as Variables
from time import monotonic
from typing import Any, Final

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # an extension without stubs

from server.process.context import NO_FLAGS, AbortError, Context, Forget
from server.process.grpc_private import CODES

log = logging.getLogger(__name__)

MAX_BYTES = 1024 * 1024
"""Bytes of requests that wait, after which no further one is read."""
MORE_FOLLOWS: Final[int] = cygrpc.WriteFlag.buffer_hint
"""Flag of a message that need not go out before the next: several replies cost one write to the connection. Metadata
that is sent with such a message would wait for the next too, and is not taken for sent before."""


class Stream(Context):
    """One call with a stream of requests, read ahead of their answers, and one of replies, sent one after another.

    Its handler has a generator's behaviour. It is given an iterator that never waits: it yields None where no request
    is to be had now, and ends with the requests. After a None the handler sends what it has, and yields None itself; it
    goes on once all its replies were taken by the connection and there is a request again, so that whoever does not
    read is held back. ready: told, with no lock held, when that is so; `go_on` is to be called then, once.
    bound: requests that are read ahead.
    """

    def __init__(self, event: Any, handler: Any, ready: Callable[[Stream], None], bound: int) -> None:
        self._handler = handler
        self._ready = ready
        self._bound = bound
        self._requests: deque[bytes] = deque()
        self._bytes = 0
        self._receiving = self._sending = self._half_closed = self._gone = False
        self._most = 0  # requests that may be taken still
        self._replies: deque[bytes] = deque()
        self._status: Any = None  # once it is known what it ends with
        self._called = True  # whether `go_on` is called, or will be
        self._moved = monotonic()
        self._variables = Variables()
        self._behaviour: Generator[Any, None, None] | None = None
        super().__init__(event, lambda context, request: (None, ()))
        self.watch()

    def allow(self, most: int) -> int:
        """Let so many of its requests be answered by the next `go_on`; returns how many will be, 1 where none waits."""
        self._most = min(most, max(1, len(self._requests)))
        return self._most

    @property
    def begun(self) -> bool:
        """Whether its handler has begun."""
        return self._behaviour is not None

    def go_on(self) -> None:
        """Answer the requests that may be, and begin to send the replies."""
        ended = True
        try:
            ended = self._variables.run(self._went_on)
            code = self._code or grpc.StatusCode.OK
        except Exception as error:
            if not isinstance(error, AbortError):
                self._variables.run(log.exception, "a handler failed")  # where it is known whose ids to hide
                self._code, self._details = grpc.StatusCode.UNKNOWN, f"Exception calling application: {error}".encode()
            code = self._code or grpc.StatusCode.UNKNOWN
        with self._lock:
            self._called = False
            if ended:
                self._status = CODES[code]
            self._send()
            self._read_on()
            wanted = self._wanted()
        if wanted:
            self._ready(self)

    def end(self, code: Any, message: bytes | None = None) -> None:
        """Send the status, in place of replies that were not sent."""
        with self._lock:
            self._replies.clear()
            self._status = code
            self._send()

    def end_if_idle(self, since: float) -> None:
        """End it with DEADLINE_EXCEEDED where nothing came or was taken since then; a caller who takes no replies is
        cancelled. since: by the monotonic clock."""
        with self._lock:
            if self._called or self._ended or self._moved > since:
                return
            if self._sending:  # the status would wait behind the reply
                self._moved = monotonic()
                self._call.cancel()
                return
            self._code, self._details = grpc.StatusCode.DEADLINE_EXCEEDED, b"no request came in time"
            self._gone = True  # to the handler it is the same
            wanted = self._wanted()
        if wanted:
            self._ready(self)

    def _went_on(self) -> bool:
        """Collect the handler's replies up to where it stops; True where that is its end."""
        if self._behaviour is None:
            self._behaviour = self._handler.stream_stream(self._arriving(), self)
        elif self._gone:
            self._behaviour.close()
            return True
        serialize = self._handler.response_serializer
        for reply in self._behaviour:
            if reply is None:
                return False
            self._replies.append(reply if serialize is None else serialize(reply))
        return True

    def _arriving(self) -> Iterator[Any]:
        parse = self._handler.request_deserializer
        while True:
            request = None
            with self._lock:
                if self._requests and self._most:
                    request = self._requests.popleft()
                    self._bytes -= len(request)
                    self._most -= 1
                elif self._half_closed and not self._requests:
                    return
            yield request if request is None or parse is None else parse(request)

    # The lock is held in what follows, up to the events.

    def _wanted(self) -> bool:
        """Whether the handler can go on; whoever is told so lets it."""
        if self._called or self._status is not None:
            return False
        idle = not self._replies and not self._sending and (self._requests or self._half_closed)
        self._called = bool(idle or self._gone)
        return self._called

    def _receive(self) -> None:
        self._receiving = True
        self._due += 1
        super()._receive()

    def _read_on(self) -> None:
        """Have the next request received, while fewer wait than may."""
        if self._receiving or self._half_closed or self._ended:
            return
        if len(self._requests) < self._bound and self._bytes < MAX_BYTES:
            self._receive()

    def _send(self) -> None:
        """Have the next reply sent, or the status beside the last; there is one of them on its way at a time."""
        if self._sending or self._ended:
            return
        operations: list[Any] = []
        if self._replies:
            message = self._replies.popleft()
            flags = MORE_FOLLOWS if self._replies and not self._initial else NO_FLAGS
            operations.append(cygrpc.SendMessageOperation(message, flags))
        last = not self._replies and self._status is not None
        if last:
            operations.append(
                cygrpc.SendStatusFromServerOperation(self._trailing, self._status, self._details, NO_FLAGS)
            )
        if not operations:
            return
        if self._initial:
            operations.append(cygrpc.SendInitialMetadataOperation(None, NO_FLAGS))
        self._call.start_server_batch(operations, self._sent)
        self._initial = False
        self._sending, self._ended = True, last
        self._due += not last  # the status was counted from the beginning

    # Events.

    def _arrived(self, event: Any) -> Forget:
        request = event.batch_operations[0].message()
        with self._lock:
            self._due -= 1
            self._receiving = False
            self._moved = monotonic()
            if request is None:  # so too where the caller has gone, which the core says a moment later
                self._half_closed = True
            else:
                self._requests.append(request)
                self._bytes += len(request)
                self._read_on()
            wanted, over = self._wanted(), not self._due
        if wanted:
            self._ready(self)
        return (self if over else None), ()

    def _sent(self, event: Any) -> Forget:
        with self._lock:
            self._due -= 1
            self._sending = False
            self._moved = monotonic()
            self._send()
            wanted, over = self._wanted(), not self._due
        if wanted:
            self._ready(self)
        return (self if over else None), ()

    def _closed(self, event: Any) -> Forget:
        forget = super()._closed(event)
        with self._lock:
            self._gone = True
            self._requests.clear()
            self._replies.clear()
            wanted = self._wanted()
        if wanted:
            self._ready(self)
        return forget
