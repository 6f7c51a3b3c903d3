"""The demo: everything from the packaged data to three ranked households, and nothing done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from shoprank.cli import data as data_commands
from shoprank.cli import pipeline, training
from shoprank.cli.app import app
from shoprank.cli.console import quiet, stderr, stdout
from shoprank.cli.options import DataDir, ModelRepository
from shoprank.errors import BundleError, ShoprankError, UserError

TEST_CUTOFF = datetime(2017, 12, 4)
MODEL = "purchase"
SOURCE = "completejourney"
START_SECONDS = 120
REQUESTS = 300


@app.command()
def demo(
    data: DataDir = Path("data"),
    model_repository: ModelRepository = Path("model_repository"),
    households: Annotated[int, typer.Option(min=1, max=50, help="Households to rank for.")] = 3,
) -> None:
    """Train on the packaged data, serve, and rank for some households. What is there already is used again."""
    began = time.monotonic()
    prepare(data, model_repository)
    with serving(data, model_repository) as address:
        rank_for_households(address, data, model_repository, households, began)
    print(f"demo: done in {time.monotonic() - began:.0f} s; the server has stopped. Next: make serve, make evaluate")


def prepare(data: Path, model_repository: Path) -> None:
    """Run every stage whose result is not there or was made of other input."""
    from feature_repo.paths import DataPaths

    if _source(DataPaths(data).quality) != SOURCE:
        data_commands.ingest(data=data)
    run_pipeline(data, model_repository, test_cutoff=TEST_CUTOFF)


def run_pipeline(
    data: Path, model_repository: Path, test_cutoff: datetime | None = None, until: datetime | None = None
) -> None:
    """From ingested events to an active model and the newest features online; a stage that was run is not run again.

    until: the events are complete until then (naive UTC), until the last one where it is None.
    """
    from feature_repo.paths import DataPaths
    from feature_repo.store import is_materialized
    from training.dataset.build import built_key, dataset_key
    from training.dataset.sampling import Sampling
    from training.schedule import Schedule

    paths = DataPaths(data)
    pipeline.features(data=data, test_cutoff=test_cutoff, until=until)
    schedule = Schedule.read(paths)
    pipeline.apply(data, model_repository)
    if built_key(paths) != dataset_key(paths, schedule, Sampling(), seed=0):
        pipeline.dataset(data=data)
    if trained_on(model_repository) != built_key(paths):
        training.train(data=data, model_repository=model_repository, model=MODEL)
        pipeline.apply(data, model_repository)
    if not is_materialized(paths, schedule.serving):
        pipeline.materialize(data=data)


def _source(quality: Path) -> str:
    """Source of the ingested events, empty where there are none. Raises UserError where it is not the demo's."""
    if not quality.is_file():
        return ""
    source = str(json.loads(quality.read_text())["source"])
    if source != SOURCE:
        raise UserError(f"{quality.parent}: holds events of {source}; give the demo a folder of its own with --data")
    return source


def trained_on(model_repository: Path) -> str:
    """Key of the dataset that the active model was trained on; empty where none is active."""
    from shoprank.bundle import current, verify

    try:
        return str(verify(current(model_repository, MODEL)).training.get("dataset", ""))
    except BundleError:
        return ""


@contextmanager
def serving(data: Path, model_repository: Path) -> Iterator[str]:
    """A server in a process of its own on a free port of the loopback, and its address; stopped at the end, which it is
    too where this process is killed."""
    main = f"from feature_repo.parent import die_with; die_with({os.getpid()}); from shoprank.cli import main; main()"
    command = [sys.executable, "-c", main, "serve", "--clock", "snapshot", "--port", "0"]
    command += ["--data", str(data), "--model-repository", str(model_repository), "--model", MODEL]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        with stderr().status("starting the server"):
            line = process.stdout.readline()
        if not line:
            raise ShoprankError(f"the server did not start: {process.stderr.read().strip()}")
        print(line, end="", flush=True)
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    if process.returncode:
        raise ShoprankError(f"the server ended with exit code {process.returncode}")


def rank_for_households(address: str, data: Path, model_repository: Path, count: int, began: float) -> None:
    """Rank for some households and print who, what, probability and why not the others."""
    from feature_repo.paths import DataPaths
    from feature_repo.snapshots import snapshot_path
    from feature_repo.store import applied_store
    from server.features import OnlineFeatures
    from server.models.model import load
    from shoprank.bundle import current
    from shoprank.cli.households import Shop, choose, latencies, rank, show
    from shoprank.client import Client
    from training.schedule import Schedule

    paths = DataPaths(data)
    serving_cutoff = Schedule.read(paths).serving
    with quiet():
        features = OnlineFeatures(applied_store(paths))
    with Client(address, timeout=30) as client:
        shop = Shop(
            client=client,
            features=features,
            model=load(current(model_repository, MODEL)),
            users=paths.users,
            user_snapshot=snapshot_path(paths, "user_features", serving_cutoff),
            item_snapshot=snapshot_path(paths, "item_features", serving_cutoff),
        )
        user_ids = choose(shop, count)
        for user_id in user_ids:
            slate = rank(shop, user_id)
            if user_id == user_ids[0]:
                print(f"first ranking {time.monotonic() - began:.0f} s after the start")
            stdout().print(show(shop, slate))
        taken = latencies(shop, user_ids, list(slate.rows), REQUESTS)
        print(
            f"{REQUESTS} more rankings of {len(slate.rows)} items, one after another: median "
            f"{taken[len(taken) // 2]:.1f} ms, 99th percentile {taken[int(len(taken) * 0.99)]:.1f} ms"
        )
