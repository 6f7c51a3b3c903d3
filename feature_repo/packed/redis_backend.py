"""Packed records in Redis: one string a row, on a single server or a cluster, read and written in pipelines."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import redis
from redis.cluster import ClusterPipeline, PipelineCommand, RedisCluster
from redis.exceptions import RedisClusterException

from feature_repo.packed.backend import KEPT_WRITES, Rows, Written, journal_entry, journal_keys, newest, remembered
from feature_repo.packed.forks import Locked
from feature_repo.packed.layout import Layout
from feature_repo.packed.record import is_whole
from feature_repo.packed.redis_connection import connect, without_secrets
from feature_repo.packed.redis_keys import PREFIX, around, escaped, meta, redis_keys, version_key, writes_key
from feature_repo.packed.redis_mget import Around, MgetConnections, mget_command
from feature_repo.packed.redis_scripts import ADVANCE, WRITE
from shoprank.errors import FeatureStoreError

ROWS_A_CALL = 500


class RedisBackend(Locked):
    """Records in Redis. A row is written in one step; rows of one `put` become visible one after another.

    connection: a URL (`redis://`, `rediss://` for TLS, with user, password and database), or Feast's form
    `host:port,password=…,ssl=true`. kind: a single server or a cluster. timeout: seconds that an answer may take.
    ttl: seconds after which Redis drops a row that was not written again.
    """

    def __init__(
        self, connection: str, kind: Literal["redis", "redis_cluster"], timeout: float, ttl: int | None = None
    ) -> None:
        super().__init__()
        self._connection = connection
        self._kind = kind
        self._timeout = timeout
        self._ttl = b"%d" % (ttl or 0)
        self._client: Any = None
        self._mget: MgetConnections | None = None
        self._place = without_secrets(connection)

    def get(self, requests: Sequence[tuple[str, Sequence[bytes]]]) -> list[list[bytes | None]]:
        """See `Backend.get`; one round trip. A single server answers as of one moment, a cluster a node at a time."""
        if not any(keys for _, keys in requests):
            return [[] for _ in requests]
        with self._translated():
            if self._kind == "redis":
                values = self._ask([around(table, keys) for table, keys in requests])
            else:
                values = self._fetch([key for table, keys in requests for key in redis_keys(table, keys)])
        if len(requests) == 1:
            return [values]
        rest = iter(values)
        return [list(islice(rest, len(keys))) for _, keys in requests]

    def _ask(self, groups: Sequence[Around]) -> list[bytes | None]:
        return self._mgets().ask(mget_command(groups), sum(len(middles) for _, middles, _ in groups))

    def put(self, table: str, layouts: Iterable[Layout], chunks: Iterable[Rows]) -> Written:
        """See `Backend.put`. A failure leaves every row old or new, and the same call can be made again."""
        written = Written()
        with self._translated():
            for layout in layouts:
                # Each time: a server that lost its memory must learn them again.
                self._remember(layout)
            for chunk in chunks:
                rows = newest(chunk)
                for start in range(0, len(rows), ROWS_A_CALL):
                    written.add(self._write(table, rows[start : start + ROWS_A_CALL]))
            if written.rows:
                self._advance(table, written.keys)
        return written

    def _advance(self, table: str, keys: list[bytes] | None) -> None:
        """Count a write of rows of these keys, None where any row may have changed."""
        known, entry = (b"0", b"") if keys is None else (b"1", journal_entry(keys))
        now = int(time.time() * 1e6)
        self.client().eval(ADVANCE, 2, version_key(table), writes_key(table), now, KEPT_WRITES, known, entry)

    def _write(self, table: str, rows: Rows) -> Written:
        keys = redis_keys(table, [key for key, _ in rows])
        outcomes = self._run(keys, [record for _, record in rows])
        if refused := [i for i, outcome in enumerate(outcomes) if outcome < 0]:
            # A harmed record must not keep a good one out by the event time it seems to have.
            olds = self._fetch([keys[i] for i in refused])
            harmed = [i for i, old in zip(refused, olds, strict=True) if old is not None and not is_whole(old)]
            if harmed:
                self._delete([keys[i] for i in harmed])
                again = self._run([keys[i] for i in harmed], [rows[i][1] for i in harmed])
                for i, outcome in zip(harmed, again, strict=True):
                    outcomes[i] = outcome
        written = [row for row, outcome in zip(rows, outcomes, strict=True) if outcome == 1]
        return Written(len(written), outcomes.count(-1), outcomes.count(0), remembered(written))

    def _run(self, keys: Sequence[bytes], records: Sequence[bytes]) -> list[int]:
        if self._kind == "redis":
            return [int(x) for x in self.client().eval(WRITE, len(keys), *keys, self._ttl, *records)]
        rows = zip(keys, records, strict=True)
        answers = self._answers([("EVAL", WRITE, 1, key, self._ttl, record) for key, record in rows])
        return [int(_sound(answer)[0]) for answer in answers]

    def _fetch(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [_bytes(answer) for answer in self._answers([("GET", key) for key in keys])]

    def _delete(self, keys: Sequence[bytes]) -> None:
        for answer in self._answers([("UNLINK", key) for key in keys]):
            _sound(answer)

    def _answers(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Answers to commands that are sent together, a cluster's each to the node of its key; errors are among them.

        Left to itself, a cluster's pipeline sends what a hanging node did not answer again, a command and a timeout at
        a time. Here a node that hangs is not asked again, and one that closed the connection once.
        """
        client = self.client()
        if self._kind == "redis":
            pipeline = client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return list(pipeline.execute(raise_on_error=False))
        answers = _sent(client, commands, redirected=False)
        failed = {type(answer) for answer in answers if isinstance(answer, ClusterPipeline.ERRORS_ALLOW_RETRY)}
        if failed and redis.TimeoutError not in failed:
            client.nodes_manager.initialize()
            moved = all(issubclass(kind, redis.ResponseError) for kind in failed)
            answers = _sent(client, commands, redirected=moved)
        return answers

    def _remember(self, layout: Layout) -> None:
        key, text = meta(b"layout", b"%08x" % layout.fingerprint), layout.text.encode()
        client = self.client()
        if client.set(key, text, nx=True):
            return
        (known,) = client.mget([key])
        if known == text:
            return
        if Layout.kept(known, layout.fingerprint) is not None:
            raise FeatureStoreError(
                f"{self._place}: two layouts have the fingerprint {layout.fingerprint:08x}; rename a feature"
            )
        client.set(key, text)

    def layout(self, table: str, fingerprint: int) -> Layout | None:
        """See `Backend.layout`."""
        with self._translated():
            # MGET, unlike GET, takes a key of another type for none.
            (text,) = self.client().mget([meta(b"layout", b"%08x" % fingerprint)])
        return Layout.kept(text, fingerprint)

    def version(self, table: str) -> int:
        """See `Backend.version`."""
        with self._translated():
            return int(self.client().get(version_key(table)) or 0)

    def get_at(
        self, requests: Sequence[tuple[str, Sequence[bytes]]], table: str
    ) -> tuple[list[list[bytes | None]], int]:
        """See `Backend.get_at`. A cluster's nodes answer at moments of their own: there the version is asked first."""
        if self._kind != "redis":
            return self._get_apart(requests, table)
        groups = [around(name, keys) for name, keys in requests]
        groups.append((version_key(table), [b""], b""))  # a beginning, unlike a middle, may be of any length
        with self._translated():
            *answers, version = self._ask(groups)
        found = iter(answers)
        return [list(islice(found, len(some))) for _, some in requests], int(version or 0)

    def _get_apart(
        self, requests: Sequence[tuple[str, Sequence[bytes]]], table: str
    ) -> tuple[list[list[bytes | None]], int]:
        version = self.version(table)
        return self.get(requests), version

    def changed(self, table: str, since: int) -> tuple[int, list[bytes] | None]:
        """See `Backend.changed`."""
        version = self.version(table)
        if not since <= version <= since + KEPT_WRITES:
            return version, None
        if version == since:
            return version, []
        with self._translated():
            writes = self.client().hmget(writes_key(table), [str(n) for n in range(since + 1, version + 1)])
        known = [entry for entry in writes if entry is not None]
        return version, [key for entry in known for key in journal_keys(entry)] if len(known) == len(writes) else None

    def clear(self, table: str) -> None:
        """See `Backend.clear`. Walks over all keys of the server."""
        pattern = PREFIX + b":{*}:" + escaped(table.encode())
        with self._translated():
            some: list[bytes] = []
            for key in self.client().scan_iter(match=pattern, count=1_000):
                some.append(key)
                if len(some) == ROWS_A_CALL:
                    self._delete(some)
                    some = []
            if some:
                self._delete(some)
            self._advance(table, None)

    def check(self, tables: Sequence[str]) -> None:
        """See `Backend.check`. Nothing is open but a connection."""

    def close(self) -> None:
        """See `Backend.close`."""
        with self._lock:
            if self._mget is not None:
                self._mget.close()
                self._mget = None
            if self._client is not None:
                self._client.close()
                self._client = None

    def client(self) -> Any:
        """The client of redis-py, made once."""
        if self._client is None:
            with self._lock:
                if self._client is None:
                    self._client = connect(self._connection, self._kind, self._timeout)
        return self._client

    def _mgets(self) -> MgetConnections:
        """Connections of the client's pool that read."""
        mget = self._mget
        if mget is None:
            pool = self.client().connection_pool
            with self._lock:
                mget = self._mget = self._mget or MgetConnections(pool)
        return mget

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except redis.TimeoutError as error:
            raise FeatureStoreError(f"{self._place}: no answer within {self._timeout:g} s") from error
        except redis.ResponseError as error:
            raise FeatureStoreError(f"{self._place}: the online store refuses: {error}") from error
        except (redis.RedisError, RedisClusterException) as error:
            raise FeatureStoreError(f"{self._place}: the online store does not answer: {error}") from error


def _sent(cluster: RedisCluster, commands: Sequence[tuple[Any, ...]], redirected: bool) -> list[Any]:
    """Answers of a cluster, errors among them; whether what fails is sent again, a command at a time."""
    stack = [PipelineCommand(command, {}, place) for place, command in enumerate(commands)]
    answers = cluster.pipeline().send_cluster_commands(stack, raise_on_error=False, allow_redirections=redirected)
    return list(answers)


def _sound(answer: Any) -> Any:
    """The answer, unless it is an error, which is raised."""
    if isinstance(answer, Exception):
        raise answer
    return answer


def _bytes(answer: Any) -> bytes | None:
    """An answer to GET; a key of another type is none, as it is to MGET."""
    if isinstance(answer, redis.ResponseError) and "WRONGTYPE" in str(answer):
        return None
    found: bytes | None = _sound(answer)
    return found
