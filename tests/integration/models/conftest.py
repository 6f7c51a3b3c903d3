"""A repository of three versions that answer differently, and servers of copies of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from feature_repo.store import service_name
from server.app import Running, start
from server.models.settings import ModelSettings
from server.settings import Settings
from shoprank import bundle
from shoprank.models import ModelClient
from tests.conftest import Shop
from tests.made_once import made_once
from training import fit
from training.export import Identity, export_bundle
from training.settings import Settings as Training
from training.shards import RANKING, Split


@dataclass(frozen=True)
class Served:
    """A server, the repository it follows, and a client of its models."""

    running: Running
    repository: Path
    admin: ModelClient

    @property
    def address(self) -> str:
        return self.running.address


def write_three(dataset: Path, model: Path, folder: Path) -> None:
    """The shop's repository with versions 2 and 3, trained from other seeds; 1 is active and nothing was before."""
    shutil.copytree(model / "models", folder / "models", symlinks=True)
    shards = dataset / "data" / "dataset"
    test = Split(shards / "test", RANKING)
    for seed in (11, 12):
        made = fit.train(shards, RANKING, Training(epochs=1, batch_size=512, min_count=3, seed=seed))
        export_bundle(made, test, folder / "models", Identity("purchase", "ranking", service_name))
    bundle.activate(folder / "models", "purchase", 1)
    (folder / "models" / "purchase" / bundle.PREVIOUS).unlink()


@pytest.fixture(scope="session")
def three(written_dataset: Path, written_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository that `write_three` wrote, for reading."""
    return made_once(tmp_path_factory, "three", partial(write_three, written_dataset, written_model)) / "models"


@pytest.fixture
def repository(three: Path, tmp_path: Path) -> Path:
    """A copy of it, free to be changed."""
    shutil.copytree(three, tmp_path / "models", symlinks=True)
    return tmp_path / "models"


@pytest.fixture
def serve(trained: Shop, repository: Path, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts a server of the copy; arguments are settings of its models."""
    served: list[Served] = []

    def run(**models: Any) -> Served:
        more = {"poll_seconds": 0.05, "settle_seconds": 0.2, "shadow_log": tmp_path / "shadow.jsonl", **models}
        given = Settings(
            data=trained.paths.root, model_repository=repository, port=0, clock="snapshot", models=ModelSettings(**more)
        )
        running = start(given)
        served.append(Served(running, repository, ModelClient(running.address)))
        return served[-1]

    yield run
    for one in served:
        one.admin.close()
        one.running.stop()
