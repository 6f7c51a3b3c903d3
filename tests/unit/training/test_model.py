"""The network is what the mathematics says, whichever head and however it is exported."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit

from training.calibration import Calibration
from training.encoding import Encoding, Vocabulary, fit_normalization
from training.model import (
    Architecture,
    Head,
    build_scorer,
    build_server_model,
    build_trainer,
    loss_of,
    score_weights,
)
from training.shards import Columns

RNG = np.random.default_rng(0)
NUMERIC = np.where(RNG.random((300, 3)) < 0.2, np.nan, RNG.standard_t(2, (300, 3)) * 10).astype(np.float32)
INDEX = RNG.integers(0, 4, (300, 2))
ENCODING = Encoding(
    Columns(("a", "b", "c"), ("k", "l")),
    fit_normalization(NUMERIC),
    Vocabulary((pa.array([1, 2], pa.int64()), pa.array([3, 4], pa.int64()))),
)


def test_first_layer_reads_what_the_numpy_normalization_gives() -> None:
    scorer = build_scorer(Architecture(), ENCODING, 0)
    layer = scorer.get_layer("normalize")
    assert np.abs(layer(NUMERIC).numpy() - ENCODING.normalization.apply(NUMERIC)).max() < 1e-5


def test_layers_are_128_then_64_then_1() -> None:
    scorer = build_scorer(Architecture(), ENCODING, 0)
    shapes = [scorer.get_layer(name).kernel.shape[1] for name in ("hidden", "embedding", "logits")]
    assert shapes == [128, 64, 1]


def test_columns_keep_their_own_embedding_of_one_index() -> None:
    layer = build_scorer(Architecture(category_width=8), ENCODING, 0).get_layer("categories")
    embedded = layer(np.array([[1, 1]])).numpy()[0]
    assert not np.allclose(embedded[:8], embedded[8:])


def test_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, second, other = (
        build_scorer(Architecture(), ENCODING, seed).get_layer("hidden").get_weights()[0] for seed in (1, 1, 2)
    )
    assert (first == second).all()
    assert not (first == other).all()


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_offset_shifts_only_the_trained_log_odds(head: Head) -> None:
    scorer = build_scorer(Architecture(head=head), ENCODING, 0)
    trainer = build_trainer(scorer, head)
    offset = np.full((300, 1), 1.5, np.float32)
    shifted, plain = trainer([NUMERIC, INDEX, offset]).numpy(), trainer([NUMERIC, INDEX, 0 * offset]).numpy()
    of_buying = shifted[:, -1] - plain[:, -1]
    assert of_buying == pytest.approx(np.full(300, 1.5), abs=1e-5)
    assert head == "sigmoid" or (shifted[:, 0] == plain[:, 0]).all()


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_server_model_answers_the_heads_own_probability(head: Head) -> None:
    scorer = build_scorer(Architecture(head=head), ENCODING, 0)
    probability, logit, embedding = build_server_model(scorer, Calibration())([NUMERIC, INDEX])
    logits, expected_embedding = scorer([NUMERIC, INDEX])
    raw = logits.numpy()
    expected = np.exp(raw[:, 1]) / np.exp(raw).sum(1) if head == "softmax" else expit(raw[:, 0])
    assert probability.numpy() == pytest.approx(expected, abs=1e-6)
    assert logit.shape == (300,)
    assert (embedding.numpy() == expected_embedding.numpy()).all()


def test_server_model_applies_the_whole_calibration() -> None:
    scorer = build_scorer(Architecture(), ENCODING, 0)
    calibration = Calibration(1.7, -0.4, np.array([-0.5, 0.2]), np.array([0.8, -0.9]))
    kernel, bias = score_weights(scorer)
    _, logit, embedding = build_server_model(scorer, calibration)([NUMERIC, INDEX])
    assert logit.numpy() == pytest.approx(calibration.apply(embedding.numpy() @ kernel + bias), abs=1e-5)


def test_softmax_loss_equals_sigmoid_loss_of_the_difference() -> None:
    logits, label = RNG.normal(size=(50, 2)).astype(np.float32), RNG.integers(0, 2, 50)
    two = loss_of("softmax")(np.eye(2, dtype=np.float32)[label], logits)
    one = loss_of("sigmoid")(label[:, None].astype(np.float32), logits[:, 1:] - logits[:, :1])
    assert float(two) == pytest.approx(float(one), abs=1e-6)


def test_optional_parts_are_built() -> None:
    scorer = build_scorer(Architecture(dropout=0.2, l2=1e-3, batch_norm=True), ENCODING, 0)
    names = {layer.name for layer in scorer.layers}
    assert {"dropout", "hidden_norm", "embedding_norm"} <= names
    assert scorer.losses
