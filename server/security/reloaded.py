"""What is read from files, and read again when they change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from shoprank.errors import UserError

T = TypeVar("T")
Signature = tuple[tuple[int, ...] | None, ...]
"""What `stat` says of each file, of its mode and owner too by the time of their change; None where there is none."""
INTERVAL = 1.0
"""Seconds between two looks at the files, at least."""

log = logging.getLogger(__name__)


class Reloaded(Generic[T]):
    """The value that `read` makes of some files; a file that went bad is logged and the last good value stays.

    No thread: whoever asks for the value looks at the files, at most once an interval (seconds). `read` raises
    UserError; what it refused is read again at every look, for it may be good later as it is, such as a certificate
    whose time has not come. The same complaint is logged once.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[], T], interval: float = INTERVAL) -> None:
        self._files = tuple(files)
        self._read = read
        self._interval = interval
        self._lock = threading.Lock()
        self._seen: Signature | None = self._signature()
        self._value = read()
        self._complaint = ""
        self._next = monotonic() + interval

    @property
    def value(self) -> T:
        """The value as of the last look, which is at most one interval ago."""
        if monotonic() >= self._next and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._value

    def refreshed(self) -> T:
        """The value as of now."""
        with self._lock:
            self._look()
        return self._value

    def _look(self) -> None:
        self._next = monotonic() + self._interval
        if (found := self._signature()) == self._seen:
            return
        names = ", ".join(map(str, self._files))
        try:
            self._value = self._read()
        except UserError as error:
            self._seen = None
            if (complaint := str(error)) != self._complaint:
                log.error("%s changed and cannot be used, the former stays in force: %s", names, complaint)
            self._complaint = complaint
        else:
            self._seen = found  # from before the read, so that what is written meanwhile is seen at the next look
            self._complaint = ""
            log.info("%s changed and was read again", names)

    def _signature(self) -> Signature:
        return tuple(map(_signature, self._files))


def _signature(file: Path) -> tuple[int, ...] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def content(file: Path, limit: int) -> bytes:
    """The bytes of a file. Raises UserError where it cannot be read or has more than `limit` bytes."""
    try:
        with file.open("rb") as opened:
            found = opened.read(limit + 1)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    if len(found) > limit:
        raise UserError(f"{file}: has more than {limit:,} bytes")
    return found
