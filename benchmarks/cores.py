"""Which cores a measurement gives to the server and which to the generator."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

LIBRARIES = ("grpcio", "protobuf", "onnxruntime", "numpy", "feast")


def server_cores(count: int = 1) -> set[int]:
    """The first `count` cores. Raises SystemExit where there are not so many."""
    there = sorted(os.sched_getaffinity(0))
    if len(there) < count:
        raise SystemExit(f"bench: needs {count} cores, this process may use {len(there)}")
    return set(there[:count])


def generator_cores(servers: int = 1) -> set[int]:
    """The cores that so many server cores leave; the last one where they leave none."""
    there = sorted(os.sched_getaffinity(0))
    return set(there[servers:]) or {there[-1]}


def machine() -> dict[str, Any]:
    """What the figures were measured on, for JSON."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }
