"""The `evaluate-cold-start` command: users and items of which little is known, and the page on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoprank.cli.app import app
from shoprank.cli.console import stderr
from shoprank.cli.options import DataDir, ResultsDir

RESULTS = Path("benchmarks/results/cold-start")
PAGE = Path("docs/cold-start.md")


@app.command(name="evaluate-cold-start")
def evaluate_cold_start(
    data: DataDir = Path("data"),
    out: ResultsDir = None,
    test_weeks: Annotated[
        int | None, typer.Option(min=1, help="The last so many whole weeks; three of the retail data by default.")
    ] = None,
) -> None:
    """Measure slates for unknown users and those of one to three trips, and content among new items; writes JSON."""
    from feature_repo.paths import DataPaths
    from training.ingested import event_range
    from training.ranking.cold import evaluate_cold_start as run
    from training.ranking.protocol import TEST, last_weeks

    paths = DataPaths(data)
    cutoffs = TEST if test_weeks is None else last_weeks(*event_range(paths), test_weeks)
    folder = out or paths.evaluation
    with stderr().status("evaluating") as status:
        run(paths, folder, cutoffs, lambda name: status.update(name))
    print(f"evaluate-cold-start: {folder / 'cold-start.json'}")


@app.command(name="cold-start-page")
def cold_start_page(
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    page: Annotated[Path, typer.Option(help="The page whose tables are written anew.")] = PAGE,
) -> None:
    """Write the tables of docs/cold-start.md anew from the last results."""
    import json

    from training.ranking.cold_page import written

    page.write_text(written(page.read_text(), json.loads((results / "cold-start.json").read_text())))
    print(f"cold-start-page: {page}")
