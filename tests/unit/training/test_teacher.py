"""Labels with a teacher's answers in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit

from tests.unit.training.synthetic_shards import write_dataset
from training.encoding import fit_encoding
from training.settings import silent
from training.shards import Columns, Split, concatenate
from training.teacher import Taught, grow_teacher, softened
from training.trees import Grown

COLUMNS = Columns(("a", "b", "c"), ("k", "l"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("sampled"), COLUMNS, keep_negatives=0.5)


@pytest.fixture(scope="module")
def teacher(dataset: Path) -> Grown:
    train, validation = (Split(dataset / name, COLUMNS) for name in ("train", "validation"))
    grown = grow_teacher(train, validation, fit_encoding(train, np.random.default_rng(0)), 0, silent)
    assert grown is not None
    return grown


def test_a_share_of_the_label_is_the_teachers_probability_in_the_sample() -> None:
    label, z, offset = (np.array(values, np.float32) for values in ([0, 1], [-1, 2], [0, 0.7]))
    expected = [0.25 * expit(-1), 0.75 + 0.25 * expit(2.7)]
    np.testing.assert_allclose(softened(label, z, offset, 0.25), expected, rtol=1e-6)
    np.testing.assert_array_equal(softened(label, z, offset, 0), label)


def test_the_teacher_knows_the_population_that_was_not_sampled(dataset: Path, teacher: Grown) -> None:
    block = concatenate(list(Split(dataset / "test", COLUMNS).blocks()))
    assert expit(teacher.score(block)).mean() == pytest.approx(block.label.mean(), abs=0.03)


def test_rows_sampled_at_very_different_rates_are_learned_together(tmp_path: Path) -> None:
    """Candidates, and negatives of the rest of a catalogue of a million, of which hardly any is kept."""
    columns, rng = Columns(("a", "b"), ()), np.random.default_rng(0)
    for split, n in (("train", 20_000), ("validation", 5_000)):
        is_rest = rng.random(n) < 0.2
        a = rng.normal(size=n)
        offset = np.where(is_rest, -np.log(15 / 1e6), 2.3)
        truth = np.where(is_rest, -12.0, -4.0) + a
        label = rng.random(n) < expit(truth + offset)
        (tmp_path / split).mkdir()
        table = pa.table({"a": a, "b": is_rest.astype(float), "label": label.astype(int), "offset": offset})
        pq.write_table(table, tmp_path / split / "part.parquet")
    train, validation = (Split(tmp_path / name, columns) for name in ("train", "validation"))
    grown = grow_teacher(train, validation, fit_encoding(train, np.random.default_rng(0)), 0, silent)
    assert grown is not None
    block = concatenate(list(validation.blocks()))
    truth = np.where(block.numeric[:, 1] > 0, -12.0, -4.0) + block.numeric[:, 0]
    in_sample = [z + block.offset for z in (grown.score(block), truth)]
    losses = [float(np.mean(np.logaddexp(0, z) - block.label * z)) for z in in_sample]
    assert losses[0] < losses[1] + 0.02


def test_there_is_no_teacher_where_trees_find_nothing(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        pq.write_table(pa.table({"a": np.zeros(50), "label": np.arange(50) % 2}), tmp_path / split / "part.parquet")
    train, validation = (Split(tmp_path / name, Columns(("a",), ())) for name in ("train", "validation"))
    assert grow_teacher(train, validation, fit_encoding(train, np.random.default_rng(0)), 0, silent) is None


def test_rows_are_the_same_in_any_order_and_their_labels_softened(dataset: Path, teacher: Grown) -> None:
    plain = Split(dataset / "train", COLUMNS)
    told: list[tuple[str, int, int]] = []
    taught = Taught(plain, teacher, 0.5, lambda *what: told.append(what))
    assert told[-1] == ("ask the trees", len(plain), len(plain))
    for seed in (None, 3):
        rngs = [None if seed is None else np.random.default_rng(seed) for _ in range(2)]
        for hard, soft in zip(plain.blocks(rngs[0]), taught.blocks(rngs[1]), strict=True):
            np.testing.assert_array_equal(hard.numeric, soft.numeric)
            expected = softened(hard.label, teacher.score(hard), hard.offset, 0.5)
            np.testing.assert_allclose(soft.label, expected, rtol=1e-6)
    assert {value for label, _, _ in taught.targets() for value in label.tolist()} == {0.0, 1.0}
