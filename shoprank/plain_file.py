"""Small text files of a model repository, read only where they are files: whatever else lies there keeps no reader."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MOST_BYTES = 16 * 1024 * 1024


def text_of(path: Path) -> str:
    """The file's text. Raises OSError where there is none, or a pipe, a device or more than 16 MiB in its place."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe is opened without its other end
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path}: no plain file")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(f"{path}: has more than {MOST_BYTES:,} bytes")
    return content.decode()
