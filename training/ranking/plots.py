"""Plots of the ranking evaluation, from its JSON alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

matplotlib.use("Agg")
OURS, OTHERS = "#0b6e4f", "#9aa7b4"


def write_plots(result: dict[str, Any], folder: Path) -> list[Path]:
    """Write `slates.png` and `explore.png`, and return them."""
    made = []
    for name, metrics in (
        ("slates", (("whole", "ndcg@10", "NDCG@10"), ("whole", "recall@20", "Recall@20"))),
        ("explore", (("explore", "recall@20", "Recall@20, products new to the household"),)),
    ):
        path = folder / f"{name}.png"
        staged = path.with_suffix(".tmp.png")
        slates_plot(result, metrics).savefig(staged, dpi=120)
        staged.replace(path)
        made.append(path)
    return made


def slates_plot(result: dict[str, Any], metrics: tuple[tuple[str, str, str], ...]) -> Figure:
    """Means with their 95 % intervals, a panel a metric (group, name, label), contenders ascending by the first."""
    group, metric, _ = metrics[0]
    names = sorted(result["contenders"], key=lambda name: result["contenders"][name][group][metric]["mean"])
    figure = Figure(figsize=(5.2 + 3.6 * len(metrics), 0.34 * len(names) + 1.2), layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, (group, metric, label) in zip(panels, metrics, strict=True):
        for place, name in enumerate(names):
            found = result["contenders"][name][group][metric]
            low, high = found["interval"]
            colour = OURS if name == result["champion"] else OTHERS
            axes.plot([low, high], [place, place], color=colour, linewidth=2)
            axes.plot(found["mean"], place, marker="o", color=colour)
        axes.set(xlabel=label)
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="x", color="#e6e6e6")
        axes.spines[["top", "right"]].set_visible(False)
    return figure
