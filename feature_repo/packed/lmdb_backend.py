"""Packed records in LMDB: a memory-mapped B+ tree in a folder, many reading processes and one writing at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from feature_repo.packed.backend import Rows, Written, newest
from feature_repo.packed.layout import Layout
from feature_repo.packed.record import is_whole, times
from shoprank.errors import FeatureStoreError

MAX_TABLES = 1_000
META = b"meta"
"""Table of layouts and versions. Names of feature views' tables have a slash in them."""
GIB = 1024**3


class Environment:
    """One LMDB folder, open in this process. LMDB allows a folder to be open once a process, so stores share it."""

    _open: dict[Path, Environment] = {}  # noqa: RUF012  (a registry of the process)
    _lock = threading.Lock()

    def __init__(self, path: Path, map_size: int, durable: bool) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.map_size = map_size
        with _translated(path):
            self.env = lmdb.open(
                str(path),
                map_size=map_size,
                max_dbs=MAX_TABLES + 1,
                max_readers=1_024,
                max_spare_txns=64,
                readahead=False,
                sync=durable,
                metasync=False,  # a crash of the machine may cost the last commit, never the file
            )
            self.env.reader_check()  # slots of readers that were killed, which would keep old pages
        self._tables: dict[bytes, Any] = {}
        self._tables_lock = threading.Lock()

    @classmethod
    def at(cls, path: Path, map_size: int, durable: bool) -> Environment:
        """The environment of a folder, opened once a process."""
        if (known := cls._open.get(path)) is not None:
            return known
        with cls._lock:
            if path not in cls._open:
                cls._open[path] = cls(path, map_size, durable)
            return cls._open[path]

    @classmethod
    def close(cls, path: Path) -> None:
        """Close the folder in this process, where it is open."""
        with cls._lock:
            if (known := cls._open.pop(path, None)) is not None:
                known.env.close()

    @classmethod
    def forget_all(cls) -> None:
        """In a child of a fork: leave the parent's environments alone and open anew."""
        _inherited.extend(cls._open.values())
        cls._open = {}
        cls._lock = threading.Lock()

    def table(self, name: str | bytes, create: bool = False) -> Any | None:
        """Handle of a table; None where there is none and it is not to be created."""
        key = name.encode() if isinstance(name, str) else name
        if (known := self._tables.get(key)) is not None:
            return known
        with self._tables_lock:
            try:
                if create:
                    handle = self.env.open_db(key)
                else:
                    with self.env.begin() as txn:
                        handle = self.env.open_db(key, txn=txn, create=False)
            except lmdb.NotFoundError:
                return None
            except lmdb.DbsFullError as error:
                raise FeatureStoreError(f"{self.path}: holds {MAX_TABLES} feature views, the most it can") from error
            self._tables[key] = handle
            return handle


_inherited: list[Environment] = []
os.register_at_fork(after_in_child=Environment.forget_all)


