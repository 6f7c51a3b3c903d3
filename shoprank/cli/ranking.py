"""The `evaluate-ranking` command: retrieval and ranking beside the strong simple baselines."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shoprank.cli.app import app
from shoprank.cli.console import show_contenders, stderr, stdout
from shoprank.cli.options import DataDir, ResultsDir, require_folder
from training.ranking.protocol import Protocol

RESULTS = Path("benchmarks/results/ranking")


class Record(StrEnum):
    """What is tried together on the weeks before the tests, and the name of its file."""

    VALIDATION = "validation"
    GROWN = "grown"
    CROSSED = "crossed"


@app.command(name="evaluate-ranking")
def evaluate_ranking(
    data: DataDir = Path("data"),
    out: ResultsDir = None,
    test_weeks: Annotated[
        int | None, typer.Option(min=1, help="Test on so many last weeks; three weeks of 2017 by default.")
    ] = None,
    train_weeks: Annotated[int, typer.Option(min=1, help="Weeks rankers learn from.")] = Protocol.train,
    validation_weeks: Annotated[int, typer.Option(min=1, help="Weeks that choose settings.")] = Protocol.validation,
    parts: Annotated[int, typer.Option(min=1, help="A training week takes every so many users, in turn.")] = (
        Protocol.parts
    ),
    tuned_on: Annotated[int, typer.Option(min=1, help="Settings are tried on every so many users.")] = (
        Protocol.tuned_on
    ),
    repeats: Annotated[bool, typer.Option(help="Whether people take an item again; else nobody is shown it.")] = (
        Protocol.repeats
    ),
) -> None:
    """Hold slates from retrieval and ranking against tuned baselines on test weeks; writes JSON and plots."""
    from feature_repo.paths import DataPaths
    from shoprank.cli.training import import_tensorflow_quietly

    import_tensorflow_quietly()
    from training.ingested import event_range
    from training.ranking.plots import write_plots
    from training.ranking.protocol import last_weeks
    from training.ranking.run import evaluate_ranking as run

    paths = DataPaths(data)
    test = Protocol.test if test_weeks is None else last_weeks(*event_range(paths), test_weeks)
    protocol = Protocol(test, train_weeks, validation_weeks, parts, tuned_on, repeats)
    folder = out or paths.evaluation
    folder.mkdir(parents=True, exist_ok=True)
    with stderr().status("evaluating") as status:
        result = run(paths, folder, protocol, lambda name: status.update(name))
    write_plots(result, folder)
    show_contenders(result)
    print(f"evaluate-ranking: {folder / 'ranking.json'}")


@app.command(name="validate-rankers")
def validate_rankers(
    data: DataDir = Path("data"),
    out: Annotated[Path, typer.Option(callback=require_folder, help="Folder of the results.")] = RESULTS,
    record: Annotated[
        Record, typer.Option(help="Rankers and baselines, what a network is given more, or crossed ones taught.")
    ] = Record.VALIDATION,
) -> None:
    """Try changes of the rankers and settings of baselines on weeks before the tests'; writes RECORD.json."""
    from rich.table import Table

    from feature_repo.paths import DataPaths
    from shoprank.cli.training import import_tensorflow_quietly

    import_tensorflow_quietly()
    from training.ranking.validation import validate_rankers as run

    with stderr().status("validating") as status:
        result = run(DataPaths(data), out, record.value, stage=lambda name: status.update(name))
    names = ("ndcg@10", "recall@20", "roc_auc", "pr_auc", "log_loss", "calibration_over_base_shifted")
    table = Table("ranker", *names)
    for ranker, found in result["rankers"].items():
        table.add_row(ranker, *(f"{found[name]:.4f}" if name in found else "–" for name in names))
    stdout().print(table)
    print(f"validate-rankers: {out / record.value}.json")


@app.command(name="ranking-page")
def ranking_page(
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    page: Annotated[Path, typer.Option(help="The page whose tables are written anew.")] = Path("docs/ranking.md"),
) -> None:
    """Write the tables of docs/ranking.md anew from the last results."""
    import json

    from training.ranking.tables import written

    found = {name: json.loads((results / f"{name}.json").read_text()) for name in ("ranking", *Record)}
    page.write_text(written(page.read_text(), found.pop("ranking"), found))
    print(f"ranking-page: {page}")
