"""What a server may answer to MGET, in whole, in pieces, wrongly or too late: a read gives the values or an error, and
the next one gets its own answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import hiredis
import pytest

from feature_repo.packed import redis_mget
from feature_repo.packed.layout import Layout
from feature_repo.packed.redis_backend import RedisBackend
from feature_repo.packed.redis_keys import redis_keys
from shoprank.errors import FeatureStoreError
from tests.redis_server import RedisServer

TABLE = "shop/view"
KEYS = [b"\x02a", b"\x02b", b"\x02c"]
TIMEOUT = 0.4
WHOLE = b"*3\r\n$3\r\none\r\n$-1\r\n$5\r\nthr\r\n\r\n"
VALUES = [b"one", None, b"thr\r\n"]
OTHER = b"*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n"
HELLO = b"%1\r\n$5\r\nproto\r\n:3\r\n"
CLOSE = None

Answer = Sequence[bytes | float | None]
"""Bytes to send, seconds to wait, and CLOSE, one after another."""


class ScriptedServer:
    """Speaks Redis's protocol; answers every MGET, on whatever connection it comes, by the next answer of a script."""

    def __init__(self, script: Sequence[Answer]) -> None:
        self._script = iter(script)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.asked: list[int] = []
        """The connection, counted from 0, of every MGET."""
        self.ended = 0
        """Connections that the client closed."""
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection, len(self._open) - 1), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        reader = hiredis.Reader()
        with suppress(OSError):
            while received := connection.recv(65_536):
                reader.feed(received)
                while (command := reader.gets()) is not False:
                    if command[0] == b"MGET":
                        self.asked.append(number)
                        if not _played(connection, next(self._script)):
                            return
                    else:
                        connection.sendall(HELLO if command[0] == b"HELLO" else b"+OK\r\n")
            self.ended += 1

    def stop(self) -> None:
        """Close all connections and listen no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listener.close()
        for connection in self._open:
            connection.close()


def _played(connection: socket.socket, answer: Answer) -> bool:
    """Send an answer; whether the connection is open after it."""
    for part in answer:
        if part is CLOSE:
            connection.shutdown(socket.SHUT_RDWR)
            return False
        if isinstance(part, bytes):
            connection.sendall(part)
        elif part:
            time.sleep(part)
    return True


@contextmanager
def scripted(*script: Answer, options: str = "") -> Iterator[tuple[ScriptedServer, RedisBackend]]:
    """A server with a script, and a backend on it."""
    server = ScriptedServer(script)
    backend = RedisBackend(server.url + options, "redis", TIMEOUT)
    try:
        yield server, backend
    finally:
        backend.close()
        server.stop()


def read(backend: RedisBackend) -> list[bytes | None]:
    """The values of the three keys."""
    (values,) = backend.get([(TABLE, KEYS)])
    return values


def refusal(backend: RedisBackend) -> str:
    """What a read says, which must be an error."""
    with pytest.raises(FeatureStoreError) as caught:
        read(backend)
    return str(caught.value)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, 5 s at most."""
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("size", [1, 2, 5, 30])
def test_an_answer_in_pieces_is_put_together(size: int) -> None:
    pieces: list[bytes | float] = []
    for start in range(0, len(WHOLE), size):
        pieces += [WHOLE[start : start + size], 0.002]
    with scripted(pieces, [OTHER]) as (server, backend):
        assert read(backend) == VALUES
        assert read(backend) == [b"1", b"2", b"3"]
        assert server.asked == [0, 0]


def test_one_connection_serves_one_read_after_another() -> None:
    with scripted(*[[WHOLE]] * 50) as (server, backend):
        assert all(read(backend) == VALUES for _ in range(50))
        assert server.asked == [0] * 50


@pytest.mark.parametrize("cut", [0, 1, 9, 20, len(WHOLE) - 1])
def test_an_answer_that_stops_is_an_error_after_the_timeout_and_its_rest_is_nobodys(cut: int) -> None:
    late: Answer = [WHOLE[:cut], TIMEOUT * 1.5, WHOLE[cut:]]
    with scripted(late, [OTHER], [OTHER]) as (server, backend):
        begun = time.monotonic()
        assert "no answer within 0.4 s" in refusal(backend)
        assert TIMEOUT * 0.9 < time.monotonic() - begun < TIMEOUT + 1.0
        assert read(backend) == [b"1", b"2", b"3"]
        time.sleep(TIMEOUT)
        assert read(backend) == [b"1", b"2", b"3"]
        assert server.asked == [0, 1, 1]
        until(lambda: server.ended == 1)


@pytest.mark.parametrize("cut", [0, 1, 9, len(WHOLE) - 1])
def test_a_connection_closed_amid_the_answer_is_made_anew_once(cut: int) -> None:
    broken: Answer = [WHOLE[:cut], CLOSE]
    with scripted(broken, [OTHER], broken, broken, [WHOLE]) as (server, backend):
        assert read(backend) == [b"1", b"2", b"3"]
        assert "does not answer" in refusal(backend)
        assert read(backend) == VALUES
        assert server.asked == [0, 1, 1, 2, 3]


