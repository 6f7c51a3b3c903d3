"""The drift of what a real server is asked from what its model was measured on."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from server.app import start
from shoprank import Client, bundle
from tests.conftest import Shop, settings
from tests.integration.telemetry.conftest import Measured, scrape
from tests.world import USERS

ROWS = 300
BEGIN = {"drift_rows_per_second": 100, "drift_min_rows": ROWS}


def ask_until_measured(server: Measured, at: datetime | None = None) -> dict[str, float]:
    """Rank the catalogue for one user after another until an index is stated; those of features, and of the score."""
    deadline = time.monotonic() + 60
    with Client(server.address, timeout=10) as client:
        while time.monotonic() < deadline:
            for user in range(USERS):
                client.rank(f"u{user}", top_k=1, time=at)
                time.sleep(0.005)
            found = scrape(server.metrics)
            indices = {
                dict(labels)["feature"]: v for (name, labels), v in found.items() if name.endswith("feature_psi")
            }
            rows = found["shoprank_drift_window_rows", frozenset()]
            assert (rows >= ROWS) == bool(indices)
            if indices:
                return {**indices, "score": found["shoprank_score_psi", frozenset()]}
    raise AssertionError("no index within a minute")


def test_requests_like_those_the_model_was_measured_on_are_no_drift(measured: Callable[..., Measured]) -> None:
    indices = ask_until_measured(measured(**BEGIN))
    assert len(indices) > 70
    assert not {name for name in indices if name.startswith("ctx_")}, "the time of the year is no drift"
    assert sum(indices.values()) / len(indices) < 0.1
    assert max(indices.values()) < 0.25
    assert indices["score"] < 0.1


def test_requests_of_another_time_are_drift_of_what_time_changes_and_of_nothing_else(
    measured: Callable[..., Measured], trained: Shop
) -> None:
    indices = ask_until_measured(measured(**BEGIN), trained.schedule.test + timedelta(days=60))
    for feature in ("user_days_since_last", "item_days_since_last", "ui_recent"):
        assert indices[feature] > 0.25, feature
    for feature in ("user_orders", "item_purchases", "item_price", "item_category_key", "user_age_key"):
        assert indices[feature] < 0.25, feature


def test_a_bundle_without_a_reference_is_served_and_its_drift_is_not_stated(
    trained: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = tmp_path / "models"
    shutil.copytree(trained.models, models, symlinks=True)
    directory = bundle.current(models, "purchase")
    (directory / bundle.REFERENCE).unlink()
    manifest = json.loads((directory / bundle.MANIFEST).read_text())
    del manifest["files"][bundle.REFERENCE]
    (directory / bundle.MANIFEST).write_text(json.dumps(manifest))
    caplog.set_level(logging.INFO)
    running = start(settings(trained.paths.root, models, clock="snapshot", telemetry={"metrics_port": 0}))
    exposition = running.instruments.exposition
    assert exposition is not None
    found = scrape(exposition.address)
    running.stop()
    assert found["shoprank_drift_window_rows", frozenset()] == 0
    assert not [name for name, _ in found if name.endswith("_psi")]
    (line,) = {r.getMessage() for r in caplog.records if "drift" in r.getMessage()}
    assert line.endswith("has no reference.npz: drift is not measured; train again to have it")


def test_an_altered_reference_is_refused_with_the_bundle(trained: Shop, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(trained.models, models, symlinks=True)
    file = bundle.current(models, "purchase") / bundle.REFERENCE
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    from shoprank.errors import BundleError

    with pytest.raises(BundleError, match=r"reference\.npz: SHA-256 is .* the file was altered"):
        start(settings(trained.paths.root, models))
