"""A file of lines that is rotated when it is large, written by several processes at once."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class RotatingFile:
    """Lines appended to `path`; at `max_bytes` it becomes `path.1`, that one `path.2`, up to `files` of them.

    Every line is one write to the end of the file, under a lock, so lines of several processes never mix.
    """

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._files = files

    def write(self, line: str) -> None:
        """Append the line. Raises OSError where it cannot be written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._path.with_name(f".{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._rotate()
            out = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(out, line.encode() + b"\n")
            finally:
                os.close(out)
        finally:
            os.close(lock)

    def _rotate(self) -> None:
        if not self._path.exists() or self._path.stat().st_size < self._max_bytes:
            return
        for number in range(self._files - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
