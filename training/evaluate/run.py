"""Evaluates the active bundle and its baselines on the test week, and writes the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pyarrow.dataset as ds

from feature_repo import schema
from feature_repo.paths import DataPaths, write_json
from shoprank.bundle import MODEL, Manifest, current, verify
from shoprank.errors import NoActiveModel, UserError
from training import metrics
from training.dataset.build import require_built
from training.dataset.labels import truth
from training.encoding import Encoding, fit_encoding
from training.evaluate.baselines import Rows, Scorer, column, lightgbm, logistic_regression
from training.evaluate.card import folder_of, identity_of, write_card
from training.evaluate.ranking import Slates, ranking_metrics
from training.evaluate.report import write_report
from training.evaluate.segments import measured_by_segment, segments_of
from training.schedule import HORIZON, Schedule
from training.shards import RANKING, Block, Split, concatenate

MAX_ROWS = 3_000_000
"""Rows the baselines learn from at most; a larger training set is sampled."""

KS = (10, 20)


@dataclass(frozen=True)
class Contender:
    """One way to score rows: its name, its scorer, and whether its scores are log-odds."""

    name: str
    score: Scorer
    is_log_odds: bool


def evaluate(
    paths: DataPaths,
    model_repository: Path,
    model: str,
    out: Path,
    seed: int = 0,
    stage: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Write `evaluation.json`, `evaluation.html` and the model's card into `out` and return what the JSON holds.

    The card is written beside the bundle as well, see `training.evaluate.card.folder_of`.
    `stage` is told what begins. Raises UserError where the dataset is missing or of other events, or the model is a
    table's, NoActiveModel where no version is active or the active one is of other features.
    """
    bundle = current(model_repository, model)
    manifest = verify(bundle)
    if manifest.kind != "ranking":
        raise UserError(f"model {model}: is of kind {manifest.kind}, so no ranking of users' items; name another")
    if manifest.schema_hash != schema.schema_hash():
        raise NoActiveModel(f"{bundle}: is of other features than there are; run `shoprank train` again")
    require_built(paths)
    test = Split(paths.dataset / "test", RANKING)
    stage("fitting baselines")
    contenders = _contenders(bundle, paths, seed, stage)
    stage("scoring the test week")
    label, scores = _score(test, contenders)
    if len(np.unique(label)) < 2:
        raise UserError(f"{test.folder}: the test week has labels of one class only")
    result = {
        "model": identity_of(manifest),
        "test": _describe(paths, label),
        "classification": {
            c.name: metrics.evaluate(label, scores[c.name], None, seed) for c in contenders if c.is_log_odds
        },
        **_ranked(paths, contenders, scores),
        "reference": {
            "personal top frequency, NDCG@10, measured before this project": 0.2755,
            "balanced accuracy reported by the article that inspired the model": 0.85,
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "evaluation.json", result)
    curves = {c.name: scores[c.name] for c in contenders if c.is_log_odds}
    write_report(out / "evaluation.html", result, label, curves)
    for folder in (out, folder_of(bundle)):
        write_card(bundle, out / "evaluation.json", folder)
    return result


def _contenders(bundle: Path, paths: DataPaths, seed: int, stage: Callable[[str], None]) -> list[Contender]:
    manifest = Manifest.read(bundle)
    train = Split(paths.dataset / "train", RANKING)
    rng = np.random.default_rng(seed)
    encoding: Encoding = fit_encoding(train, rng)
    rows = Rows(_candidates(train, rng), _candidates(Split(paths.dataset / "validation", RANKING), rng), encoding)
    stage("fitting logistic regression")
    linear = logistic_regression(rows, seed)
    stage("fitting LightGBM")
    trees = lightgbm(rows, seed)
    return [
        Contender(f"MLP ({manifest.model} v{manifest.version})", onnx_scorer(bundle), True),
        Contender("LightGBM", trees, True),
        Contender("logistic regression", linear, True),
        Contender("personal frequency, halved every 56 days", column("ui_steady"), False),
        Contender("personal top frequency", column("ui_purchases"), False),
        Contender("global popularity, 28 days", column("item_purchases_28d"), False),
    ]


def _candidates(split: Split, rng: np.random.Generator) -> Block:
    """The split's candidate rows (the stratum of the smallest offset), at most about MAX_ROWS of them."""
    keep = min(1.0, MAX_ROWS / len(split))
    smallest = min(float(block.offset.min()) for block in split.blocks())
    blocks = [
        block.take(np.flatnonzero((block.offset <= smallest + 1e-6) & (rng.random(len(block)) < keep)))
        for block in split.blocks()
    ]
    return concatenate(blocks)


def onnx_scorer(bundle: Path) -> Scorer:
    """Log-odds by ONNX Runtime, as the server computes them."""
    session = ort.InferenceSession(str(bundle / MODEL), providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}

    def score(block: Block) -> npt.NDArray[np.float64]:
        inputs = {"numeric": block.numeric, "categorical": np.ascontiguousarray(block.categorical)}
        (logit,) = session.run(["logit"], {k: v for k, v in inputs.items() if k in names})
        return np.asarray(logit, np.float64)

    return score


def _score(test: Split, contenders: list[Contender]) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    labels: list[Any] = []
    parts: dict[str, list[Any]] = {c.name: [] for c in contenders}
    for block in test.blocks():
        labels.append(block.label)
        for contender in contenders:
            parts[contender.name].append(contender.score(block))
    return np.concatenate(labels), {name: np.concatenate(p) for name, p in parts.items()}


def _ranked(paths: DataPaths, contenders: list[Contender], scores: dict[str, Any]) -> dict[str, Any]:
    """Metrics of every contender's slates, and of the first's by segment."""
    cutoff = Schedule.read(paths).test
    wanted = truth(paths, cutoff, HORIZON)
    ids = ds.dataset(paths.dataset / "test", format="parquet").to_table(columns=["user_id", "item_id"])
    slates = Slates(*(np.asarray(ids[name].to_pylist(), dtype=str) for name in ("user_id", "item_id")))
    tops = {c.name: slates.top(scores[c.name], max(KS)) for c in contenders}
    return {
        "ranking": {name: ranking_metrics(top, wanted, KS) for name, top in tops.items()},
        "segments": measured_by_segment(tops[contenders[0].name], wanted, segments_of(paths, cutoff)),
    }


def _describe(paths: DataPaths, label: npt.NDArray[np.float32]) -> dict[str, Any]:
    schedule = Schedule.read(paths)
    return {
        "cutoff": schedule.test.isoformat(),
        "horizon_days": HORIZON.days,
        "users_with_truth": len(truth(paths, schedule.test, HORIZON)),
        "rows": len(label),
        "positives": int(label.sum()),
        "base_rate": float(label.mean()),
    }


def summary(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Rows for a table: contender, ROC AUC, PR AUC, log loss, ECE/base rate, balanced accuracy, NDCG@10, Recall@10."""
    for name, ranking in result["ranking"].items():
        scored = result["classification"].get(name)
        yield (
            name,
            *(
                (
                    f"{scored['roc_auc']:.4f}",
                    f"{scored['pr_auc']:.4f}",
                    f"{scored['log_loss']:.5f}",
                    f"{scored['calibration_error'] / scored['base_rate']:.1%}",
                    f"{scored['balanced_accuracy']:.4f}",
                )
                if scored
                else ("–",) * 5
            ),
            f"{ranking['ndcg@10']:.4f}",
            f"{ranking['recall@10']:.4f}",
        )
