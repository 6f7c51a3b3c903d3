"""Packed records in LMDB: a memory-mapped B+ tree a feature view, many reading processes and one writing at a time."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import lmdb

from feature_repo.packed.backend import KEPT_WRITES, Rows, Written, journal_entry, journal_keys, newest, remembered
from feature_repo.packed.layout import Layout
from feature_repo.packed.record import is_whole, times
from shoprank.errors import FeatureStoreError

GIB = 1024**3
VERSION = b"\0version"
LAYOUT = b"\0layout:"
WRITE = b"\0write:"
"""Keys of what is not a row. No row's key begins with a zero byte, so these come first."""

_open: dict[Path, lmdb.Environment] = {}
"""Environments of this process: LMDB allows a folder to be open once a process, so stores share them."""
_opening = threading.Lock()
_inherited: list[dict[Path, lmdb.Environment]] = []


def _forget() -> None:
    """In a child of a fork: leave the parent's environments alone, for closing one ends the parent's reads; open anew.

    py-lmdb refuses to open a file twice in a process and does not see that this is another one (3.0); `_open` sees to
    it here.
    """
    global _open, _opening
    _inherited.append(_open)
    _open, _opening = {}, threading.Lock()
    if (guard := sys.modules.get("lmdb._envid")) is not None:
        vars(guard)["env_keys"] = lambda path, subdir: ()


os.register_at_fork(after_in_child=_forget)


