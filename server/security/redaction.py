"""Keeps user ids out of the log: while a call is answered, its user ids are written as pseudonyms, whoever logs."""

from __future__ import annotations

import json
import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from server.methods import Behaviour, Method
from server.security.pseudonym import Pseudonyms

FIELDS = frozenset({"user_id", "user_ids"})
"""Fields of requests, at any depth, that hold user ids."""
AUDIT = "shoprank.audit"
"""Logger of audit lines, which stay as they are: a caller that names as its user what stands in one, such as a host or
a field, would have it hidden. Their user ids are pseudonyms before the line is made."""
LONG = 6
"""An id of so many characters is replaced inside longer words too; a shorter one, such as `1`, only as a word."""
ADDRESS = (
    r"(?<![0-9A-Za-z.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]+)?(?![0-9A-Za-z]|\.[0-9])"
    r"|\[(?=[^\]]*::)[0-9A-Fa-f:]+\](?::[0-9]+)?(?![0-9A-Za-z])"
)
"""An IP address, with its port: a part of it is no id, though it may look like a short one of letters and digits."""

RECENT, RECENT_BYTES = 2_048, 16 * 1024 * 1024
"""Requests of a stream whose ids are hidden, and their bytes: more than are read ahead of their answers."""


@dataclass(slots=True)
class Answering:
    """The requests being answered, and what to call their users by."""

    method: Method
    requests: Iterable[Any]
    pseudonyms: Pseudonyms


class _Recent:
    """The last requests of a stream: what was read, by whatever thread, may be answered later, by another."""

    def __init__(self) -> None:
        self._kept: deque[Any] = deque()
        self._bytes = 0

    def __iter__(self) -> Iterator[Any]:
        return iter(tuple(self._kept))

    def add(self, request: Any) -> None:
        self._kept.append(request)
        self._bytes += _size(request)
        while len(self._kept) > 1 and (len(self._kept) > RECENT or self._bytes > RECENT_BYTES):
            self._bytes -= _size(self._kept.popleft())


def _size(request: Any) -> int:
    return len(request) if isinstance(request, bytes) else int(request.ByteSize())


_answering: ContextVar[Answering | None] = ContextVar("answering", default=None)


class Redaction:
    """The stage that says, to the log, whose ids to hide while a call is answered. To stand outermost."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        _install()

    def __call__(self, method: Method, behaviour: Behaviour) -> Behaviour:
        """The behaviour, and the log while it runs.

        A call that ended by an exception stays noted until the thread answers the next: gRPC logs exceptions late.
        """

        def noted(requests: Iterator[Any], recent: _Recent) -> Iterator[Any]:
            for request in requests:
                if request is not None:  # None: there is none now, see `process.stream`
                    recent.add(request)
                yield request

        def begin(request: Any) -> Any:
            recent = _Recent() if method.client_streams else None
            _answering.set(Answering(method, (request,) if recent is None else recent, self._pseudonyms))
            return request if recent is None else noted(request, recent)

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            reply = behaviour(begin(request), context)
            _answering.set(None)
            return reply

        def streaming(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            yield from behaviour(begin(request), context)
            _answering.set(None)

        return streaming if method.server_streams else unary


def answered_here() -> Answering | None:
    """What is noted of the call that this thread answers; for `all_answered`."""
    return _answering.get()


@contextmanager
def all_answered(several: Sequence[Answering | None]) -> Iterator[None]:
    """Hide the ids of several calls of one method, while a thread does for all of them what they have in common."""
    noted = [one for one in several if one is not None]
    if not noted:
        yield
        return
    requests = [request for one in noted for request in one.requests]
    before = _answering.set(Answering(noted[0].method, requests, noted[0].pseudonyms))
    try:
        yield
    finally:
        _answering.reset(before)


def user_ids(message: Message) -> set[str]:
    """Every user id in a message, at any depth."""
    found: set[str] = set()
    for field, value in message.ListFields():
        if field.name in FIELDS and field.type == field.TYPE_STRING:
            found.update([value] if isinstance(value, str) else value)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for each in [value] if isinstance(value, Message) else value:
                found |= user_ids(each)
    return found - {""}


def redacted(text: str) -> str:
    """The text with the user ids of the call this thread answers as pseudonyms; the text itself outside a call."""
    answering = _answering.get()
    if answering is None:
        return text
    messages = filter(None, map(answering.method.message, answering.requests))
    for user_id in sorted(set[str]().union(*map(user_ids, messages)), key=len, reverse=True):
        text = _hidden(text, user_id, answering.pseudonyms.of(user_id))
    return text


def _hidden(text: str, user_id: str, pseudonym: str) -> str:
    pattern = "|".join(sorted(map(re.escape, _written(user_id)), key=len, reverse=True))
    if len(user_id) >= LONG:
        return re.sub(pattern, pseudonym, text)
    word = f"(?<![0-9A-Za-z])(?:{pattern})(?![0-9A-Za-z])"
    if not user_id.isalnum():  # such as `::1`, of which brackets make an address
        return re.sub(word, pseudonym, text)
    return re.sub(f"({ADDRESS})|{word}", lambda found: found[1] or pseudonym, text)


def _written(user_id: str) -> set[str]:
    """The id as it may stand in a message: plain, in repr of text or bytes, in JSON."""
    forms = {user_id, repr(user_id)[1:-1], ascii(user_id)[1:-1], repr(user_id.encode())[2:-1]}
    return forms | {json.dumps(user_id)[1:-1]}


def _install() -> None:
    """Let every log record of this process pass `redacted`, whatever logger and handler it goes through."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made = make(*args, **kwargs)
        if made.name != AUDIT and _answering.get() is not None:
            made.msg, made.args = redacted(made.getMessage()), ()
            if made.exc_info and made.exc_info[1] is not None:
                error = _redacted_error(made.exc_info[1], set())
                made.exc_info = type(error), error, error.__traceback__
        return made

    record.redacts = True  # type: ignore[attr-defined]  # marks it, so that it is put there once
    logging.setLogRecordFactory(record)


def _redacted_error(error: BaseException, seen: set[int]) -> BaseException:
    """An error that prints as the given one and those before it, ids aside."""
    seen.add(id(error))
    kind = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
    made: BaseException = kind(redacted(str(error)))
    made.__suppress_context__ = error.__suppress_context__
    for link in ("__cause__", "__context__"):
        former = getattr(error, link)
        if former is not None and id(former) not in seen:
            setattr(made, link, _redacted_error(former, seen))
    made.__suppress_context__ = error.__suppress_context__
    return made.with_traceback(error.__traceback__)
