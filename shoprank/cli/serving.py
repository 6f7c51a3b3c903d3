"""Serving and asking: serve, score, rank."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shoprank.cli.app import app
from shoprank.cli.console import stdout
from shoprank.cli.options import require_folder
from shoprank.client import DEFAULT_ADDRESS, Client
from shoprank.errors import UserError

if TYPE_CHECKING:
    from shoprank.results import FeatureStatus, Item, Ranking, Scores, ServedBy


class Clock(StrEnum):
    """Time of a request that names none."""

    wall = "wall"
    snapshot = "snapshot"


Address = Annotated[str, typer.Option(envvar="SHOPRANK_ADDRESS", help="host:port of the server.")]
User = Annotated[str, typer.Option("--user", help="Id of the user.")]
Time = Annotated[datetime | None, typer.Option(help="Moment the features are taken at, UTC.")]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds to wait.")]
RootCertificate = Annotated[
    Path | None,
    typer.Option(envvar="SHOPRANK_ROOT_CERTIFICATE", help="Authority of the server's certificate (PEM): speak TLS."),
]
Certificate = Annotated[
    Path | None, typer.Option(envvar="SHOPRANK_CERTIFICATE", help="Client certificate to show the server (PEM).")
]
CertificateKey = Annotated[
    Path | None, typer.Option("--key", envvar="SHOPRANK_KEY", help="Private key of --certificate (PEM).")
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="SHOPRANK_TOKEN", help="Key or bearer token; others can see arguments, so prefer the variable."
    ),
]


@app.command()
def serve(
    data: Annotated[Path | None, typer.Option(help="Folder of the catalogue and the feature store.")] = None,
    model_repository: Annotated[Path | None, typer.Option(help="Folder of the model bundles.")] = None,
    redis: Annotated[str | None, typer.Option(help="URL of the Redis of the online features; LMDB without it.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 50051 by default, 0 takes a free one.")] = None,
    clock: Annotated[Clock | None, typer.Option(help="Time of a request that names none.")] = None,
    threads: Annotated[int | None, typer.Option(help="Requests handled at once.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes that share the port; 0 for one a core.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond the loopback without TLS or authentication.")
    ] = False,
) -> None:
    """Serve the active model over gRPC until interrupted. SHOPRANK_* set it up too; see docs/serving.md."""
    from server import settings
    from server.process.serve import serve as serve_until_told
    from server.telemetry import logs

    given = settings.load(
        data=data, redis=redis, model_repository=model_repository, model=model, host=host, port=port, threads=threads,
        clock=clock.value if clock else None, process=None if workers is None else {"workers": workers},
        security={"insecure": True} if insecure else None,
    )  # fmt: skip
    for folder in (given.data, given.model_repository):
        require_folder(folder)
    logs.configure(given.telemetry)
    serve_until_told(given, ready=lambda what, address: print(f"serve: {what} on {address}", flush=True))
    print("serve: stopped")


@app.command()
def score(
    user: User,
    item: Annotated[list[str], typer.Option("--item", help="Id of an item; may be repeated.")],
    address: Address = DEFAULT_ADDRESS,
    time: Time = None,
    timeout: Timeout = 5.0,
    root_certificate: RootCertificate = None,
    certificate: Certificate = None,
    key: CertificateKey = None,
    token: Token = None,
) -> None:
    """Ask a server how likely a user is to buy items."""
    with Client(
        address, timeout, root_certificate=root_certificate, certificate=certificate, key=key, token=token
    ) as client:
        answer = client.score(user, item, time=time)
        _require_known(answer, answer.unknown_item_ids)
        print_scores(user, answer, client.items(item))


@app.command()
def rank(
    user: User,
    item: Annotated[list[str] | None, typer.Option("--item", help="Candidate; may be repeated. All if none.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Items to show; 10 of the whole catalogue by default.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of the softmax; 1 by default.")] = None,
    address: Address = DEFAULT_ADDRESS,
    time: Time = None,
    timeout: Timeout = 10.0,
    root_certificate: RootCertificate = None,
    certificate: Certificate = None,
    key: CertificateKey = None,
    token: Token = None,
) -> None:
    """Ask a server for the best items for a user."""
    with Client(
        address, timeout, root_certificate=root_certificate, certificate=certificate, key=key, token=token
    ) as client:
        limit = top_k if top_k is not None else (None if item else 10)
        answer = client.rank(user, item or None, top_k=limit, temperature=temperature, time=time)
        _require_known(answer, answer.unknown_item_ids)
        names = client.items([i.item_id for i in answer]) if len(answer) else {}
        print_ranking(user, answer, names)


def _require_known(answer: Scores | Ranking, unknown: tuple[str, ...]) -> None:
    """Raise UserError where the server knows none of the items."""
    if unknown and not len(answer):
        raise UserError(f"--item {', '.join(unknown)}: the server knows no such item")


def print_scores(user: str, scores: Scores, items: dict[str, Item]) -> None:
    """A table of scores."""
    from rich.table import Table

    table = Table("item", "name", "category", "P(buy in 7 days)", title=f"user {user}")
    for scored in scores:
        table.add_row(scored.item_id, *described(items, scored.item_id), f"{scored.probability:.2%}")
    print_with_status(table, scores.unknown_item_ids, scores.feature_status, scores.served_by)


def print_ranking(user: str, ranking: Ranking, items: dict[str, Item]) -> None:
    """A table of ranked items."""
    from rich.table import Table

    title = f"user {user}: best {len(ranking)} of {ranking.candidate_count:,} candidates"
    table = Table("#", "item", "name", "category", "share", "P(buy in 7 days)", title=title)
    for ranked in ranking:
        table.add_row(
            str(ranked.rank),
            ranked.item_id,
            *described(items, ranked.item_id),
            f"{ranked.probability:.2%}",
            f"{ranked.purchase_probability:.2%}",
        )
    print_with_status(table, ranking.unknown_item_ids, ranking.feature_status, ranking.served_by)


def described(items: dict[str, Item], item_id: str) -> tuple[str, str]:
    """Name and category of an item, dashes for what is not known."""
    item = items.get(item_id)
    return (item.name or "–", item.category or "–") if item else ("–", "–")


def print_with_status(table: object, unknown: tuple[str, ...], status: FeatureStatus, served_by: ServedBy) -> None:
    """A table of an answer, and what the answer rests on."""
    console = stdout()
    console.print(table)
    if unknown:
        console.print(f"unknown items, not scored: {', '.join(unknown)}", highlight=False)
    console.print(
        f"{served_by.model} version {served_by.model_version}, {served_by.feature_service}, as of "
        f"{served_by.time:%Y-%m-%d %H:%M} UTC; user features {status.user.value}{_age(status.user_age)}; items: "
        f"{status.items_found:,} found, {status.items_stale:,} stale, {status.items_missing:,} missing"
        f"{_age(status.items_age)}",
        highlight=False,
    )


def _age(age: timedelta | None) -> str:
    if age is None:
        return ""
    return f" ({age.days} d old)" if age.days else f" ({age.seconds // 3600} h old)"
