"""The `model-card` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoprank.cli.app import app
from shoprank.cli.options import DataDir, ModelName, ModelRepository, require_folder


@app.command(name="model-card")
def model_card(
    data: DataDir = Path("data"),
    model_repository: ModelRepository = Path("model_repository"),
    model: ModelName = "purchase",
    evaluation: Annotated[
        Path | None, typer.Option(help="JSON of `shoprank evaluate`; DATA/evaluation/evaluation.json by default.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(callback=require_folder, help="Folder of the card; REPOSITORY/MODEL/cards/VERSION by default."),
    ] = None,
) -> None:
    """Write the active model's card, HTML, Markdown and JSON: data, figures with intervals, by segment, and limits."""
    from feature_repo.paths import DataPaths
    from shoprank.bundle import current
    from training.evaluate.card import folder_of, write_card

    bundle = current(model_repository, model)
    folder = out or folder_of(bundle)
    card = write_card(bundle, evaluation or DataPaths(data).evaluation / "evaluation.json", folder)
    if card["ranking"] is None:
        print("model-card: no evaluation of this bundle; the card says that ranking was not measured")
    print(f"model-card: {folder / 'model_card.html'}, .md and .json")
