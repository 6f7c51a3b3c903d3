"""The picture of benchmarks.features: read times by store, growth with the number of entities, bytes an entity."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def plot(result: dict[str, Any], path: Path) -> None:
    """Three panels into one PNG."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, (reads, scale, size) = plt.subplots(1, 3, figsize=(16, 4.8), layout="constrained", width_ratios=(2, 1, 1))
    counts = [int(n) for n in result["reads"]["items"]]
    for k, name in enumerate(result["reads"]["items"]["1"]):
        line = [result["reads"]["items"][str(n)][name]["median_ms"] for n in counts]
        style = "-" if "bulk" in name else "--" if "packed" in name else ":"
        reads.plot(counts, line, f"o{style}", color=f"C{k}", label=name)
    reads.set(xscale="log", yscale="log", xlabel="items × 16 features", ylabel="median, ms", title="Reading items")
    reads.legend(fontsize=8)
    rows = result["scale"]["reads"]
    entities = [row["entities"] for row in rows]
    scale.plot(entities, [row["median_ms"] for row in rows], "o-", label="median")
    scale.plot(entities, [row["p99_ms"] for row in rows], "o:", label="99th percentile")
    scale.set(xscale="log", xlabel="entities", ylabel="ms", title="100 items in bulk, packed LMDB")
    scale.set_ylim(bottom=0)
    scale.legend()
    sizes = result["scale"]["bytes_per_entity"]
    bars = size.barh(list(sizes), list(sizes.values()), color=["C7", "C7", "C0", "C0"])
    size.bar_label(bars, fmt="%.0f", padding=3)
    size.set(xlabel="bytes an entity of 16 float32", title="Size")
    size.margins(x=0.15)
    figure.savefig(path, dpi=110)
