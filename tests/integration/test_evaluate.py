"""What `shoprank evaluate` measured of a model stands in that model's card."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoprank import bundle
from shoprank.errors import NoActiveModel, UserError
from tests.conftest import Shop
from training.evaluate.run import evaluate


def test_the_card_beside_the_bundle_has_the_figures_of_its_evaluation(trained: Shop, tmp_path: Path) -> None:
    models, paths = tmp_path / "models", replace(trained.paths, root=tmp_path / "data")
    shutil.copytree(trained.models, models, symlinks=True)
    # Whoever reads a lock file of LMDB and closes it loses the locks that the same process has there.
    shutil.copytree(trained.paths.root, paths.root, ignore=shutil.ignore_patterns("online"))
    users = pq.read_table(paths.users)
    pq.write_table(users.append_column("household_size", pa.nulls(len(users), pa.string())), paths.users)
    result = evaluate(paths, models, "purchase", tmp_path / "out")
    card = json.loads((models / "purchase" / "cards" / "1" / "model_card.json").read_text())
    assert card["ranking"] == result["segments"]["whole"]
    assert card["model"]["graph"] == bundle.sha256(models / "purchase" / "1" / bundle.MODEL)


@pytest.mark.parametrize(
    ("changed", "error", "reason"),
    [
        ({"kind": "table"}, UserError, "model purchase: is of kind table"),
        ({"schema_hash": "0" * 64}, NoActiveModel, "is of other features than there are; run `shoprank train` again"),
    ],
)
def test_a_model_that_ranks_no_items_of_these_features_is_refused(
    trained: Shop, tmp_path: Path, changed: dict[str, str], error: type[UserError], reason: str
) -> None:
    models = tmp_path / "models"
    shutil.copytree(trained.models, models, symlinks=True)
    manifest = models / "purchase" / "1" / bundle.MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changed}))
    with pytest.raises(error, match=reason):
        evaluate(trained.paths, models, "purchase", tmp_path / "out")