def test_a_read_that_is_interrupted_leaves_its_answer_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(connection: Any, command: bytes) -> Any:
        connection.send_packed_command((command,))
        raise KeyboardInterrupt

    with scripted([OTHER], [WHOLE], [WHOLE]) as (server, backend):
        with monkeypatch.context() as patch:
            patch.setattr(redis_mget, "_exchange", interrupted)
            with pytest.raises(KeyboardInterrupt):
                read(backend)
        until(lambda: server.ended == 1)
        assert read(backend) == VALUES
        assert server.asked == [0, 1]


def test_an_error_for_the_command_is_told_and_the_connection_stays() -> None:
    with scripted([b"-NOPERM no right to mget\r\n"], [WHOLE]) as (server, backend):
        assert "refuses: " in (said := refusal(backend))
        assert "no right to mget" in said
        assert read(backend) == VALUES
        assert server.asked == [0, 0]


def test_an_error_for_one_key_is_told_and_the_connection_stays() -> None:
    within = b"*3\r\n$1\r\n1\r\n-ERR its shard is down\r\n$1\r\n3\r\n"
    with scripted([within], [WHOLE]) as (server, backend):
        assert "refuses: its shard is down" in refusal(backend)
        assert read(backend) == VALUES
        assert server.asked == [0, 0]


@pytest.mark.parametrize("strange", [b"*2\r\n$1\r\n1\r\n$1\r\n2\r\n", b"*-1\r\n", b"$-1\r\n", b":3\r\n", b"+OK\r\n"])
def test_an_answer_to_something_else_is_an_error_and_the_connection_is_not_trusted_again(strange: bytes) -> None:
    with scripted([strange], [WHOLE]) as (server, backend):
        assert "no answer to MGET of 3 keys" in refusal(backend)
        assert read(backend) == VALUES
        assert server.asked == [0, 1]


def test_what_is_not_the_protocol_is_an_error_and_the_connection_is_not_trusted_again() -> None:
    with scripted([b"HTTP/1.1 400 Bad Request\r\n\r\n"], [WHOLE]) as (server, backend):
        assert "does not answer" in refusal(backend)
        assert read(backend) == VALUES
        assert server.asked[-1] > 0


def test_nulls_of_resp3_are_missing_rows_and_messages_between_answers_are_not_answers() -> None:
    pushed = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"
    with scripted([pushed, WHOLE.replace(b"$-1\r\n", b"_\r\n")], [OTHER], options="?protocol=3") as (server, backend):
        assert read(backend) == VALUES
        assert read(backend) == [b"1", b"2", b"3"]
        assert server.asked == [0, 0]


# A real server


@pytest.mark.parametrize("options", ["", "?protocol=3", "?max_connections=1", "?decode_responses=true"])
def test_keys_that_are_not_there_or_of_another_type_are_missing(redis_server: RedisServer, options: str) -> None:
    client = redis_server.client()
    client.flushall()
    there, _, wrong = redis_keys(TABLE, KEYS)
    client.set(there, b"\xf7\x00\r\n")
    client.lpush(wrong, "a list")
    backend = RedisBackend(redis_server.url + options, "redis", 5.0)
    for _ in range(3):
        assert read(backend) == [b"\xf7\x00\r\n", None, None]
        assert backend.get([(TABLE, []), (TABLE, KEYS[:1]), (TABLE, KEYS[1:])]) == [[], [b"\xf7\x00\r\n"], [None, None]]
        assert backend.layout(TABLE, Layout(()).fingerprint) is None
    backend.close()
    assert read(backend)[0] == b"\xf7\x00\r\n"
    backend.close()


@pytest.mark.parametrize("table", [TABLE, "shop/" + "v" * 600])
def test_rows_and_the_version_of_their_table_come_in_one_answer(redis_server: RedisServer, table: str) -> None:
    client = redis_server.client()
    client.flushall()
    backend = RedisBackend(redis_server.url, "redis", 5.0)
    assert backend.get_at([(table, KEYS)], table) == ([[None] * 3], 0)
    backend.clear(table)
    client.set(redis_keys(table, KEYS)[1], "two")
    version = backend.version(table)
    assert version > 0
    assert backend.get_at([(table, KEYS[:2]), (TABLE, KEYS[:1])], table) == ([[None, b"two"], [None]], version)
    backend.close()


def test_threads_get_the_answers_to_their_own_questions(redis_server: RedisServer) -> None:
    client = redis_server.client()
    client.flushall()
    keys = [b"\x02%d" % i for i in range(800)]
    client.mset(dict(zip(redis_keys(TABLE, keys), keys, strict=True)))
    backend = RedisBackend(redis_server.url, "redis", 5.0)
    wrong: list[object] = []

    def ask(thread: int) -> None:
        mine = keys[thread::8]
        try:
            for turn in range(200):
                asked = mine[turn % 7 :]
                if backend.get([(TABLE, asked)]) != [asked]:
                    wrong.append(thread)
        except Exception as error:  # whatever it is, the test is to tell it
            wrong.append(error)

    before = client.info("stats")["total_connections_received"]
    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert client.info("stats")["total_connections_received"] - before <= 8
    backend.close()
