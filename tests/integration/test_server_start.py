"""What a server refuses to start on, and what it says then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from feature_repo.paths import DataPaths
from feature_repo.store import apply
from server.app import Running, start
from server.models.model import load
from server.settings import Settings
from shoprank import bundle
from shoprank.errors import BundleError, FeatureStoreError, UserError
from tests.conftest import Shop, settings


@pytest.fixture
def models(trained: Shop, tmp_path: Path) -> Path:
    """A copy of the model repository, free to be spoiled."""
    shutil.copytree(trained.models, tmp_path / "models", symlinks=True)
    return tmp_path / "models"


def test_a_flipped_byte_is_refused_with_the_file_and_its_hashes(trained: Shop, models: Path) -> None:
    file = bundle.current(models, "purchase") / bundle.MODEL
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx: SHA-256 is .* the file was altered"):
        start(settings(trained.paths.root, models))


def test_a_model_of_another_shop_is_refused(trained: Shop, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_repo.shop.SAME_SHOP", 1.1)
    with pytest.raises(UserError, match="has 150 of the 150 items that purchase version 1 proposes; it is of another"):
        start(settings(trained.paths.root, models))


def test_another_feature_schema_is_refused_naming_the_features(trained: Shop, models: Path) -> None:
    file = bundle.current(models, "purchase") / bundle.MANIFEST
    manifest = json.loads(file.read_text())
    manifest["numeric"][0] = "user_moon_phase"
    file.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"the model alone has \['user_moon_phase'\].*\['user_orders'\]"):
        start(settings(trained.paths.root, models))


def test_the_same_features_in_another_order_are_refused(models: Path) -> None:
    directory = bundle.current(models, "purchase")
    manifest = json.loads((directory / bundle.MANIFEST).read_text())
    manifest["numeric"][:2] = manifest["numeric"][1::-1]
    (directory / bundle.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="the order differs"):
        load(directory)


def test_wrong_golden_answers_are_refused(models: Path) -> None:
    import numpy as np

    directory = bundle.current(models, "purchase")
    with np.load(directory / bundle.GOLDEN) as golden:
        answers = dict(golden)
    answers["probability"] = answers["probability"] + np.float32(0.01)
    np.savez(directory / bundle.GOLDEN, **answers)
    manifest = json.loads((directory / bundle.MANIFEST).read_text())
    manifest["files"][bundle.GOLDEN] = bundle.sha256(directory / bundle.GOLDEN)
    (directory / bundle.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="golden answers differ by 1"):
        load(directory)


def test_no_model_is_said_with_what_to_do(trained: Shop, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no active model; run `shoprank train`"):
        start(settings(trained.paths.root, tmp_path))


def test_a_repository_that_is_not_applied_is_said_with_what_to_do(bare: DataPaths, trained: Shop) -> None:
    with pytest.raises(FeatureStoreError, match=r"not applied; run `shoprank apply`"):
        start(settings(bare.root, trained.models))


def test_a_store_that_is_not_materialized_is_said_with_what_to_do(bare: DataPaths, trained: Shop) -> None:
    apply(bare, trained.models)
    with pytest.raises(FeatureStoreError, match=r"no items; run `shoprank materialize`"):
        start(settings(bare.root, trained.models))


def test_a_taken_port_is_named(server: Running, trained: Shop) -> None:
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(UserError, match=f"{port}: cannot listen there; is the port taken"):
        start(Settings(data=trained.paths.root, model_repository=trained.models, port=port))
