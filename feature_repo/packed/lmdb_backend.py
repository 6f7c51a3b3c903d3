"""Packed records in LMDB: a memory-mapped B+ tree a feature view, many reading processes and one writing at a time."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Opened:
    """An environment of this process. file: device and inode of what it has mapped. before: what is added to its count
    of writes, so that a version is above those of the files that this process had open in its place before.
    """

    env: lmdb.Environment
    file: tuple[int, int] | None
    before: int = 0

    def version(self, txn: Any) -> int:
        """The table's version; 0 where nothing was ever written."""
        count = int.from_bytes(txn.get(VERSION) or b"", "little")
        return count + self.before if count else 0


_open: dict[Path, _Opened] = {}
"""Environments of this process: LMDB allows a folder to be open once a process, so stores share them."""
_opening = threading.Lock()
_inherited: list[dict[Path, _Opened]] = []


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
        if (opened := self._opened(table)) is None:
            return [None] * len(keys)
        try:
            with opened.env.begin() as txn:
                return list(map(txn.get, keys))
        except (lmdb.Error, OSError) as error:
            with self._translated(table):
                raise error

    def put(self, table: str, layouts: Iterable[Layout], chunks: Iterable[Rows]) -> Written:
        """See `Backend.put`; one transaction, so a failure leaves everything as it was."""
        written = Written()
        with self._translated(table):
            opened = self._opened(table, create=True)
            assert opened is not None
            env = opened.env
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
        if (opened := self._opened(table)) is None:
            return 0
        try:
            with opened.env.begin() as txn:
                return opened.version(txn)
        except (lmdb.Error, OSError) as error:
            with self._translated(table):
                raise error

    def get_at(
        self, requests: Sequence[tuple[str, Sequence[bytes]]], table: str
    ) -> tuple[list[list[bytes | None]], int]:
        """See `Backend.get_at`."""
        version = self.version(table)  # before the rows, so that a write in between is seen the next time
        return self.get(requests), version

    def changed(self, table: str, since: int) -> tuple[int, list[bytes] | None]:
        """See `Backend.changed`."""
        if (opened := self._opened(table)) is None:
            return 0, None
        before = opened.before
        with self._translated(table), opened.env.begin() as txn:
            version = opened.version(txn)
            if not before <= since <= version <= since + KEPT_WRITES:
                return version, None
            writes = [txn.get(_write_key(number - before)) for number in range(since + 1, version + 1)]
        known = [entry for entry in writes if entry is not None]
        return version, [key for entry in known for key in journal_keys(entry)] if len(known) == len(writes) else None

    def clear(self, table: str) -> None:
        """See `Backend.clear`. The file stays, and the room in it is used again: other processes have it open."""
        if (opened := self._opened(table)) is None:
            return
        with self._translated(table), opened.env.begin(write=True) as txn:
            count = txn.get(VERSION)
            txn.drop(opened.env.open_db(), delete=False)
            if count is not None:
                txn.put(VERSION, count)
            _advance(txn, None)

    def close(self) -> None:
        """See `Backend.close`."""
        with _opening:
            for folder in self._folders.values():
                if (opened := _open.pop(folder, None)) is not None:
                    opened.env.close()

    def check(self, tables: Sequence[str]) -> None:
        """See `Backend.check`."""
        for table in tables:
            folder = self.folder(table)
            opened = _open.get(folder)
            if opened is None or (found := _file(folder)) == opened.file:
                continue
            if found is None:
                raise FeatureStoreError(
                    f"{folder}: the online store was removed; what it had is read until `shoprank materialize` has "
                    "made another"
                )
            self._opened(table, create=True)

    def folder(self, table: str) -> Path:
        """Where a table lies: a folder a project, in it one a view."""
        if (known := self._folders.get(table)) is None:
            project, _, view = table.partition("/")
            known = self._folders[table] = self.path / quote(project, safe="") / quote(view, safe="")
        return known

    def _opened(self, table: str, create: bool = False) -> _Opened | None:
        """The table's environment, opened once a process; None where it is not there and not to be made.

        create: make it where it is not there, and open it anew where another file has taken the place of its own.
        """
        folder = self.folder(table)
        known = _open.get(folder)
        if known is not None and not create:
            return known
        if not create and _file(folder) is None:
            return None
        with _opening, self._translated(table):
            known = _open.get(folder)
            if known is None or (create and known.file != _file(folder)):
                folder.mkdir(parents=True, exist_ok=True)
                _open[folder] = known = self._opened_after(known, folder)
        return known

    def _opened_after(self, former: _Opened | None, folder: Path) -> _Opened:
        """The folder's environment, in the place of a former one. That one ends with the last read that is at it."""
        env = lmdb.open(
            str(folder),
            map_size=self._map_size,
            max_readers=1_024,
            max_spare_txns=64,
            readahead=False,
            sync=self._durable,
            metasync=False,  # a crash of the machine may cost the last commit, never the file
        )
        file = _file(folder)
        if former is None:
            return _Opened(env, file)
        log.info("%s: the online store was replaced and is opened anew", folder)
        with former.env.begin() as txn:
            count = int.from_bytes(txn.get(VERSION) or b"", "little")
        return _Opened(env, file, former.before + count + 1)

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


def _file(folder: Path) -> tuple[int, int] | None:
    """Device and inode of an environment's file; None where there is none."""
    try:
        status = (folder / "data.mdb").stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


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
