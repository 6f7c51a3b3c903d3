"""Time and memory of ingest and features on synthetic shop-log events, each command in a process of its own.

Run as `python -m benchmarks.ingest`; writes benchmarks/results/ingest.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from feature_repo.paths import write_json

SHOP = ["--users", "200000", "--items", "50000", "--dirty", "0.01"]


def measure(name: str, arguments: list[str]) -> dict[str, Any]:
    """Run one `shoprank` command and return its seconds and peak resident memory in MiB."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", "from shoprank.cli import main; main()", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name}: exit code {os.waitstatus_to_exitcode(status)}")
    seconds = round(time.perf_counter() - began, 1)
    return {"command": f"shoprank {name}", "seconds": seconds, "peak_rss_mib": round(usage.ru_maxrss / 1024)}


def main() -> None:
    """Generate the events, then ingest them and compute their features."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=8_000_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ingest.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log, data = f"{folder}/events.csv", f"{folder}/data"
        steps = [
            measure("synthesize", ["synthesize", "--out", log, "--events", str(options.events), *SHOP]),
            measure("ingest", ["ingest", "--source", "shoplog", "--file", log, "--data", data]),
            measure("features", ["features", "--data", data, "--train-weeks", "4"]),
        ]  # fmt: skip
        size = Path(log).stat().st_size
    worst = max(step["peak_rss_mib"] for step in steps[1:])
    write_json(
        options.out,
        {"events": options.events, "csv_bytes": size, "steps": steps, "peak_rss_mib": worst},
    )
    print(f"bench ingest: {options.events:,} events, at most {worst:,} MiB; {options.out}")


if __name__ == "__main__":
    main()
