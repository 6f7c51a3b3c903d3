"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shoprank.errors import UserError


def require_folder(path: Path | None) -> Path | None:
    """A folder's path, whether or not it is there yet.

    Raises UserError where a file lies in its place or above it, and where there can be none of that name.
    """
    for place in (path, *path.parents) if path else ():
        try:
            other = place.exists() and not place.is_dir()
        except OSError as error:
            raise UserError(f"{place}: {error.strerror}") from error
        if other:
            raise UserError(f"{place}: is no folder")
    return path


DataDir = Annotated[
    Path,
    typer.Option(
        "--data", envvar="SHOPRANK_DATA", callback=require_folder, help="Folder of events, features and store."
    ),
]
ModelRepository = Annotated[
    Path, typer.Option(envvar="SHOPRANK_MODEL_REPOSITORY", callback=require_folder, help="Folder of the model bundles.")
]
ResultsDir = Annotated[
    Path | None,
    typer.Option("--out", callback=require_folder, help="Folder of the results; DATA/evaluation by default."),
]
Redis = Annotated[
    str | None,
    typer.Option(envvar="SHOPRANK_REDIS", help="URL of the Redis that keeps the online features; LMDB without it."),
]
ModelName = Annotated[str, typer.Option(help="Name of the model.")]


class LearnedSource(StrEnum):
    """Sources of candidates that are fitted on demand; keys of `training.retrieval.learned.LEARNED`."""

    two_tower = "two-tower"
    als = "als"


LearnedSources = Annotated[
    list[LearnedSource] | None,
    typer.Option(
        "--learned-source",
        help="A learned source of candidates beside the others: als (seconds) or two-tower (minutes); may be repeated.",
    ),
]
