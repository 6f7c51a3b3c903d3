"""A bundle answers as the trained model does, and is there whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
import pytest

from feature_repo import schema
from shoprank import bundle
from tests.unit.training.synthetic_shards import write_dataset
from training import export
from training import model as network
from training.calibration import Calibration
from training.encoding import Vocabulary
from training.export import Identity, export_bundle
from training.fit import Trained, train
from training.graph import ExportError, salted
from training.model import Architecture
from training.settings import Settings
from training.shards import Columns, Split

KEYS = Columns(("a", "b", "c"), ("k", "l"))
STRINGS = Columns(("a", "b", "c"), ("k", "l"), "string", "column.")
QUICK = Settings(epochs=2, batch_size=256, min_count=3)
BENT = Calibration(1.3, -0.2, np.array([-1.0, 0.5]), np.array([0.6, -0.4]))


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Split]:
    return fitted(tmp_path_factory.mktemp("keys"), KEYS)


def fitted(folder: Path, columns: Columns, settings: Settings = QUICK) -> tuple[Trained, Split]:
    dataset = write_dataset(folder, columns, rows=(2000, 1000, 1500))
    return train(dataset, columns, settings), Split(dataset / "test", columns)


def session(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(path / bundle.MODEL), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("columns", "architecture"),
    [
        (STRINGS, Architecture()),
        (KEYS, Architecture(head="softmax", batch_norm=True, dropout=0.2)),
        (Columns((), ("k", "l")), Architecture()),
        (Columns(("a", "b"), ()), Architecture(head="softmax")),
    ],
    ids=["strings", "softmax with batch norm", "no numbers", "no categories"],
)
def test_onnx_runtime_answers_as_keras_does(tmp_path: Path, columns: Columns, architecture: Architecture) -> None:
    trained, test = fitted(tmp_path / "data", columns, replace(QUICK, architecture=architecture))
    trained = replace(trained, calibration=BENT)
    path = export_bundle(trained, test, tmp_path / "repository", Identity("m", "table"))
    assert bundle.verify(path).metrics["export_difference"] <= 1e-5
    wanted = {name for name, names in (("numeric", columns.numeric), ("categorical", columns.categorical)) if names}
    assert {i.name for i in session(path).get_inputs()} == wanted


def test_outputs_have_their_names_and_shapes(keyed: tuple[Trained, Split], tmp_path: Path) -> None:
    trained, test = keyed
    path = export_bundle(trained, test, tmp_path, Identity("m"))
    block = next(test.blocks()).take(slice(0, 7))
    outputs = session(path).run(["probability", "logit", "embedding"], export.feeds(trained.encoding, block))
    assert [(o.shape, o.dtype) for o in outputs] == [((7,), "f4"), ((7,), "f4"), ((7, 64), "f4")]
    assert 1 / (1 + np.exp(-outputs[1])) == pytest.approx(outputs[0], abs=1e-6)


def test_any_unknown_key_is_answered_as_any_other_and_not_as_missing(
    keyed: tuple[Trained, Split], tmp_path: Path
) -> None:
    trained, test = keyed
    served = session(export_bundle(trained, test, tmp_path, Identity("m")))
    numeric = np.zeros((4, 3), np.float32)
    keys = np.array([[5, 5], [schema.key_of("new"), 2**63 - 1], [0, 0], [11 * 10**15, 5]], np.int64)
    unseen, other, missing, known = served.run(["logit"], {"numeric": numeric, "categorical": keys})[0]
    assert unseen == other
    assert unseen != missing
    assert unseen != known


def test_golden_answers_hold_and_cover_missing_and_unseen(keyed: tuple[Trained, Split], tmp_path: Path) -> None:
    trained, test = keyed
    path = export_bundle(trained, test, tmp_path, Identity("m"))
    with np.load(path / bundle.GOLDEN) as golden:
        inputs = {name: golden[name] for name in ("numeric", "categorical")}
        assert len(inputs["numeric"]) == 64
        assert np.isnan(inputs["numeric"][-2:]).all()
        assert (inputs["categorical"][-2] == 0).all()
        answers = session(path).run(["probability", "logit", "embedding"], inputs)
        for name, answer in zip(("probability", "logit", "embedding"), answers, strict=True):
            assert answer == pytest.approx(golden[name], abs=1e-6)


def test_manifest_says_what_a_server_must_know(keyed: tuple[Trained, Split], tmp_path: Path) -> None:
    trained, test = keyed
    identity = Identity("m", "ranking", lambda model, version: f"{model}_v{version}", {"remark": "x"})
    manifest = bundle.Manifest.read(export_bundle(trained, test, tmp_path, identity))
    assert manifest.feature_service == "m_v1"
    assert manifest.numeric == KEYS.numeric
    assert manifest.schema_hash == schema.schema_hash(KEYS.numeric, KEYS.categorical)
    assert set(manifest.files) == {bundle.MODEL, bundle.GOLDEN, bundle.REFERENCE}
    assert manifest.training["remark"] == "x"
    assert manifest.training["rows"]["train"] == 2000
    assert manifest.thresholds["default"] == 0.5
    assert manifest.libraries["tensorflow"]


def test_versions_count_up_and_the_newest_is_active(keyed: tuple[Trained, Split], tmp_path: Path) -> None:
    trained, test = keyed
    for number in (1, 2):
        path = export_bundle(trained, test, tmp_path, Identity("m"))
        assert path == tmp_path / "m" / str(number)
    assert bundle.current(tmp_path, "m") == path.resolve()
    assert bundle.versions(tmp_path, "m") == [1, 2]


def test_model_that_differs_is_refused_and_nothing_is_written(
    keyed: tuple[Trained, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, test = keyed
    honest = network.build_server_model
    monkeypatch.setattr(export, "build_server_model", lambda scorer, _: honest(scorer, Calibration(intercept=0.01)))
    with pytest.raises(ExportError, match="ONNX Runtime differs from Keras by"):
        export_bundle(replace(trained, calibration=Calibration()), test, tmp_path, Identity("m"))
    assert list(tmp_path.iterdir()) == []


def test_interrupted_export_leaves_the_earlier_version_active_and_nothing_else(
    keyed: tuple[Trained, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, test = keyed
    first = export_bundle(trained, test, tmp_path, Identity("m"))

    def interrupt(directory: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "sync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(trained, test, tmp_path, Identity("m"))
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["1", "current"]
    assert bundle.current(tmp_path, "m") == first.resolve()


def test_files_left_by_a_killed_export_are_no_hindrance(keyed: tuple[Trained, Split], tmp_path: Path) -> None:
    trained, test = keyed
    left = tmp_path / "m" / f".staged.{os.getpid()}"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    path = export_bundle(trained, test, tmp_path, Identity("m"))
    assert set(bundle.verify(path).files) == {bundle.MODEL, bundle.GOLDEN, bundle.REFERENCE}
    assert not left.exists()


def test_graph_needs_nothing_beside_it(keyed: tuple[Trained, Split], tmp_path: Path) -> None:
    trained, test = keyed
    path = export_bundle(trained, test, tmp_path, Identity("m"))
    graph = onnx.load(path / bundle.MODEL)
    onnx.checker.check_model(graph, full_check=True)
    assert {o.domain for o in graph.opset_import} == {"", "ai.onnx.ml"}
    assert json.loads((path / bundle.MANIFEST).read_text())["categorical_type"] == "int64"


def test_equal_categories_of_two_columns_stay_apart() -> None:
    vocabulary = Vocabulary((pa.array(["x"]), pa.array(["x", "y"])))
    _, table = salted(vocabulary, strings=True)
    assert sorted(table.values()) == [0, 0, 2, 2, 3]


def test_colliding_keys_are_refused() -> None:
    salt, _ = salted(Vocabulary((pa.array([1], pa.int64()), pa.array([1], pa.int64()))), strings=False)
    clash = pa.array([7 + int(salt[0, 0] - salt[0, 1])], pa.int64())
    with pytest.raises(ExportError, match="collides"):
        salted(Vocabulary((pa.array([7], pa.int64()), clash)), strings=False)
