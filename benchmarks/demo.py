"""Time and memory of `shoprank demo` in an empty folder, and of the same again where everything is there.

Run as `python -m benchmarks.demo`; writes benchmarks/results/demo.json. Memory is the sum over the process and all its
children, of pages not shared (USS), sampled twice a second.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from feature_repo.paths import write_json

SAMPLE_SECONDS = 0.5


def unique_memory(process: psutil.Process) -> int:
    """Bytes that the process and its descendants hold for themselves."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_full_info().uss
        except psutil.Error:
            continue  # it ended between being listed and being asked
    return total


def run(folder: str) -> dict[str, Any]:
    """Run the demo over `folder` and measure it."""
    command = [sys.executable, "-m", "shoprank", "demo", "--data", f"{folder}/data"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--model-repository", f"{folder}/models"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    peak = 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        watched = psutil.Process(process.pid)
        while not ended.wait(SAMPLE_SECONDS):
            peak = max(peak, unique_memory(watched))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"demo: exit code {process.returncode}")
    first = re.search(r"first ranking (\d+) s", output)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "seconds_to_first_ranking": int(first.group(1)) if first else None,
        "peak_memory_mib": round(peak / 2**20),
    }


def main() -> None:
    """Run twice and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/demo.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = {"first": run(folder), "second": run(folder)}
    write_json(options.out, result)
    for name, row in result.items():
        print(
            f"{name} run: {row['seconds']:.0f} s, first ranking after {row['seconds_to_first_ranking']} s, "
            f"at most {row['peak_memory_mib']:,} MiB"
        )
    print(f"demo: {options.out}")


if __name__ == "__main__":
    main()
