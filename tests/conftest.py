"""Fixtures that many tests share: a small shop with its features applied to a private Feast store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shoprank.cli import PATIENT

os.environ.update(PATIENT)  # as the commands do: test processes share the processors

from feature_repo.paths import DataPaths
from feature_repo.store import apply
from server.app import Running, start
from server.settings import Settings
from tests.made_once import made_once
from tests.redis_server import RedisServer
from tests.world import END, START, events, write_world
from training.dataset.build import build
from training.features.snapshots import write_snapshots
from training.schedule import Schedule, plan


@dataclass(frozen=True)
class Shop:
    """A small shop's files, its schedule and an empty model repository."""

    paths: DataPaths
    schedule: Schedule
    models: Path


SCHEDULE = plan(START, END, datetime(2024, 6, 17), train_weeks=4, validation_weeks=1)


def write_shop(folder: Path) -> None:
    """The shop's data with snapshots of 8 weeks."""
    paths = write_world(folder / "data", events())
    for _ in write_snapshots(paths, SCHEDULE.cutoffs, memory_limit="500MB"):
        pass
    SCHEDULE.write(paths)


def write_dataset(shop: Path, folder: Path) -> None:
    """The same with its training set built."""
    paths = DataPaths(folder / "data")
    shutil.copytree(shop / "data", paths.root)
    apply(paths, folder / "models")
    for _ in build(paths, SCHEDULE):
        pass


def write_model(dataset: Path, folder: Path) -> None:
    """A repository with a small model of the training set."""
    from feature_repo.store import service_name
    from training import fit
    from training.export import Identity, export_bundle
    from training.retrieval.log import read_log
    from training.retrieval.served import fit_sources, write_served
    from training.retrieval.traits import read_traits
    from training.settings import Settings as Training
    from training.shards import RANKING, Split

    paths = DataPaths(dataset / "data")

    def retrieval(path: Path) -> None:
        log = read_log(paths).before(SCHEDULE.test)
        traits = read_traits(paths, log.catalogue.user_ids.tolist())
        write_served(path, fit_sources(log, traits), log)

    made = fit.train(paths.dataset, RANKING, Training(epochs=2, batch_size=512, min_count=3))
    test = Split(paths.dataset / "test", RANKING)
    export_bundle(made, test, folder / "models", Identity("purchase", "ranking", service_name), retrieval=retrieval)


@pytest.fixture(scope="session")
def written_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `write_shop` wrote, for reading."""
    return made_once(tmp_path_factory, "shop", write_shop)


@pytest.fixture(scope="session")
def written_dataset(written_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `write_dataset` wrote, for reading."""
    return made_once(tmp_path_factory, "dataset", partial(write_dataset, written_shop))


@pytest.fixture(scope="session")
def written_model(written_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `write_model` wrote, for reading."""
    return made_once(tmp_path_factory, "model", partial(write_model, written_dataset))


@pytest.fixture(scope="session")
def shop(written_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Snapshots of 8 weeks, applied to Feast."""
    root = tmp_path_factory.mktemp("shop")
    paths = DataPaths(root / "data")
    shutil.copytree(written_shop / "data", paths.root)
    apply(paths, root / "models")
    return Shop(paths, SCHEDULE, root / "models")


@pytest.fixture(scope="session")
def dataset(shop: Shop, written_dataset: Path) -> Shop:
    """The shop with its training set built."""
    shutil.copytree(written_dataset / "data" / "dataset", shop.paths.dataset, dirs_exist_ok=True)
    return shop


@pytest.fixture(scope="session")
def trained(dataset: Shop, written_model: Path) -> Shop:
    """The shop with a small model trained, its feature service applied, the features of the test cutoff online."""
    from feature_repo.store import materialize

    shutil.copytree(written_model / "models", dataset.models, symlinks=True)
    apply(dataset.paths, dataset.models)
    list(materialize(dataset.paths, dataset.schedule.test))
    return dataset


@pytest.fixture
def bare(trained: Shop, tmp_path: Path) -> DataPaths:
    """The shop's data without Feast's registry and online store."""
    root = tmp_path / "data"
    shutil.copytree(trained.paths.root, root, ignore=shutil.ignore_patterns("feast", "dataset", "events"))
    return replace(trained.paths, root=root)


def settings(data: Path, models: Path, **more: Any) -> Settings:
    """Settings of a server on a free port."""
    return Settings(data=data, model_repository=models, port=0, **more)


@pytest.fixture(scope="session")
def server(trained: Shop) -> Iterator[Running]:
    """A server of the shop on a free port of the loopback, at the time of its features."""
    running = start(settings(trained.paths.root, trained.models, clock="snapshot"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server that tests share; each takes a project name of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()
