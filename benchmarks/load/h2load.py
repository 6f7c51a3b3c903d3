"""nghttp2's h2load as a gRPC client in C: a closed loop that leaves the cores to the servers.

It sends one body a process and does not look into replies, so every process has a body of its own, and the bytes of
data that came back must be those of right replies: a failed gRPC call brings none.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.job import METHOD

PREFIX = 5
"""Bytes before a gRPC message: whether it is compressed, and its length."""

_REQUESTS = re.compile(r"^requests: (\d+) total, .* (\d+) failed, (\d+) errored, (\d+) timeout", re.M)
_DATA = re.compile(r"\((\d+)\) data$", re.M)
_RATE = re.compile(r"^finished in .*, ([\d.]+) req/s", re.M)


@dataclass(frozen=True, slots=True)
class Body:
    """A file with one framed request, and the bytes of its reply."""

    path: Path
    reply_bytes: int


def write_bodies(folder: Path, requests: Sequence[bytes], reply_bytes: Sequence[int]) -> list[Body]:
    """Frame each request into a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    bodies = []
    for i, (request, size) in enumerate(zip(requests, reply_bytes, strict=True)):
        path = folder / f"{i}.body"
        path.write_bytes(struct.pack(">BI", 0, len(request)) + request)
        bodies.append(Body(path, size))
    return bodies


def installed() -> str:
    """Path of the program. Raises SystemExit where it is missing."""
    program = shutil.which("h2load")
    if program is None:
        raise SystemExit("bench: h2load is not installed (Debian: apt-get install nghttp2-client)")
    return program


def throughput(
    address: str, bodies: Sequence[Body], connections: int, seconds: float, cores: Collection[int], method: str = METHOD
) -> float:
    """Requests a second that the server answers: a process a body, the connections shared among them, one call open on
    each.

    Raises RuntimeError where any call failed or the replies' bytes are not those of right ones.
    """
    program = installed()
    pinned = ["taskset", "-c", ",".join(map(str, sorted(cores)))]
    each = max(1, connections // len(bodies))
    fixed = ["-D", f"{seconds * 1000:.0f}ms", "-c", str(each), "-m", "1", "-H", "content-type: application/grpc"]
    fixed += ["-H", "te: trailers"]
    processes = [
        subprocess.Popen(
            [*pinned, program, *fixed, "-d", str(body.path), f"http://{address}{method}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for body in bodies
    ]  # fmt: skip
    outputs = [process.communicate(timeout=seconds + 30)[0] for process in processes]
    return sum(rate(output, body.reply_bytes, each) for output, body in zip(outputs, bodies, strict=True))


def rate(output: str, reply_bytes: int, connections: int) -> float:
    """Requests a second of what h2load printed. Raises RuntimeError where its calls did not all succeed."""
    counts, data, per_second = _REQUESTS.search(output), _DATA.search(output), _RATE.search(output)
    if counts is None or data is None or per_second is None:
        raise RuntimeError(f"h2load: not understood:\n{output}")
    total, *bad = map(int, counts.groups())
    if any(bad):
        raise RuntimeError(f"h2load: {bad} calls failed, errored, timed out")
    # When the time is over, each connection may have got a reply that is not counted, or a part of one.
    if not 0 <= int(data[1]) - total * (reply_bytes + PREFIX) <= connections * (reply_bytes + PREFIX):
        raise RuntimeError(f"h2load: {total} replies of {reply_bytes} bytes cannot make {data[1]} bytes of data")
    return float(per_second[1])
