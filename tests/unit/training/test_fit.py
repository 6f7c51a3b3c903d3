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
from training.feeds import Feeds, mask_categories
from training.fit import Trained, train
from training.model import Architecture
from training.scored import score
from training.settings import Settings, silent
from training.shards import Block, Columns, Split, concatenate
from training.teacher import grow_teacher

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
    steep = replace(QUICK, epochs=30, patience=2, learning_rate=4e-2, average=0.03, teacher=0)
    model = train(natural, COLUMNS, steep)
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
    """From epoch to epoch they change less; which has the lowest differs by seed and processor."""
    rough = replace(QUICK, epochs=8, batch_size=64, patience=8, learning_rate=3e-2, teacher=0)
    changes = []
    for average in (0.0, 0.18):
        epochs = train(natural, COLUMNS, replace(rough, average=average)).training["epochs"]
        losses = [epoch["validation_loss"] for epoch in epochs]
        changes.append(np.std(np.diff(losses[2:])))
    assert changes[1] < 0.6 * changes[0]


def test_a_network_that_is_taught_answers_more_like_the_trees(natural: Path) -> None:
    splits = {name: Split(natural / name, COLUMNS) for name in ("train", "validation", "test")}
    models = [train(natural, COLUMNS, replace(QUICK, teacher=share)) for share in (0.0, 1.0)]
    trees = grow_teacher(splits["train"], splits["validation"], models[0].encoding, 0, silent)
    assert trees is not None
    test = concatenate(list(splits["test"].blocks()))
    alike = [np.corrcoef(model.logits(test), trees.score(test))[0, 1] for model in models]
    assert alike[1] > alike[0]
    assert [model.training["taught"] for model in models] == [False, True]


def test_it_is_said_where_a_teacher_was_asked_for_and_there_was_none(trained: Trained) -> None:
    assert replace(trained, settings=replace(QUICK, teacher=0.0)).notes == ()
    without = replace(trained, settings=replace(QUICK, teacher=0.5), training={**trained.training, "taught": False})
    assert "labels alone" in without.notes[0]


def test_a_class_weight_weighs_the_part_of_a_softened_label_that_is_positive(trained: Trained) -> None:
    label = np.array([0, 1, 0.3], np.float32)
    block = Block(
        np.zeros((3, 3), np.float32), np.zeros((3, 2), np.int64), label, np.zeros(3, np.float32), np.ones(3, np.float32)
    )
    z = np.array([0.4, -1.0, 2.0])
    for head in ("sigmoid", "softmax"):
        for by in (1.0, 0.003, 5.0):
            settings = Settings(architecture=Architecture(head=head), class_weight=by)
            (*_, offset), target, weight = Feeds(trained.encoding, settings)._example(block)
            p = expit(z + offset[:, 0])
            positive = target[:, -1]
            got = -weight * (positive * np.log(p) + (1 - positive) * np.log(1 - p))
            np.testing.assert_allclose(got, -by * label * np.log(p) - (1 - label) * np.log(1 - p), rtol=1e-5)
            assert positive[:2].tolist() == [0, 1]


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
