"""Any flat table with a binary label trains and gives a bundle that answers as the network does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from scipy.special import expit

from shoprank import bundle
from shoprank.errors import UserError
from tests.unit.training.table.tables import mixed, write_csv, write_parquet
from training import export
from training.fit import Trained
from training.settings import Settings
from training.shards import Block, Split
from training.table import train as table_training
from training.table.train import TableModel, settings_for, train_table


def quick(rows: int) -> Settings:
    return replace(settings_for(rows), epochs=3)


@dataclass(frozen=True)
class Made:
    """A table's model with what training handed to export."""

    model: TableModel
    trained: Trained
    test: Block

    @property
    def session(self) -> ort.InferenceSession:
        return ort.InferenceSession(str(self.model.bundle / bundle.MODEL), providers=["CPUExecutionProvider"])

    def feeds(self, block: Block) -> dict[str, npt.NDArray[Any]]:
        return export.feeds(self.trained.encoding, block)


@pytest.fixture(scope="module", params=["csv", "parquet"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Trained on a table of mixed types with 6 rows that have no label and a word among its numbers."""
    folder = tmp_path_factory.mktemp("table")
    table = mixed(900)
    table["bought"][:600:100] = [None] * 6
    if request.param == "csv":
        table["spent"][10] = "twelve"
    file = (write_csv if request.param == "csv" else write_parquet)(folder / f"table.{request.param}", table)
    handed: list[tuple[Trained, Block]] = []

    def spy(trained: Trained, test: Split, *rest: Any) -> Path:
        handed.append((trained, next(test.blocks())))
        return export.export_bundle(trained, test, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_training, "export_bundle", spy)
        model = train_table(file, "bought", folder / "models", "shop", id_columns=["customer_id"], settings=quick)
    return Made(model, *handed[0])


def test_bundle_is_of_kind_table_and_whole(made: Made) -> None:
    manifest = bundle.verify(made.model.bundle)
    assert manifest.kind == "table"
    assert manifest.feature_service == ""
    assert manifest.categorical_type == "string"
    assert manifest.numeric == ("age", "spent", "vip", "joined", "joined_weekday")
    assert manifest.categorical == ("colour",)


def test_onnx_runtime_answers_as_keras_does(made: Made) -> None:
    (found,) = made.session.run(["probability"], made.feeds(made.test))
    assert found == pytest.approx(expit(made.trained.logits(made.test)), abs=1e-5)
    assert np.ptp(found) > 0.1


def test_unseen_category_and_missing_everything_get_a_finite_answer(made: Made) -> None:
    block = made.test.take(slice(0, 4))
    numeric = np.where(np.arange(4)[:, None] == 3, np.float32(np.nan), block.numeric[:1])
    colours = np.array([["mauve"], ["teal"], ["red"], [""]], object)
    strange = replace(block, numeric=numeric, categorical=colours)
    probability, logit, embedding = made.session.run(["probability", "logit", "embedding"], made.feeds(strange))
    assert np.isfinite(logit).all()
    assert np.isfinite(embedding).all()
    assert ((probability > 0) & (probability < 1)).all()
    assert logit[0] == logit[1]
    assert logit[0] != logit[2]


def test_number_far_outside_training_gets_a_finite_answer(made: Made) -> None:
    block = made.test.take(slice(0, 2))
    far = np.full_like(block.numeric, np.inf) * np.array([[1], [-1]], np.float32)
    (logit,) = made.session.run(["logit"], made.feeds(replace(block, numeric=far)))
    assert np.isfinite(logit).all()


def test_rows_without_a_label_are_left_out_and_counted(made: Made) -> None:
    training = bundle.Manifest.read(made.model.bundle).training
    assert sum(training["rows"].values()) == 894
    assert training["table"]["label"] == {"column": "bought", "mapping": {"no": 0, "yes": 1}, "rows_without": 6}
    assert "label 'bought': 6 rows have none and were left out" in made.model.notes


def test_notes_tell_what_was_dropped_and_why(made: Made) -> None:
    assert "column 'customer_id' dropped: named as an id" in made.model.notes
    assert "column 'plan' dropped: every cell is basic" in made.model.notes
    assert "column 'remark' dropped: every cell is empty" in made.model.notes


def test_network_and_baseline_are_measured_on_the_same_rows(made: Made) -> None:
    manifest = bundle.Manifest.read(made.model.bundle)
    assert manifest.training["baseline"]["logistic_regression"] == made.model.baseline
    assert made.model.metrics["rows"] == made.model.baseline["rows"]
    assert made.model.metrics["roc_auc"] > 0.65
    assert made.model.baseline["roc_auc"] > 0.65


def test_same_seed_gives_the_same_metrics(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "t.csv", mixed(500))
    first, second = (train_table(file, "bought", tmp_path, "m", settings=quick).metrics for _ in range(2))
    assert first == second


def test_split_by_time_is_in_the_manifest(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "t.csv", mixed(500))
    model = train_table(file, "bought", tmp_path, "m", time_column="joined", settings=quick)
    training = bundle.Manifest.read(model.bundle).training
    assert training["table"]["split"]["by"] == "joined"
    window = training["window"]
    assert window["train"][1] < window["validation"][0] <= window["validation"][1] < window["test"][0]
    assert any(note.startswith("time column 'joined'") for note in model.notes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label": "sold"}, "no column 'sold'; it has"),
        ({"label": "plan"}, "label column 'plan' must have two values, but every cell is 'basic'"),
        ({"label": "colour"}, "label column 'colour' must have two values, but it has 3"),
        ({"time_column": "when"}, "no column 'when'"),
        ({"time_column": "colour"}, "time column 'colour' holds no dates or numbers: it is read as a category"),
        ({"time_column": "bought"}, "'bought' is the label and cannot be a time or id column too"),
        ({"id_columns": ["bought"]}, "'bought' is the label and cannot be a time or id column too"),
        ({"id_columns": ["nowhere"]}, "no column 'nowhere'"),
        ({"positive": "maybe"}, "not 'maybe'"),
    ],
)
def test_wrong_choice_is_refused_naming_it_and_nothing_is_written(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    file = write_csv(tmp_path / "t.csv", mixed(300))
    with pytest.raises(UserError, match=said) as refused:
        train_table(file, options.pop("label", "bought"), tmp_path / "models", "m", **options)
    assert str(file) in str(refused.value)
    assert not (tmp_path / "models").exists()
