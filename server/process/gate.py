"""Turns calls away before they cost much, and answers the others on the thread that hears of them.

grpcio's server asks its C core for one call of a method at a time, and for the next as soon as it has handed the last
to a thread pool. However many are waiting already, the pool takes them all in, and whatever is refused later has cost
about as much as an empty call; and a caller that begins calls and never sends a request takes all threads. The gate
asks in grpcio's place. While as many calls wait for a thread as may, calls are refused by the thread that receives
them, in one step. Beyond so many refusals a second the C core is not asked at all: it ends calls, all but those that
may wait there by the channel argument `grpc.server.max_pending_requests`.

The threads that answer are those that take events from the core, one more than may answer at once, so that one is
always free to hear of the next call. Handing a call from a thread of events to one of a pool, and its reply back, costs
more than an empty call does without. Calls that wait when the thread is free are answered side by side (`together`),
and the requests of streams (`stream`) that wait beside them.

Whatever is private to grpcio stands here, in `context`, `core`, `events`, `passing`, `refusals`, `stream`,
`unknown` and `grpc_private`; `Gate` raises where it is not as in the versions tested.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable
from functools import partial
from time import perf_counter
from typing import Any, TypeAlias

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # an extension without stubs

from server.process.again import Again
from server.process.bounds import FRESH_SECONDS, Allowance, Awaited, Bounds
from server.process.context import NOTHING, Context, Forget
from server.process.core import Core
from server.process.events import Events
from server.process.gated import Gated
from server.process.grpc_private import checked_state
from server.process.overdue import Overdue, watch_late
from server.process.passing import Passing
from server.process.refusals import Refusals
from server.process.room import Room
from server.process.stream import Stream
from server.process.together import side_by_side
from server.process.turn import OVERDUE_SECONDS, step_aside
from server.process.unknown import Unknown

AT_THE_END = 64
"""Calls of a method that are asked for before the server shuts down: those that wait in the C core are answered."""
SIDE_BY_SIDE = 10
"""Calls at most that one thread answers side by side."""
AT_HAND = 96
"""Calls of a method that are asked for ahead at most: nearly all that one connection may begin in a moment, but not
all. Where they take long, other calls of that connection, such as health checks, must get through. So many of each that
is not bounded, so that none is ended."""

log = logging.getLogger(__name__)


class Gate:
    """Bounds the calls of some methods; those of others pass.

    server: not started, with the methods registered. methods: paths, `/package.Service/Name`, of methods with one
    request and one reply. refused: called for each call that is refused. queued: told how many seconds a call waited
    for a thread. brief: those of the methods that take so little time that calls are answered side by side; one that
    takes longer has to say so (`together.apart`). streams: methods whose requests and replies are streams, and whose
    handlers are as `stream.Stream` has it; those of other methods whose requests are a stream are answered in grpcio's
    own way. awake_seconds: see `Wakefulness`. Raises ShoprankError where this version of grpcio is made differently.
    """

    def __init__(
        self,
        server: grpc.Server,
        methods: Collection[str],
        bounds: Bounds,
        refused: Callable[[], None] = lambda: None,
        queued: Callable[[float], None] = lambda seconds: None,
        brief: Collection[str] = (),
        streams: Collection[str] = (),
        awake_seconds: float = 0.0,
    ) -> None:
        self._state = checked_state(server)
        self._core = self._state.server
        self._queued = queued
        self._passing = Passing(self._state)
        self._bounds = bounds
        self._refusals = Refusals(self._state.rpc_states, bounds, refused)
        self._methods: dict[str, Gated] = {
            path: Gated(self, path, handler, bounded=path in methods, brief=path in brief, streams=path in streams)
            for path, handler in self._state.registered_method_handlers.items()
        }
        self._bounded = [method for method in self._methods.values() if method.bounded]
        self._busy = 0  # threads that answer
        self._answering: set[Context] = set()
        self._streams: set[Stream] = set()
        self._waiting: deque[Waiting] = deque()
        self._awaited = Awaited[Context](bounds.request_seconds)
        self._overdue = Overdue(bounds, self._awaited, self._streams)
        self._again = Again(self._state.lock, FRESH_SECONDS, self._ask_again)
        self._room = Room(bounds)
        self._closing = False
        self._state.server = Core(self, self._core)
        self._unknown = Unknown(
            self._state, self._ask_for_unknown, self._again.soon, AT_HAND, Allowance(bounds.refusals)
        )
        self._events = Events(self._state, Gated, self._answer_some, self._watch_late, self._idle, awake_seconds)

    def start(self) -> None:
        """The server starts: from now on there are events.

        The core ends what comes before it is asked, so one call of each method is asked for first.
        """
        self._core.start()
        for method in self._methods.values():
            self._ask(method)
        self._ask_again()
        self._ask_up_to(AT_HAND, [method for method in self._methods.values() if not method.bounded])
        self._events.start(self._bounds.threads + 1)

    def arrived(self, method: Gated, event: Any) -> Forget:
        """The C core hands over a call, or nothing more when it shuts down."""
        with self._state.lock:
            method.asked -= 1
            if self._closing and not method.asked:
                self._state.due.discard(method.path)  # whichever is heard of last, a call or that there is none
            if not event.success:
                return self._ended(method)
            if method.bounded:
                self._take_in(method, event)
                return NOTHING
            if not method.handler.request_streaming:
                self._passing.take(method.path, method.handler, event)
            elif len(self._streams) + self._passing.streams >= self._bounds.streams:
                self._refusals.refuse(event)
            elif method.streams:
                self._open(method, event)
            else:
                self._passing.take_stream(method.path, method.handler, event)
            if not self._closing:
                self._ask(method)
        return NOTHING

    def _take_in(self, method: Gated, event: Any) -> None:
        """Take a call in, or refuse it where there are too many, and ask for the next of its method."""
        left = self._left(coming=1)
        if not method.asked:  # the core may be ending calls
            self._room.crowd.full()
        if self._room.over(left) and not self._closing and self._refusals.left():
            self._refusals.refuse(event)
            left += 1
        else:
            self._receive(method, event)
        if not self._closing:
            self._ask_up_to(left, (method,))

    def _left(self, coming: int = 0) -> int:
        """Calls that may still come in, beside those that are coming now."""
        return self._room.left(self._busy, len(self._waiting) + self._awaited.fresh(), coming)

    def _receive(self, method: Gated, event: Any) -> None:
        """Wait for the call's request. No thread waits for one that does not come."""
        context = Context(event, method.received)
        self._state.rpc_states.add(context)
        self._awaited.add(context)
        if self._overdue.due():
            self._overdue.end()

    def _open(self, method: Gated, event: Any) -> None:
        """Begin a stream."""
        stream = Stream(event, method.handler, method.ready, self._bounds.read_ahead)
        stream.add_callback(partial(self._streams.discard, stream))
        self._state.rpc_states.add(stream)
        self._streams.add(stream)
        self._waiting.append((method, stream, b"", perf_counter()))

    def ready(self, method: Gated, stream: Stream) -> None:
        """A stream can go on."""
        with self._state.lock:
            self._waiting.append((method, stream, b"", perf_counter()))

    def received(self, method: Gated, context: Context, request: bytes | None) -> Forget:
        """The request is there, or will not come."""
        with self._state.lock:
            self._awaited.remove(context)
            if request is not None:
                self._waiting.append((method, context, request, perf_counter()))
                return NOTHING
        context.set_details("exactly one request is needed")
        context.end(cygrpc.StatusCode.unimplemented)
        return NOTHING

    def _answer_some(self) -> bool:
        """Answer the call that has waited longest, and others beside it. Returns whether more wait for a thread."""
        with self._state.lock:
            if not self._waiting or self._busy == self._bounds.threads:
                return False
            taken = self._taken()
            self._busy += 1
            self._answering.update(context for _, context, _, _ in taken)
        if perf_counter() - taken[0][3] > OVERDUE_SECONDS:
            watch_late([context for _, context, _, _ in taken])
        began = perf_counter()
        if len(taken) > 1:
            side_by_side([partial(self._answer, *one) for one in taken])
        else:
            if not taken[0][0].brief:
                taken[0][1].watch()
                step_aside()
            self._answer(*taken[0])
        with self._state.lock:
            self._busy -= 1
            self._room.pace.add(len(taken), perf_counter() - began)
            self._ask_for_more()
            return bool(self._waiting)

    def _idle(self) -> None:
        """No event is at hand: see whether there is nothing to do, and whose time is over."""
        if self._overdue.due():
            with self._state.lock:
                self._overdue.end()
        if self._room.crowd.lasting:
            with self._state.lock:
                if not (self._waiting or self._busy):
                    self._room.crowd.idle()

    def _taken(self) -> list[Waiting]:
        """Calls to be answered by one thread. Those left are watched, unless their turn comes before a caller goes."""
        waiting, left = self._waiting, SIDE_BY_SIDE
        taken: list[Waiting] = []
        while waiting and left and (not taken or (taken[0][0].brief and waiting[0][0].brief)):
            taken.append(waiting.popleft())
            context = taken[-1][1]
            left -= context.allow(left) if isinstance(context, Stream) else 1
        if not 0 < self._room.pace.seconds * len(waiting) < OVERDUE_SECONDS:
            for _, context, _, _ in waiting:
                context.watch()
        if not waiting:
            self._room.crowd.empty()
        return taken

    def _answer(self, method: Gated, context: Context, request: bytes, since: float) -> None:
        """Answer one call. Whatever becomes of it, the thread goes on to the next."""
        try:
            if not isinstance(context, Stream):
                self._queued(perf_counter() - since)
                context.answer(request, method.handler)
                return
            if not context.begun:
                self._queued(perf_counter() - since)
            context.go_on()
        except Exception:
            log.exception("%s: the answer could not be sent", method.path)
            context.set_trailing_metadata(None)
            context.set_details("the answer could not be sent; the server's log says more")
            context.end(cygrpc.StatusCode.internal)
        finally:
            with self._state.lock:
                self._answering.discard(context)

    def _watch_late(self) -> None:
        """What should take little takes long: see whether callers go meanwhile."""
        with self._state.lock:
            late = [*self._answering, *(context for _, context, _, _ in self._waiting)]
        for context in late:
            context.watch()

    def _ask_for_more(self) -> None:
        """Ask for as many calls of each method as there is room for, so that a burst need not wait in the C core."""
        if not self._closing:
            self._ask_up_to(self._left(), self._bounded)

    def _ask_again(self) -> None:
        """The same, and for calls of unknown methods, which are seldom worth a look after each piece of work."""
        if not self._closing:
            self._ask_for_more()
            self._unknown.ask()

    def _ask_up_to(self, left: int, methods: Iterable[Gated]) -> None:
        """The same of these methods, where so many more may come in."""
        wanted = min(left, AT_HAND)
        if wanted <= 0:
            wanted = min(self._refusals.left(), AT_HAND)  # to refuse them
            if self._busy < self._bounds.threads:  # calls whose request does not come stop counting
                self._again.soon()
        for method in methods:
            while method.asked < wanted:
                self._ask(method)

    def _ask(self, method: Gated) -> None:
        method.asked += 1
        self._core.request_registered_call(self._events.queue, self._events.queue, method.path, method)

    def _ask_for_unknown(self, tag: Callable[[Any], Forget]) -> None:
        self._core.request_call(self._events.queue, self._events.queue, tag)

    def close(self) -> None:
        """Ask for all calls that wait; none will come after. The server's lock is held."""
        self._closing = True
        self._unknown.close()
        for method in self._methods.values():
            while method.asked < AT_THE_END:
                self._ask(method)

    def _ended(self, method: Gated) -> Forget:
        """One of those asked for was not needed. After the last the server may stop."""
        if method.asked:
            return NOTHING
        self._state.rpc_states.add(method)  # grpcio looks whether it can stop when it forgets a state
        return method, ()


Waiting: TypeAlias = "tuple[Gated, Context, bytes, float]"
"""A call, its request, and when it came; or a stream that can go on, no bytes, and since when."""
