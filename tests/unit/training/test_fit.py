"""Training learns the population's probabilities, reproducibly, whatever was sampled or weighted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit

from shoprank.errors import UserError
from tests.unit.training.synthetic_shards import write_dataset
from training.fit import (
    Settings,
    Trained,
    mask_categories,
    score,
    train,
)
from training.model import Architecture
from training.shards import Columns, Split

COLUMNS = Columns(("a", "b", "c"), ("k", "l"))
QUICK = Settings(epochs=6, batch_size=256, min_count=3, learning_rate=5e-3)


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("natural"), COLUMNS)


@pytest.fixture(scope="module")
def trained(natural: Path) -> Trained:
    return train(natural, COLUMNS, QUICK)


def mean_probability(model: Trained, dataset: Path, calibrated: bool) -> float:
    scored = score(model.scorer, model.encoding, Split(dataset / "test", COLUMNS))
    z = model.calibration.apply(scored.logit) if calibrated else scored.logit
    return float(expit(z).mean())


def test_model_ranks_well(trained: Trained) -> None:
    assert trained.metrics["roc_auc"] > 0.77


def test_probabilities_are_calibrated(trained: Trained) -> None:
    assert trained.metrics["calibration_error"] < 0.05


def test_softmax_head_learns_the_same(trained: Trained, natural: Path) -> None:
    softmax = train(natural, COLUMNS, replace(QUICK, architecture=Architecture(head="softmax")))
    assert softmax.metrics["roc_auc"] == pytest.approx(trained.metrics["roc_auc"], abs=0.02)


def test_same_seed_gives_the_same_metrics(trained: Trained, natural: Path) -> None:
    assert train(natural, COLUMNS, QUICK).metrics == trained.metrics


@pytest.mark.parametrize("calibrated", [False, True])
def test_sampled_negatives_do_not_raise_the_probabilities(tmp_path: Path, calibrated: bool) -> None:
    dataset = write_dataset(tmp_path, COLUMNS, rows=(40_000, 10_000, 4_000), keep_negatives=0.1, base=-3)
    model = train(dataset, COLUMNS, replace(QUICK, epochs=4))
    assert mean_probability(model, dataset, calibrated) == pytest.approx(model.metrics["base_rate"], rel=0.2)


def test_class_weight_does_not_raise_the_probabilities(natural: Path) -> None:
    model = train(natural, COLUMNS, replace(QUICK, class_weight=10.0))
    assert mean_probability(model, natural, calibrated=False) == pytest.approx(model.metrics["base_rate"], rel=0.2)


def test_best_epoch_is_kept_when_training_goes_on_too_long(natural: Path) -> None:
    model = train(natural, COLUMNS, replace(QUICK, epochs=30, batch_size=64, patience=2, learning_rate=2e-2))
    losses = [epoch["validation_loss"] for epoch in model.training["epochs"]]
    assert len(losses) < 30
    assert losses.index(min(losses)) == len(losses) - 3


@pytest.mark.parametrize("average", [0.0, 0.18])
def test_the_weights_kept_are_those_that_the_best_loss_was_measured_with(natural: Path, average: float) -> None:
    model = train(natural, COLUMNS, replace(QUICK, average=average, epochs=12, patience=2, learning_rate=2e-2))
    scored = score(model.scorer, model.encoding, Split(natural / "validation", COLUMNS))
    z = scored.logit.astype(np.float64) + scored.offset
    loss = np.average(np.logaddexp(0, z) - scored.label * z, weights=scored.weight)
    assert loss == pytest.approx(min(epoch["validation_loss"] for epoch in model.training["epochs"]), rel=1e-3)


def test_a_running_mean_of_weights_smooths_the_losses(natural: Path) -> None:
    rough = replace(QUICK, epochs=8, batch_size=64, patience=8, learning_rate=3e-2)
    losses = [
        min(epoch["validation_loss"] for epoch in train(natural, COLUMNS, replace(rough, average=a)).training["epochs"])
        for a in (0.0, 0.18)
    ]
    assert losses[1] < losses[0]


def test_trees_teach_what_they_know_beyond_few_labels(natural: Path) -> None:
    alone, taught = (train(natural, COLUMNS, replace(QUICK, teacher=share)).metrics for share in (0.0, 0.5))
    assert taught["roc_auc"] > alone["roc_auc"] - 0.005
    assert taught["log_loss"] < alone["log_loss"] + 0.002


def test_facts_for_the_manifest_are_gathered(trained: Trained) -> None:
    assert trained.training["rows"] == {"train": 6000, "validation": 2000, "test": 2000}
    assert trained.training["window"]["train"] == (1_500_000_000, 1_500_005_999)
    assert trained.training["settings"]["seed"] == 0
    assert set(trained.thresholds) == {"default", "f1"}


def test_progress_tells_every_stage_to_its_end(natural: Path) -> None:
    last: dict[str, tuple[int, int]] = {}

    def tell(stage: str, done: int, total: int) -> None:
        last[stage] = (done, total)

    train(natural, COLUMNS, replace(QUICK, epochs=1), tell)
    assert list(last) == ["encode", "grow trees", "ask the trees", "train", "calibrate", "evaluate"]
    assert all(done == total for done, total in last.values())


def test_masking_hides_some_categories_as_unseen_and_fewer_as_missing() -> None:
    index = np.full((10_000, 3), 7)
    mask_categories(index, np.random.default_rng(0))
    assert (index == 1).mean() == pytest.approx(0.015, abs=0.003)
    assert (index == 0).mean() == pytest.approx(0.005, abs=0.002)


def test_split_of_one_class_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, COLUMNS, rows=(200, 200, 200))
    path = tmp_path / "validation" / "part-0.parquet"
    table = pq.read_table(path)
    zeros = pa.array([0] * len(table), pa.int8())
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", zeros), path)
    with pytest.raises(UserError, match=r"validation: every label is 0; both 0 and 1 are needed"):
        train(tmp_path, COLUMNS, QUICK)


def test_missing_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train: no Parquet shards"):
        train(tmp_path, COLUMNS, QUICK)
