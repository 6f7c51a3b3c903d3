"""The commands of `shoprank`, gathered."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="shoprank",
    help="Purchase probabilities and item rankings for online shops.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

from shoprank.cli import (  # noqa: E402, F401  (each registers its commands on `app`)
    audit,
    batch,
    card,
    cold,
    data,
    demo,
    development,
    health,
    install,
    keys,
    models,
    pipeline,
    protos,
    ranking,
    recommending,
    retrievers,
    served,
    serving,
    sources,
    study,
    training,
)
