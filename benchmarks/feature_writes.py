"""Time and peak memory of materializing items into one store, as one line of JSON.

Run as `python -m benchmarks.feature_writes STORE ROWS FEATURES`.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import feature_stores as stores
from benchmarks.redis_server import redis_server
from shoprank.cli.console import quiet


def main() -> None:
    """Write the source, materialize it, and say how fast and in how much memory."""
    name, rows, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    features = tuple(f"item_{j}" for j in range(width))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shoprank-")))
        port = stack.enter_context(redis_server(folder)) if name.endswith("Redis") else 0
        stores.write_items(folder / "items.parquet", rows, features)
        stores.write_users(folder / "users.parquet", folder / "history.parquet", 10)
        store = stores.open_store(name, folder, port)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with quiet():
            store.apply(stores.views(folder, features))
            seconds = stores.materialize(store, "items")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = {
        "rows": rows,
        "features": width,
        "seconds": seconds,
        "values_per_second": rows * width / seconds,
        "peak_gb": peak / 1e6,
        "peak_before_gb": before / 1e6,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
