"""The targets that the project is held to, beside what was measured last.

Run as `python -m benchmarks.targets`; reads the JSON files of benchmarks/results and ends with exit code 1 where a
target is missed or was not measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FILES = ("serving", "open_loop", "workers", "peers", "batch", "overload", "recommend")


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on one ratio. what: for people."""

    ratio: str
    sense: Literal[">=", "<=", ">"]
    bound: float
    what: str

    def met(self, value: float) -> bool:
        """Whether a measured ratio keeps within the bound."""
        return {">=": value >= self.bound, "<=": value <= self.bound, ">": value > self.bound}[self.sense]


TARGETS = (
    Target("rank_100_lmdb_throughput_over_empty", ">=", 0.55, "100 candidates: requests/s over the empty handler's"),
    Target("rank_100_lmdb_median_over_empty", "<=", 1.8, "100 candidates: unloaded median over the empty handler's"),
    Target("rank_500_lmdb_throughput_over_empty", ">=", 0.35, "500 candidates: requests/s over the empty handler's"),
    Target(
        "open_loop_half_100_lmdb_p99_over_empty", "<=", 3.0, "100 candidates, half of the most: p99 over the empty's"
    ),
    Target("rank_100_lmdb_two_workers_over_one", ">=", 1.7, "100 candidates: two workers over one"),
    Target("rank_100_lmdb_throughput_over_feast_sdk_sqlite", ">=", 10, "100 candidates: over Feast's SDK on SQLite"),
    Target("rank_100_lmdb_throughput_over_feast_sdk_redis", ">=", 10, "100 candidates: over Feast's SDK on Redis"),
    Target("rank_100_lmdb_throughput_over_feast_server", ">", 1, "100 candidates: over Feast's feature server"),
    Target("rank_100_lmdb_throughput_over_mlserver", ">", 1, "100 candidates: over Feast's SDK and MLServer"),
    Target("rank_100_lmdb_throughput_over_tensorflow", ">", 1, "100 candidates: over TensorFlow on the packed store"),
    Target("batch_score_rows_over_onnxruntime", ">=", 0.6, "batch-score: rows/s over a raw loop of model.onnx"),
    Target("batch_rank_items_rows_over_onnxruntime", ">=", 0.6, "BatchRankItems: rows/s over a raw loop of model.onnx"),
    Target("stream_over_unary_per_core", ">=", 2, "StreamRankItems: rankings a processor second over RankItems"),
    Target(
        "recommend_500_median_over_rank_100", "<=", 4, "RecommendItems, 500 candidates: median over RankItems of 100"
    ),
    Target("overload_goodput_over_peak", ">=", 0.9, "asked for twice the most: answered, over the most"),
    Target("overload_p99_over_unloaded", "<=", 5, "asked for twice the most: p99 of what is answered, over unloaded"),
)


def measured(folder: Path) -> dict[str, float]:
    """Every ratio of the result files that are there, by name."""
    found: dict[str, float] = {}
    for name in FILES:
        path = folder / f"{name}.json"
        if path.is_file():
            found |= json.loads(path.read_text()).get("ratios", {})
    return found


def lines(found: Mapping[str, float]) -> list[tuple[str, str, str, str]]:
    """Of each target: what, bound, measured, and whether it is met."""
    rows = []
    for target in TARGETS:
        value = found.get(target.ratio)
        verdict = "not measured" if value is None else "met" if target.met(value) else "missed"
        sign = {">=": "≥", "<=": "≤", ">": ">"}[target.sense]
        rows.append((target.what, f"{sign} {target.bound:g}", "–" if value is None else f"{value:.2f}", verdict))
    return rows


def main() -> None:
    """Print the targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    rows = lines(measured(options.results))
    width = max(len(what) for what, *_ in rows)
    for what, bound, value, verdict in rows:
        print(f"{what:<{width}}  {bound:>7}  {value:>8}  {verdict}")
    sys.exit(any(verdict != "met" for *_, verdict in rows))


if __name__ == "__main__":
    main()
