"""The model card as Markdown, for places that show it beside code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from training.evaluate.page import table

METRICS = {"ndcg@10": "NDCG@10", "recall@10": "Recall@10", "ndcg@20": "NDCG@20", "recall@20": "Recall@20"}


def markdown(card: dict[str, Any]) -> str:
    """The card that `training.evaluate.card.describe` gives, as Markdown."""
    model, ranks = card["model"], card["kind"] == "ranking"
    parts = [
        f"# {model['name']} v{model['version']}",
        f"A multilayer perceptron with a {model['head']} head over {card['data']['inputs']} inputs, made "
        f"{model['created_at']}. It answers {card['answers']}.{sources(card)}",
        "## Data",
        _data(card["data"]),
        *(["## Ranking", *_ranking(card), "## Ranking by segment", *_segments(card["slices"])] if ranks else []),
        "## Purchase probability" if ranks else "## Probability",
        *_classification(card["classification"]),
        "## Limits",
        "\n".join(f"- {limit}" for limit in card["limits"]),
    ]
    return "\n\n".join(parts) + "\n"


def sources(card: dict[str, Any]) -> str:
    """A sentence on the sources of candidates, with a space before it; empty where the bundle does not say."""
    known, model = card["sources"], card["model"]
    if not known:
        return ""
    learned = f", {' and '.join(known['learned'])} among them" if known["learned"] else ""
    text = f" Its sources of candidates know the purchases before {known['purchases_before'][:10]}{learned}."
    if known["network_version"] != model["version"]:
        text += f" They are new; its network is that of version {known['network_version']}."
    return text


def _data(data: dict[str, Any]) -> str:
    if not data["window"]:
        return "The bundle does not say."
    rows = [
        [split, *_ends(ends), f"{data['rows'][split]:,}" if split in data["rows"] else "not known"]
        for split, ends in data["window"].items()
    ]
    return _table(["split", "first time", "last time", "rows"], rows)


def _ends(times: Sequence[str]) -> tuple[str, str]:
    return (times[0], times[-1]) if times else ("at random", "at random")


def _ranking(card: dict[str, Any]) -> list[str]:
    if not card["ranking"]:
        return ["Not measured for this bundle."]
    return [
        f"Test week from {card['test']['cutoff'][:10]}; means with 95 % bootstrap intervals over users.",
        _table(["", "users", *METRICS.values()], [_figures("everybody", card["ranking"])]),
    ]


def _segments(slices: dict[str, dict[str, Any]] | None) -> list[str]:
    if not slices:
        return ["Not measured for this bundle."]
    tables = [
        _table(
            [attribute.replace("_", " "), "users", *METRICS.values()],
            [_figures(name, found) for name, found in segments.items()],
        )
        for attribute, segments in slices.items()
    ]
    return [*tables, "Segments of fewer than 10 users are left out."]


def _figures(name: str, found: dict[str, Any]) -> list[str]:
    cells = [found["metrics"][metric] for metric in METRICS]
    return [name, f"{found['users']:,}", *("{:.3f} ({:.3f}–{:.3f})".format(m["mean"], *m["interval"]) for m in cells)]


def _classification(metrics: dict[str, float]) -> list[str]:
    if not metrics:
        return ["Not measured."]
    rows = [
        [name.replace("_", " "), f"{value:,.0f}" if name.endswith(("rows", "positives")) else f"{value:.5g}"]
        for name, value in metrics.items()
    ]
    return ["On the test rows, as the bundle records them; no intervals were measured.", _table(["metric", ""], rows)]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are the data's own words: what would end a cell is escaped."""
    return table(header, [[cell.replace("|", r"\|").replace("\n", " ") for cell in row] for row in rows])
