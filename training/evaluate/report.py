"""The evaluation as one HTML page with its plots inside."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from scipy.special import expit
from sklearn.metrics import precision_recall_curve, roc_curve

matplotlib.use("Agg")

Label = npt.NDArray[np.float32]
Scores = dict[str, npt.NDArray[np.float64]]
BINS = 20
COLOURS = ("#0b6e4f", "#c8553d", "#5b6c8f", "#b08900", "#7a5195", "#888888")


def write_report(path: Path, result: dict[str, Any], label: Label, scores: Scores) -> None:
    """Render `result` with plots of labels 0/1 (n,) and each contender's log-odds (n,). Written whole or not at all."""
    template = Environment(loader=PackageLoader("training.evaluate", "templates"), autoescape=True).get_template(
        "report.html.j2"
    )
    page = template.render(
        result=result,
        plots={
            "ranking": _embed(ranking_plot(result["ranking"])),
            "reliability": _embed(reliability_plot(label, scores)),
            "roc": _embed(curve_plot(label, scores)),
        },
    )
    staged = path.with_suffix(".tmp")
    staged.write_text(page)
    staged.replace(path)


def reliability_bins(label: Label, logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean probability and mean label of 20 equal-mass bins, shape (20, 2)."""
    probability = expit(logit)
    order = np.argsort(probability, kind="stable")
    return np.array([(probability[b].mean(), label[b].mean()) for b in np.array_split(order, BINS)])


def reliability_plot(label: Label, scores: Scores) -> Figure:
    """Mean prediction against observed rate, both logarithmic since purchases are rare."""
    figure, axes = _figure()
    low = 1e-4
    axes.plot([low, 1], [low, 1], color="#bbbbbb", linewidth=1, linestyle="--", label="perfect")
    for (name, logit), colour in zip(scores.items(), COLOURS, strict=False):
        bins = np.maximum(reliability_bins(label, logit), low)
        axes.plot(*bins.T, marker="o", markersize=4, linewidth=1.2, color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel="mean predicted probability", ylabel="share bought")
    axes.legend(frameon=False, fontsize=8)
    return figure


def curve_plot(label: Label, scores: Scores) -> Figure:
    """ROC curve on the left, precision against recall on the right."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, logit), colour in zip(scores.items(), COLOURS, strict=False):
        false_rate, true_rate, _ = roc_curve(label, logit)
        precision, recall, _ = precision_recall_curve(label, logit)
        left.plot(*_thin(false_rate, true_rate), color=colour, label=name)
        right.plot(*_thin(recall, precision), color=colour)
    left.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--")
    left.set(xlabel="false positive rate", ylabel="true positive rate")
    right.set(xlabel="recall", ylabel="precision", ylim=(0, 1))
    left.legend(frameon=False, fontsize=8, loc="lower right")
    _strip(left, right)
    return figure


def ranking_plot(ranking: dict[str, dict[str, float]]) -> Figure:
    """NDCG@10 of each contender as bars."""
    figure, axes = _figure()
    names = list(ranking)[::-1]
    values = [ranking[name]["ndcg@10"] for name in names]
    bars = axes.barh(names, values, color=[COLOURS[0] if n.startswith("MLP") else "#b9c4cf" for n in names])
    axes.bar_label(bars, fmt="%.4f", padding=4, fontsize=9)
    axes.set(xlabel="NDCG@10", xlim=(0, max(values) * 1.15))
    return figure


def _thin(x: Any, y: Any, points: int = 2_000) -> tuple[Any, Any]:
    at = np.unique(np.linspace(0, len(x) - 1, points).astype(int))
    return x[at], y[at]


def _figure() -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    _strip(axes)
    return figure, axes


def _strip(*all_axes: Any) -> None:
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)


def _embed(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return base64.b64encode(buffer.getvalue()).decode()
