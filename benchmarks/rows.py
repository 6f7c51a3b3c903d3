"""Rows a second that ONNX Runtime scores by itself: the most a server of this model could.

Run as `python -m benchmarks.rows BUNDLE ROWS SECONDS`; prints rows a second of one thread as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from feature_repo.transforms import ModelInput
from server.models.model import load
from shoprank import bundle


def rows_per_second(directory: Path, rows: int, seconds: float) -> float:
    """Score the bundle's golden inputs, repeated to so many rows, for so long."""
    model = load(directory)
    with np.load(directory / bundle.GOLDEN) as golden:
        take = np.arange(rows) % len(golden["numeric"])
        inputs = ModelInput(golden["numeric"][take], golden["categorical"][take])
    for _ in range(20):
        model.run(inputs)
    runs, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        model.run(inputs)
        runs += 1
    return runs * rows / elapsed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("rows", type=int)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    print(json.dumps(rows_per_second(options.directory, options.rows, options.seconds)))


if __name__ == "__main__":
    main()
