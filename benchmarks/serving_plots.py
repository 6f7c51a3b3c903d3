"""Pictures of benchmarks.serving, open_loop and peers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

COLOURS = {"empty handler": "C7", "empty handler, own polling": "C8", "shoprank, LMDB": "C0", "shoprank, Redis": "C1"}


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    return plt


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Latency and throughput over the number of candidates, into one PNG."""
    figure, (latency, throughput) = _pyplot().subplots(1, 2, figsize=(12, 4.2), layout="constrained")
    counts = [line["candidates"] for line in results]
    for name, colour in COLOURS.items():

        def values(key: str, name: str = name) -> list[float]:
            return [line["servers"][name][key] for line in results]

        latency.plot(counts, values("median_ms"), "o-", color=colour, label=f"{name}, median")
        latency.plot(counts, values("p99_ms"), "o:", color=colour, label=f"{name}, 99th percentile")
        throughput.plot(counts, values("requests_per_second"), "o-", color=colour, label=name)
    latency.set(xscale="log", yscale="log", xlabel="candidates", ylabel="milliseconds", title="RankItems, one client")
    throughput.set(xscale="log", xlabel="candidates", ylabel="requests/s", title="Most requests a second, one core")
    throughput.set_ylim(bottom=0)
    for axes in (latency, throughput):
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def plot_open_loop(result: dict[str, Any], path: Path) -> None:
    """Percentiles at half of the most, and the 99th over the rate, into one PNG."""
    figure, (spectrum, sweep) = _pyplot().subplots(1, 2, figsize=(12, 4.2), layout="constrained")
    for name, figures in result["half"]["servers"].items():
        nines = [1 / (1 - q) for q, _ in figures["spectrum"]]
        spectrum.plot(nines, [ms for _, ms in figures["spectrum"]], color=COLOURS[name], label=name)
    ticks = {1: "0", 2: "0.5", 10: "0.9", 100: "0.99", 1_000: "0.999"}
    spectrum.set(xscale="log", yscale="log", xlabel="quantile", ylabel="milliseconds")
    spectrum.set_xticks(list(ticks), list(ticks.values()))
    spectrum.set_title(f"{result['half']['requests_per_second']:,.0f} requests/s, Poisson")
    for name in result["half"]["servers"]:
        lines = [(line["requests_per_second"], line["servers"][name]) for line in result["sweep"]]
        held = [(rate, figures) for rate, figures in lines if figures["valid"] and figures["sustained"]]
        for key, style in (("median_ms", "o-"), ("p99_ms", "o:")):
            label = f"{name}, {'median' if key == 'median_ms' else '99th percentile'}"
            sweep.plot([r for r, _ in held], [f[key] for _, f in held], style, color=COLOURS[name], label=label)
    sweep.set(yscale="log", xlabel="requests/s", ylabel="milliseconds", title="Latency by rate, while it is sustained")
    for axes in (spectrum, sweep):
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def plot_peers(result: dict[str, Any], path: Path) -> None:
    """Throughput and latency of every peer as bars, into one PNG."""
    figure, panels = _pyplot().subplots(1, 2, figsize=(13, 4.2), layout="constrained", sharey=True)
    names = list(result["servers"])[::-1]
    colours = ["C0" if name.startswith("shoprank") else "C7" for name in names]
    shown: list[tuple[str, str, Callable[[float], str]]] = [
        ("requests_per_second", "requests/s of 100 candidates, one core", "{:,.0f}".format),
        ("median_ms", "median of one client, ms", "{:.1f}".format),
    ]
    for axes, (key, title, text) in zip(panels, shown, strict=True):
        values = [result["servers"][name][key] for name in names]
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, [text(value) for value in values], padding=3)
        axes.set(title=title, xscale="log")
        axes.margins(x=0.2)
    figure.savefig(path, dpi=110)
