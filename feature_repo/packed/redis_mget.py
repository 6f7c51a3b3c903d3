"""MGET, the one command of a hot read, on connections of redis-py but without the way through its client."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import redis
from redis.connection import ConnectionPool
from redis.exceptions import InvalidResponse

from feature_repo.packed.keys import LONGEST

Around = tuple[bytes, Sequence[bytes], bytes]
"""Keys that begin and end alike: the beginning, the middles of at most `LONGEST` bytes, the end."""

UNLIMITED = 2**31
"""Connections that a pool of redis-py may have where nothing limits it."""


def mget_command(groups: Sequence[Around]) -> bytes:
    """MGET of the keys of all groups in Redis's protocol (https://redis.io/docs/latest/develop/reference/protocol-spec)."""
    parts = [b"*%d\r\n$4\r\nMGET" % (1 + sum(len(middles) for _, middles, _ in groups))]
    for before, middles, after in groups:
        if middles:
            heads = _heads(before, after)
            parts += [after.join([heads[len(middle)] + middle for middle in middles]), after]
    parts.append(b"\r\n")
    return b"".join(parts)


@lru_cache(maxsize=256)
def _heads(before: bytes, after: bytes) -> list[bytes]:
    """What stands before the middle of a key, by the length of the middle: reads ask for the same views again."""
    around = len(before) + len(after)
    return [b"\r\n$%d\r\n%b" % (around + size, before) for size in range(LONGEST + 1)]


class MgetConnections:
    """Connections to a single server that send one MGET after another.

    Connecting, TLS, authentication, timeouts, the new try after a closed connection, and the parser are redis-py's. A
    connection is taken from its pool once and kept, for to take it costs a tenth of a read, and most of that looks for
    an answer still in flight. Here none can be: a connection is kept only after the whole answer to its one command.
    A pool that may have but so many gets each back at once, for writing needs them too.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._limited = pool.max_connections < UNLIMITED
        self._idle: list[Any] = []

    def ask(self, command: bytes, count: int) -> list[bytes | None]:
        """The answer to an MGET of so many keys, None for a key that is not there or of another type.

        Raises redis.RedisError: TimeoutError, ConnectionError, a ResponseError that the server answers for all keys or
        for one, InvalidResponse where the answer is none to the command.
        """
        connection = self._take()
        in_step = False
        try:
            answer = connection.retry.call_with_retry(lambda: _exchange(connection, command), connection.disconnect)
            in_step = type(answer) is list and len(answer) == count
        except redis.ResponseError:
            in_step = True
            raise
        finally:
            self._give(connection, in_step)
        if not in_step:
            raise InvalidResponse(f"{type(answer).__name__} is no answer to MGET of {count} keys")
        if list(map(type, answer)).count(bytes) != count:
            for value in answer:
                if isinstance(value, Exception):  # such as a proxy's, for a key whose server is away
                    raise value
        values: list[bytes | None] = answer
        return values

    def close(self) -> None:
        """Give all connections back to the pool."""
        with suppress(IndexError):  # when the last one is gone, whoever took it
            while True:
                self._pool.release(self._idle.pop())

    def _take(self) -> Any:
        with suppress(IndexError):  # none is idle
            while (connection := self._idle.pop()).pid != os.getpid():
                pass  # the parent's, of which a fork has but a copy: let go, not shut
            return connection
        return self._pool.get_connection()

    def _give(self, connection: Any, in_step: bool) -> None:
        if not in_step:
            connection.disconnect()
        if in_step and not self._limited and not connection.should_reconnect():
            self._idle.append(connection)
        else:
            self._pool.release(connection)


def _exchange(connection: Any, command: bytes) -> Any:
    connection.send_packed_command((command,))
    return connection.read_response(disable_decoding=True)
