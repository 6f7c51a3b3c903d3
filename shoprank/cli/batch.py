"""Scoring files without a server: batch-score."""

from __future__ import annotations

import math
import time as clock
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from shoprank.cli.app import app
from shoprank.cli.console import progress, quiet
from shoprank.cli.options import DataDir, ModelName, ModelRepository, Redis


@app.command()
def batch_score(
    source: Annotated[Path, typer.Argument(help="Parquet file of users or of pairs, or a folder of such files.")],
    out: Annotated[Path, typer.Option(help="Folder to write to; what it holds already is not made again.")],
    data: DataDir = Path("data"),
    model_repository: ModelRepository = Path("model_repository"),
    model: ModelName = "purchase",
    top_k: Annotated[int | None, typer.Option(min=1, help="Items of each ranking; 100 by default.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of the softmax; 1 by default.")] = None,
    time: Annotated[
        datetime | None, typer.Option(help="Moment the features are taken at, UTC; that of the newest ones without it.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Parts scored at once, about 0.5 GB each; without it one a core, of little work one."),
    ] = None,
    redis: Redis = None,
) -> None:
    """Score pairs of user_id and item_id, or rank for users: the items of their column item_ids, or the catalogue."""
    from feature_repo.paths import DataPaths
    from server.batch.run import Job, run
    from shoprank.bundle import current

    moment = None if time is None else math.floor(time.replace(tzinfo=time.tzinfo or UTC).timestamp())
    job = Job(DataPaths(data, redis), current(model_repository, model), out, top_k, temperature, moment)
    began = clock.monotonic()
    with progress() as tell:
        steps = run(job, source, processes)
        while True:
            with quiet():
                done = next(steps, None)
            if done is None:
                break
            last = done
            tell("batch-score", done.rows, done.total)
    seconds = clock.monotonic() - began
    print(
        f"batch-score: {last.rows:,} rows of {source} answered in {last.parts} files in {out}, {last.kept} of them "
        f"there already; {last.written:,} answers written in {seconds:.1f} s"
    )
