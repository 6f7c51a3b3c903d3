"""The `evaluate-study` command: retrieval and ranking on data other than the shop's own, and the page on it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shoprank.cli.app import app
from shoprank.cli.console import stderr, stdout
from shoprank.cli.options import DataDir, ResultsDir


class StudyName(StrEnum):
    """The studies there are."""

    movielens = "movielens"
    clickstream = "clickstream"


@app.command(name="evaluate-study")
def evaluate_study(
    study: Annotated[StudyName, typer.Option(help="Which contenders and weeks.")],
    data: DataDir = Path("data"),
    out: ResultsDir = None,
) -> None:
    """Hold blend and ranker against tuned baselines on other data, by its last weeks; writes JSON."""
    from rich.table import Table

    from feature_repo.paths import DataPaths
    from shoprank.cli.training import import_tensorflow_quietly

    import_tensorflow_quietly()
    from training.ranking.studies import STUDIES
    from training.ranking.study import run_study

    paths = DataPaths(data)
    folder = out or paths.evaluation
    folder.mkdir(parents=True, exist_ok=True)
    with stderr().status("evaluating") as status:
        result = run_study(STUDIES[study.value], paths, folder, stage=lambda name: status.update(name))
    table = Table("contender", "NDCG@10", "Recall@20")
    for name, found in result["contenders"].items():
        table.add_row(name, *(f"{found['whole'][metric]['mean']:.4f}" for metric in ("ndcg@10", "recall@20")))
    stdout().print(table)
    print(f"evaluate-study: {folder / f'{study.value}.json'}")


@app.command(name="study-page")
def study_page(
    study: Annotated[StudyName, typer.Option(help="Whose tables are written anew.")],
    results: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
    page: Annotated[Path | None, typer.Option(help="The page.")] = None,
) -> None:
    """Write the tables of docs/study-STUDY.md anew from the last results."""
    import json

    from training.ranking.study_page import written

    folder, target = (
        results or Path(f"benchmarks/results/study-{study.value}"),
        page or Path(f"docs/study-{study.value}.md"),
    )
    target.write_text(written(target.read_text(), json.loads((folder / f"{study.value}.json").read_text())))
    print(f"study-page: {target}")
