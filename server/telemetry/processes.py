"""What the system knows of a process; from /proc, and where there is none, whether it lives and nothing else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
STATE, USER_TICKS, SYSTEM_TICKS, START = 0, 11, 12, 19
"""Fields of /proc/<pid>/stat, counted from behind the name; see proc(5)."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses: memory in bytes, CPU time in seconds."""

    memory: int
    cpu: float


def started(pid: int) -> float:
    """When the process was started, in clock ticks since the system was; tells two of one pid apart. 0 if unknown."""
    fields = _stat(pid)
    return float(fields[START]) if fields else 0.0


def lives(pid: int, start: float) -> bool:
    """Whether the process that was started then is running."""
    if PROC.joinpath("self").exists():
        fields = _stat(pid)
        return fields is not None and fields[STATE] not in ("Z", "X") and float(fields[START]) == start
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def usage(pid: int) -> Usage | None:
    """None where it cannot be learned."""
    fields = _stat(pid)
    if fields is None:
        return None
    try:
        pages = int(PROC.joinpath(str(pid), "statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    ticks = int(fields[USER_TICKS]) + int(fields[SYSTEM_TICKS])
    return Usage(pages * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK"))


def _stat(pid: int) -> list[str] | None:
    try:
        line = PROC.joinpath(str(pid), "stat").read_text()
    except OSError:
        return None
    return line.rpartition(")")[2].split()  # the name before it may hold anything
