"""What lies on the disk, seen cheaply."""

from __future__ import annotations

import os
from pathlib import Path

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Of each file of a bundle: its name, size, time of change and inode. Empty where there is no bundle."""


def fingerprint(directory: Path) -> Fingerprint:
    """Changes when a file of the bundle is written, replaced, added or removed."""
    try:
        with os.scandir(directory) as entries:
            stats = [(entry.name, _stat(entry)) for entry in entries]
    except OSError:
        return ()
    return tuple(sorted((name, s.st_size, s.st_mtime_ns, s.st_ino) for name, s in stats))


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    """What the entry leads to, or the entry itself where it is a link that leads nowhere."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return entry.stat(follow_symlinks=False)
