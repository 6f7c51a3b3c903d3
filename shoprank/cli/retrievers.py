"""The `evaluate-retrievers` command: two towers beside other retrievers, alone and in the blend."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from shoprank.cli.app import app
from shoprank.cli.console import stderr, stdout
from shoprank.cli.options import DataDir, require_folder

RESULTS = Path("benchmarks/results/retrievers")


@app.command(name="evaluate-retrievers")
def evaluate_retrievers(
    data: DataDir = Path("data"),
    out: Annotated[Path, typer.Option(callback=require_folder, help="Folder of the results.")] = RESULTS,
    cutoff: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Begin of the week judged; 2017-10-23 by default.")
    ] = None,
) -> None:
    """Recall of two towers and other retrievers, alone and fused, on the week before the tests; writes JSON."""
    from rich.table import Table

    from feature_repo.paths import DataPaths
    from shoprank.cli.training import import_tensorflow_quietly

    import_tensorflow_quietly()
    from training.ranking.retrievers import JUDGED
    from training.ranking.retrievers import evaluate_retrievers as run

    with stderr().status("evaluating") as status:
        result = run(DataPaths(data), out, cutoff or JUDGED, stage=lambda name: status.update(name))
    names = ("whole", "repeats", "new", "new_of_unowned")
    table = Table("retriever", *names)
    for retriever, found in result["retrievers"].items():
        table.add_row(retriever, *(f"{found[name]['mean']:.4f}" for name in names))
    stdout().print(table)
    print(f"evaluate-retrievers: {out / 'retrievers.json'}")


@app.command(name="retrievers-page")
def retrievers_page(
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    page: Annotated[Path, typer.Option(help="The page whose tables are written anew.")] = Path("docs/retrievers.md"),
) -> None:
    """Write the tables of docs/retrievers.md anew from the last results."""
    import json

    from training.ranking.retriever_tables import written

    result = json.loads((results / "retrievers.json").read_text())
    page.write_text(written(page.read_text(), result))
    print(f"retrievers-page: {page}")
