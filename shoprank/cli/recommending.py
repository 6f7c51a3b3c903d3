"""Asking for slates and similar items: recommend, similar."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from shoprank.cli.app import app
from shoprank.cli.console import stdout
from shoprank.cli.serving import (
    Address,
    Certificate,
    CertificateKey,
    RootCertificate,
    Time,
    Timeout,
    Token,
    User,
    described,
    print_with_status,
)
from shoprank.client import DEFAULT_ADDRESS, Client
from shoprank.errors import UserError
from shoprank.requests import ItemFilter
from shoprank.results import Item
from shoprank.slates import Likeness, SimilarItem, Slate, SlateRules

Values = Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")]


class Alike(StrEnum):
    """In what items are alike."""

    any = "any"
    bought_together = "bought-together"
    also_bought = "also-bought"
    content = "content"


@app.command()
def recommend(
    user: User,
    top_k: Annotated[int, typer.Option(help="Places of the slate.")] = 10,
    candidates: Annotated[int | None, typer.Option(help="Candidates to rank; 500 by default.")] = None,
    department: Values = None,
    category: Values = None,
    brand: Values = None,
    min_price: Annotated[float | None, typer.Option(help="Lowest unit price.")] = None,
    max_price: Annotated[float | None, typer.Option(help="Highest unit price.")] = None,
    sold_within_days: Annotated[int | None, typer.Option(help="Only items sold to anybody in these days.")] = None,
    not_bought_within_days: Annotated[
        int | None, typer.Option(help="Only items that the user did not buy in these days.")
    ] = None,
    block: Annotated[list[str] | None, typer.Option(help="Id of an item to leave out; may be repeated.")] = None,
    diversity: Annotated[float | None, typer.Option(help="1 for relevance alone, 0 for unlike items alone.")] = None,
    per_category: Annotated[int | None, typer.Option(help="Items of one category at most.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Draw at random; the smaller, the nearer to best.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw.")] = None,
    trait: Annotated[
        list[str] | None, typer.Option(help="What is known of an unknown user, age=35-44; may be repeated.")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    time: Time = None,
    timeout: Timeout = 10.0,
    root_certificate: RootCertificate = None,
    certificate: Certificate = None,
    key: CertificateKey = None,
    token: Token = None,
) -> None:
    """Ask a server what to show a user, and why."""
    passing = ItemFilter(
        departments=department or (),
        categories=category or (),
        brands=brand or (),
        min_price=min_price,
        max_price=max_price,
        sold_within_days=sold_within_days,
        not_bought_within_days=not_bought_within_days,
        blocked_item_ids=block or (),
    )
    rules = SlateRules(
        filter=None if passing == ItemFilter() else passing,
        diversity=diversity,
        per_category=per_category,
        temperature=temperature,
        seed=seed,
    )
    told = dict(trait_of(one) for one in trait or ())
    with Client(
        address, timeout, root_certificate=root_certificate, certificate=certificate, key=key, token=token
    ) as client:
        slate = client.recommend(user, top_k=top_k, candidates=candidates, rules=rules, time=time, traits=told)
        names = client.items([item.item_id for item in slate]) if len(slate) else {}
        print_slate(user, slate, names, drawn=temperature is not None)


@app.command()
def similar(
    item: Annotated[str, typer.Option("--item", help="Id of the item.")],
    top_k: Annotated[int, typer.Option(help="Items to show.")] = 10,
    likeness: Annotated[Alike, typer.Option(help="In what they are to be alike.")] = Alike.any,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = 10.0,
    root_certificate: RootCertificate = None,
    certificate: Certificate = None,
    key: CertificateKey = None,
    token: Token = None,
) -> None:
    """Ask a server for items like an item."""
    with Client(
        address, timeout, root_certificate=root_certificate, certificate=certificate, key=key, token=token
    ) as client:
        found = client.similar(item, top_k=top_k, likeness=Likeness[likeness.name.upper()])
        names = client.items([item, *(one.item_id for one in found)])
        if not found:
            what = "any way" if likeness is Alike.any else likeness.value
            print(f"similar: the model knows no item like {described(names, item)[0]} ({item}) by {what}")
            return
        print_similar(item, found, names)


def trait_of(text: str) -> tuple[str, str]:
    """Name and value of a trait written NAME=VALUE. Raises UserError where it is not."""
    name, told, value = text.partition("=")
    if not told:
        raise UserError(f"--trait {text}: is not NAME=VALUE")
    return name, value


def print_slate(user: str, slate: Slate, items: dict[str, Item], drawn: bool = False) -> None:
    """A table of a slate; with its seed and probability where it was drawn."""
    from rich.table import Table

    title = f"user {user}: {len(slate)} of {slate.candidate_count:,} candidates"
    table = Table("#", "item", "name", "category", "P(buy in 7 days)", "source", "why", title=title)
    for one in slate:
        named = described(items, one.item_id)
        probability = f"{one.purchase_probability:.2%}"
        table.add_row(str(one.place), one.item_id, *named, probability, next(iter(one.sources), ""), one.reason.text)
    print_with_status(table, (), slate.feature_status, slate.served_by)
    if drawn:
        print(f"drawn with seed {slate.seed}; log-probability of this slate {slate.log_propensity:.6f}")


def print_similar(item: str, found: tuple[SimilarItem, ...], items: dict[str, Item]) -> None:
    """A table of items like an item."""
    from rich.table import Table

    table = Table("item", "name", "category", "score", "sources", title=f"like {described(items, item)[0]} ({item})")
    for one in found:
        table.add_row(one.item_id, *described(items, one.item_id), f"{one.score:.2f}", ", ".join(one.sources))
    stdout().print(table)