class LmdbBackend:
    """Records in folders of LMDB below `path`, one a table. A read of a table sees one committed state; a `put` is one
    commit: all of it or nothing.

    map_size: bytes that a table may grow to; address space is reserved for it, disk is used as it fills. durable:
    whether a commit waits for the disk.
    """

    def __init__(self, path: Path, map_size: int = 64 * GIB, durable: bool = True) -> None:
        self.path = path.resolve()
        self._map_size = map_size
        self._durable = durable
        self._folders: dict[str, Path] = {}

    def get(self, requests: Sequence[tuple[str, Sequence[bytes]]]) -> list[list[bytes | None]]:
        """See `Backend.get`; each table as of one commit."""
        return [self._get(table, keys) for table, keys in requests]

    def _get(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        if (env := self._environment(table)) is None:
            return [None] * len(keys)
        try:
            with env.begin() as txn:
                return list(map(txn.get, keys))
        except (lmdb.Error, OSError) as error:
            with self._translated(table):
                raise error

    def put(self, table: str, layouts: Iterable[Layout], chunks: Iterable[Rows]) -> Written:
        """See `Backend.put`; one transaction, so a failure leaves everything as it was."""
        written = Written()
        with self._translated(table):
            env = self._environment(table, create=True)
            assert env is not None
            env.reader_check()  # readers that were killed would keep the pages they read from being used again
            with env.begin(write=True) as txn:
                for layout in layouts:
                    _remember(txn, layout, table)
                for chunk in chunks:
                    written.add(_merge(txn, chunk))
                if written.rows:
                    _advance(txn, written.keys)
        return written

    def layout(self, table: str, fingerprint: int) -> Layout | None:
        """See `Backend.layout`."""
        (text,) = self._get(table, [LAYOUT + b"%08x" % fingerprint])
        return Layout.kept(text, fingerprint)

    def version(self, table: str) -> int:
        """See `Backend.version`."""
        (count,) = self._get(table, [VERSION])
        return int.from_bytes(count or b"", "little")

    def get_at(
        self, requests: Sequence[tuple[str, Sequence[bytes]]], table: str
    ) -> tuple[list[list[bytes | None]], int]:
        """See `Backend.get_at`."""
        version = self.version(table)  # before the rows, so that a write in between is seen the next time
        return self.get(requests), version

    def changed(self, table: str, since: int) -> tuple[int, list[bytes] | None]:
        """See `Backend.changed`."""
        if (env := self._environment(table)) is None:
            return 0, None
        with self._translated(table), env.begin() as txn:
            version = int.from_bytes(txn.get(VERSION) or b"", "little")
            if not since <= version <= since + KEPT_WRITES:
                return version, None
            writes = [txn.get(_write_key(number)) for number in range(since + 1, version + 1)]
        known = [entry for entry in writes if entry is not None]
        return version, [key for entry in known for key in journal_keys(entry)] if len(known) == len(writes) else None

    def clear(self, table: str) -> None:
        """See `Backend.clear`. The file stays, and the room in it is used again: other processes have it open."""
        if (env := self._environment(table)) is None:
            return
        with self._translated(table), env.begin(write=True) as txn:
            count = txn.get(VERSION)
            txn.drop(env.open_db(), delete=False)
            if count is not None:
                txn.put(VERSION, count)
            _advance(txn, None)

    def close(self) -> None:
        """See `Backend.close`."""
        with _opening:
            for folder in self._folders.values():
                if (env := _open.pop(folder, None)) is not None:
                    env.close()

    def folder(self, table: str) -> Path:
        """Where a table lies: a folder a project, in it one a view."""
        if (known := self._folders.get(table)) is None:
            project, _, view = table.partition("/")
            known = self._folders[table] = self.path / quote(project, safe="") / quote(view, safe="")
        return known

    def _environment(self, table: str, create: bool = False) -> lmdb.Environment | None:
        """The table's environment, opened once a process; None where it is not there and not to be made."""
        folder = self.folder(table)
        if (known := _open.get(folder)) is not None:
            return known
        if not create and not (folder / "data.mdb").is_file():
            return None
        with _opening:
            if folder not in _open:
                folder.mkdir(parents=True, exist_ok=True)
                with self._translated(table):
                    env = lmdb.open(
                        str(folder),
                        map_size=self._map_size,
                        max_readers=1_024,
                        max_spare_txns=64,
                        readahead=False,
                        sync=self._durable,
                        metasync=False,  # a crash of the machine may cost the last commit, never the file
                    )
                    _open[folder] = env
            return _open[folder]

    @contextmanager
    def _translated(self, table: str) -> Iterator[None]:
        """LMDB's errors as ours, saying what to do."""
        folder = self.folder(table)
        try:
            yield
        except lmdb.MapFullError as error:
            raise FeatureStoreError(
                f"{folder}: the online store is full and nothing of this write was kept; raise `map_size_gb` in "
                "feature_store.yaml and restart what uses it"
            ) from error
        except lmdb.MapResizedError as error:
            raise FeatureStoreError(
                f"{folder}: the online store has outgrown the `map_size_gb` this process opened it with; restart the "
                "process with the writer's"
            ) from error
        except lmdb.ReadersFullError as error:
            raise FeatureStoreError(f"{folder}: 1,024 reads at once, the most the online store serves") from error
        except lmdb.Error as error:
            free = shutil.disk_usage(folder).free / 1e6
            raise FeatureStoreError(
                f"{folder}: the online store failed: {error}; {free:,.0f} MB of its disk are free"
            ) from error
        except OSError as error:
            raise FeatureStoreError(f"{folder}: the online store cannot be used: {error}") from error


def _merge(txn: Any, rows: Rows) -> Written:
    """Write the rows that are newer than what is there."""
    written = Written()
    ordered = newest(rows)
    if not ordered:
        return written
    with txn.cursor() as cursor:
        if not cursor.last() or cursor.key() < ordered[0][0]:
            # Behind everything that is there: nothing to compare with, and pages are filled to the brim.
            cursor.putmulti(ordered, append=True)
            return Written(rows=len(ordered), keys=remembered(ordered))
    fresh = []
    for key, record in ordered:
        old = txn.get(key)
        if old is not None and is_whole(old):
            if old == record:
                written.same += 1
                continue
            if times(old) > times(record):
                written.older += 1
                continue
        fresh.append((key, record))
    if fresh:
        with txn.cursor() as cursor:
            cursor.putmulti(fresh)
        written.rows, written.keys = len(fresh), remembered(fresh)
    return written


def _remember(txn: Any, layout: Layout, table: str) -> None:
    key, text = LAYOUT + b"%08x" % layout.fingerprint, layout.text.encode()
    known = txn.get(key)
    if known == text:
        return
    if Layout.kept(known, layout.fingerprint) is not None:
        raise FeatureStoreError(f"{table}: two layouts have the fingerprint {layout.fingerprint:08x}; rename a feature")
    txn.put(key, text)


def _write_key(version: int) -> bytes:
    return WRITE + version.to_bytes(8, "big")


def _advance(txn: Any, keys: list[bytes] | None) -> None:
    """Count a write of rows of these keys, None where any row may have changed, and remember it for a while."""
    version = int.from_bytes(txn.get(VERSION) or b"", "little") + 1
    txn.put(VERSION, version.to_bytes(8, "little"))
    if keys is not None:
        txn.put(_write_key(version), journal_entry(keys))
    if version > KEPT_WRITES:
        txn.delete(_write_key(version - KEPT_WRITES))
