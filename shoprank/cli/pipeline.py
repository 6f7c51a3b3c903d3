"""The offline jobs: features, apply, dataset, materialize, evaluate."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from shoprank.cli.app import app
from shoprank.cli.console import quiet, stderr, stdout
from shoprank.cli.options import DataDir, ModelName, ModelRepository, Redis, ResultsDir
from shoprank.errors import UserError


@app.command()
def features(
    data: DataDir = Path("data"),
    test_cutoff: Annotated[
        datetime | None, typer.Option(help="Cutoff of the test week; the last complete week where it is not given.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="The events are complete until then, UTC; until the last one by default.")
    ] = None,
    train_weeks: Annotated[int, typer.Option(min=1, help="Weeks to train on, at most.")] = 16,
    memory_limit: Annotated[str, typer.Option(help="Memory DuckDB may use before it spills to disk.")] = "1500MB",
) -> None:
    """Write the weekly feature snapshots and the schedule of train, validation and test weeks."""
    from rich.progress import track

    from feature_repo.paths import DataPaths
    from training.features.snapshots import VIEWS, write_snapshots
    from training.ingested import event_range
    from training.schedule import plan

    paths = DataPaths(data)
    first, last = event_range(paths)
    if until and until > max(last, datetime.now(UTC).replace(tzinfo=None)):
        raise UserError(f"--until {until}: is still to come, so the events are not complete until then")
    schedule = plan(first, until or last, test_cutoff, train_weeks)
    total = len(schedule.cutoffs) * len(VIEWS)
    console = stderr()
    with quiet():
        for _ in track(
            write_snapshots(paths, schedule.cutoffs, memory_limit), "features", total=total, console=console
        ):
            pass
    schedule.write(paths)
    print(f"features: {total} snapshots of {len(schedule.cutoffs)} weeks in {paths.features}")


@app.command()
def apply(
    data: DataDir = Path("data"), model_repository: ModelRepository = Path("model_repository"), redis: Redis = None
) -> None:
    """Register entities, views and feature services with Feast. Applying again changes nothing."""
    from feature_repo.paths import DataPaths
    from feature_repo.store import apply as apply_repository
    from feature_repo.store import service_names

    if not data.is_dir():
        raise UserError(f"{data}: no such folder; run `shoprank ingest` first")
    paths = DataPaths(data, redis)
    with quiet():
        names = apply_repository(paths, model_repository)
    print(f"apply: {', '.join(names)} in {paths.registry}")
    if not service_names(model_repository):
        print(f"apply: no ranking model in {model_repository} yet; apply again once one is trained")


@app.command()
def dataset(
    data: DataDir = Path("data"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampled negatives and request times.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Shards written at once, about 1.2 GB each.")] = 2,
) -> None:
    """Build the training set by Feast's point-in-time join, split by time."""
    from rich.progress import track

    from feature_repo.paths import DataPaths
    from training.dataset.build import build, shards
    from training.dataset.sampling import Sampling
    from training.schedule import Schedule

    paths = DataPaths(data)
    schedule = Schedule.read(paths)
    total = len(shards(schedule, Sampling()))
    rows: dict[str, int] = {}
    console = stderr()
    with quiet():
        for path, count in track(
            build(paths, schedule, seed=seed, processes=processes), "dataset", total=total, console=console
        ):
            rows[path.parent.name] = rows.get(path.parent.name, 0) + count
    counts = ", ".join(f"{count:,} {split}" for split, count in rows.items())
    print(f"dataset: {counts} rows in {paths.dataset}")


@app.command()
def materialize(
    data: DataDir = Path("data"),
    cutoff: Annotated[
        datetime | None, typer.Option(help="Snapshot to load; the newest one where it is not given.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove what is there first, newer rows too; for an earlier snapshot.")
    ] = False,
    redis: Redis = None,
) -> None:
    """Load one snapshot of the features into the online store. Rows that are newer stay."""
    from rich.progress import track

    from feature_repo.paths import DataPaths
    from feature_repo.store import materialize as load
    from training.schedule import Schedule

    paths = DataPaths(data, redis)
    moment = cutoff or Schedule.read(paths).serving
    console = stderr()
    with quiet():
        views = list(track(load(paths, moment, replace=replace), "materialize", total=3, console=console))
    where = "Redis" if redis else paths.online
    print(f"materialize: {', '.join(loaded.view for loaded in views)} as of {moment} in {where}")
    for loaded in views:
        if loaded.kept:
            print(f"  {loaded.kept:,} newer rows of {loaded.view} stay; --replace would remove them")


@app.command()
def evaluate(
    data: DataDir = Path("data"),
    model_repository: ModelRepository = Path("model_repository"),
    model: ModelName = "purchase",
    out: ResultsDir = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the baselines and the balanced sample.")] = 0,
) -> None:
    """Hold the active model against its baselines on the test week; writes JSON, a page, and the model's card."""
    from shoprank.bundle import current

    current(model_repository, model)  # before an import of five seconds
    from rich.table import Table

    from feature_repo.paths import DataPaths
    from training.evaluate.run import evaluate as run
    from training.evaluate.run import summary

    paths = DataPaths(data)
    folder = out or paths.evaluation
    with stderr().status("evaluating") as status:
        result = run(paths, model_repository, model, folder, seed, lambda name: status.update(name))
    table = Table(
        "contender", "ROC AUC", "PR AUC", "log loss", "ECE / base", "balanced acc.", "NDCG@10", "Recall@10",
        title=f"test week from {result['test']['cutoff']}, {result['test']['rows']:,} rows",
    )  # fmt: skip
    for row in summary(result):
        table.add_row(*row)
    stdout().print(table)
    print(f"evaluate: {folder / 'evaluation.json'}, {folder / 'evaluation.html'} and {folder / 'model_card.html'}")
