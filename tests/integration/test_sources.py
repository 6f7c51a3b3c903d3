"""`shoprank sources` gives a model other sources of candidates and leaves its network as it is."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.app import start
from server.models.loading import open_bundle
from shoprank import Client, bundle, repository
from shoprank.cli import main
from shoprank.errors import UserError
from shoprank.models import ModelClient
from tests.conftest import Shop, settings
from training.export import write_version
from training.retrieval import bundled

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def models(trained: Shop, tmp_path: Path) -> Path:
    """A repository of its own with the shop's model."""
    shutil.copytree(trained.models, tmp_path / "models", symlinks=True)
    return tmp_path / "models"


@pytest.fixture
def run(trained: Shop, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `shoprank sources` in this process and gives its exit code, standard output and standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        own = ["--data", str(trained.paths.root), "--model-repository", str(models)]
        monkeypatch.setattr(sys, "argv", ["shoprank", "sources", *own, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


def names_of(models: Path) -> tuple[str, ...]:
    """Sources of the active version, once it is loaded as a server does."""
    retriever = open_bundle(bundle.current(models, "purchase"), 1, 8).retriever
    assert retriever is not None
    return retriever.names


def test_a_version_gets_learned_sources_and_keeps_its_network(run: Run, models: Path) -> None:
    before = bundle.verify(bundle.current(models, "purchase"))
    code, out, _ = run("--learned-source", "als", "--learned-source", "als")
    assert code == 0
    assert "popularity, als of the purchases before 2024-06-24 00:00:00" in out
    assert "version 2 in" in out.splitlines()[-1]
    assert names_of(models)[-1] == "als"
    assert names_of(models).count("als") == 1
    after = bundle.verify(bundle.current(models, "purchase"))
    changed = {name for name in after.files if after.files[name] != before.files.get(name)}
    assert changed == {bundle.RETRIEVAL}
    assert (after.version, after.feature_service) == (2, "purchase_v2")
    assert after.metrics == before.metrics
    assert after.training["sources"] == {
        "purchases_before": "2024-06-24T00:00:00",
        "learned": ["als"],
        "network_version": 1,
    }
    assert (models / "purchase" / "cards" / "2" / "model_card.html").is_file()
    assert bundle.rollback(models, "purchase") == 1


def test_learned_sources_stay_unless_others_or_none_are_asked_for(run: Run, models: Path) -> None:
    run("--learned-source", "als")
    assert run()[0] == 0
    assert names_of(models)[-1] == "als"
    assert run("--plain")[0] == 0
    assert "als" not in names_of(models)
    (model,) = repository.models(models)
    known = [version.sources for version in model.versions]
    assert [(s.network_version, s.learned) if s else None for s in known] == [
        None,
        (1, ("als",)),
        (1, ("als",)),
        (1, ()),
    ]


def test_a_server_names_learned_sources(run: Run, trained: Shop, models: Path) -> None:
    run("--learned-source", "als")
    running = start(settings(trained.paths.root, models, clock="snapshot"))
    try:
        with Client(running.address, timeout=10) as client:
            slate = client.recommend("u1", top_k=100)
        with ModelClient(running.address) as admin:
            (model,) = admin.list("purchase")
    finally:
        running.stop()
    assert slate.served_by.model_version == 2
    assert any("als" in item.sources for item in slate)
    assert model.versions[-1].sources == repository.models(models)[0].versions[-1].sources


def test_what_cannot_be_is_said(run: Run, trained: Shop, models: Path) -> None:
    assert run("--plain", "--learned-source", "als")[::2] == (
        2,
        "shoprank: --learned-source als: --plain is without any\n",
    )
    code, _, err = run("--model", "nothing")
    assert code == 2
    assert "no active model; run `shoprank train` first" in err
    proposed = bundle.current(models, "purchase") / bundle.RETRIEVAL
    with np.load(proposed) as arrays:
        others = {**arrays, "item_keys": arrays["item_keys"] + 1}
    np.savez(proposed, **others)
    with pytest.raises(UserError, match=r"has 0 of the 150 items that .* proposes; it is of another shop"):
        bundled.require_own_shop(trained.paths, proposed.parent)
    manifest = bundle.current(models, "purchase") / bundle.MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"kind": "table"}))
    code, _, err = run()
    assert code == 2
    assert "are of kind table, not ranking" in err


def test_a_failure_leaves_the_active_version(run: Run, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundled, "write_served", full)
    code, _, err = run()
    assert code == 1
    assert "No space left on device" in err
    assert bundle.linked(models, "purchase") == 1
    assert sorted(p.name for p in (models / "purchase").iterdir() if p.name.startswith(".")) == []


def test_a_network_that_was_trained_while_sources_were_fitted_is_the_one_that_gets_them(
    run: Run, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    manifest = models / "purchase" / "2" / bundle.MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"metrics": {"of": 2}}))
    bundle.rollback(models, "purchase")

    def after_another(*arguments: Any) -> Path:
        bundle.activate(models, "purchase", 2)
        return write_version(*arguments)

    monkeypatch.setattr(bundled, "write_version", after_another)
    assert run()[0] == 0
    assert bundle.verify(bundle.current(models, "purchase")).metrics == {"of": 2}


def test_what_a_killed_job_left_is_removed_by_the_next(run: Run, models: Path) -> None:
    left = models / "purchase" / ".staged.7"
    left.mkdir()
    (left / bundle.MODEL).write_bytes(b"half")
    assert run()[0] == 0
    assert not left.exists()


def test_a_card_that_cannot_be_written_takes_no_version_away(run: Run, models: Path) -> None:
    (models / "purchase" / "cards").write_text("in the way")
    code, out, err = run()
    assert code == 1
    assert "sources: purchase version 2 in" in out
    assert err.strip() == f"shoprank: {models / 'purchase' / 'cards' / '2'}: Not a directory"
    assert bundle.linked(models, "purchase") == 2