class LmdbBackend:
    """Records in one LMDB folder. A read sees one committed state; a `put` is one commit: all of it or nothing.

    path: of the folder. map_size: bytes it may grow to; address space is reserved for it, disk is used as it fills.
    durable: whether a commit waits for the disk.
    """

    def __init__(self, path: Path, map_size: int = 64 * GIB, durable: bool = True) -> None:
        self.path = path.resolve()
        self._map_size = map_size
        self._durable = durable

    def _environment(self) -> Environment:
        return Environment.at(self.path, self._map_size, self._durable)

    def get(self, requests: Sequence[tuple[str, Sequence[bytes]]]) -> list[list[bytes | None]]:
        """See `Backend.get`; all of one commit."""
        environment = self._environment()
        with _translated(self.path):
            tables = [environment.table(table) for table, _ in requests]
            with environment.env.begin() as txn:
                return [
                    [None] * len(keys) if table is None else [txn.get(key, db=table) for key in keys]
                    for table, (_, keys) in zip(tables, requests, strict=True)
                ]

    def put(self, table: str, layouts: Iterable[Layout], chunks: Iterable[Rows]) -> Written:
        """See `Backend.put`; one transaction, so a failure leaves everything as it was."""
        environment = self._environment()
        written = Written()
        with _translated(self.path):
            meta, handle = environment.table(META, create=True), environment.table(table, create=True)
            with environment.env.begin(write=True) as txn:
                for layout in layouts:
                    _remember(txn, meta, layout, self.path)
                for chunk in chunks:
                    written.add(_merge(txn, handle, chunk))
                if written.rows:
                    _advance(txn, meta, table)
        return written

    def layout(self, fingerprint: int) -> Layout | None:
        """See `Backend.layout`."""
        text = self._meta(_layout_key(fingerprint))
        return None if text is None else Layout.parse(text.decode())

    def version(self, table: str) -> int:
        """See `Backend.version`."""
        return int.from_bytes(self._meta(_version_key(table)) or b"", "little")

    def clear(self, table: str) -> None:
        """See `Backend.clear`."""
        environment = self._environment()
        with _translated(self.path):
            if (handle := environment.table(table)) is None:
                return
            meta = environment.table(META, create=True)
            with environment.env.begin(write=True) as txn:
                # The table itself stays: other processes hold handles of it.
                txn.drop(handle, delete=False)
                _advance(txn, meta, table)

    def close(self) -> None:
        """See `Backend.close`."""
        Environment.close(self.path)

    def entries(self, table: str) -> int:
        """How many rows the table has."""
        environment = self._environment()
        with _translated(self.path):
            if (handle := environment.table(table)) is None:
                return 0
            with environment.env.begin() as txn:
                return int(txn.stat(handle)["entries"])

    def _meta(self, key: bytes) -> bytes | None:
        environment = self._environment()
        with _translated(self.path):
            if (meta := environment.table(META)) is None:
                return None
            with environment.env.begin() as txn:
                found: bytes | None = txn.get(key, db=meta)
                return found


def _merge(txn: Any, handle: Any, rows: Rows) -> Written:
    """Write the rows that are newer than what is there."""
    written = Written()
    ordered = newest(rows)
    if not ordered:
        return written
    with txn.cursor(handle) as cursor:
        if not cursor.last() or cursor.key() < ordered[0][0]:
            # Behind everything that is there: nothing to compare with, and pages are filled to the brim.
            cursor.putmulti(ordered, append=True)
            return Written(rows=len(ordered))
    fresh = []
    for key, record in ordered:
        old = txn.get(key, db=handle)
        if old is not None and is_whole(old):
            if old == record:
                written.same += 1
                continue
            if times(old) > times(record):
                written.older += 1
                continue
        fresh.append((key, record))
    if fresh:
        with txn.cursor(handle) as cursor:
            cursor.putmulti(fresh)
        written.rows = len(fresh)
    return written


def _remember(txn: Any, meta: Any, layout: Layout, path: Path) -> None:
    key, text = _layout_key(layout.fingerprint), layout.text.encode()
    known = txn.get(key, db=meta)
    if known is None:
        txn.put(key, text, db=meta)
    elif known != text:
        raise FeatureStoreError(f"{path}: two layouts have the fingerprint {layout.fingerprint:08x}; rename a feature")


def _layout_key(fingerprint: int) -> bytes:
    return b"layout:%08x" % fingerprint


def _version_key(table: str) -> bytes:
    return b"version:" + table.encode()


def _advance(txn: Any, meta: Any, table: str) -> None:
    key = _version_key(table)
    count = int.from_bytes(txn.get(key, db=meta) or b"", "little")
    txn.put(key, (count + 1).to_bytes(8, "little"), db=meta)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """LMDB's errors as ours, saying what to do."""
    try:
        yield
    except lmdb.MapFullError as error:
        raise FeatureStoreError(
            f"{path}: the online store is full and nothing of this write was kept; raise `map_size_gb` in "
            "feature_store.yaml and restart what uses it"
        ) from error
    except lmdb.MapResizedError as error:
        raise FeatureStoreError(
            f"{path}: the online store has outgrown the `map_size_gb` this process opened it with; restart the "
            "process with the writer's"
        ) from error
    except lmdb.ReadersFullError as error:
        raise FeatureStoreError(f"{path}: 1,024 reads at once, the most the online store serves") from error
    except lmdb.Error as error:
        raise FeatureStoreError(f"{path}: the online store failed: {error}") from error
    except OSError as error:
        raise FeatureStoreError(f"{path}: the online store cannot be used: {error}") from error
