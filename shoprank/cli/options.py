"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[Path, typer.Option("--data", envvar="SHOPRANK_DATA", help="Folder of events, features and store.")]
ModelRepository = Annotated[Path, typer.Option(envvar="SHOPRANK_MODEL_REPOSITORY", help="Folder of the model bundles.")]
Redis = Annotated[
    str | None,
    typer.Option(envvar="SHOPRANK_REDIS", help="URL of the Redis that keeps the online features; LMDB without it."),
]
ModelName = Annotated[str, typer.Option(help="Name of the model.")]
