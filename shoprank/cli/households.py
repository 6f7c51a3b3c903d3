"""The demo's households: who they are, what they might buy, and a table of what they will."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Group
from rich.table import Table

from feature_repo import schema
from feature_repo.transforms import F32, ModelInput, UserRow, assemble
from server.contrast import Contrast, contrasts
from server.features import OnlineFeatures
from server.models.model import Model
from shoprank.client import Client
from shoprank.results import Item, RankedItem, Ranking

OWN, POPULAR = 12, 8
SHOWN = 5
COLUMN = {name: j for j, name in enumerate(schema.NUMERIC)}


@dataclass(frozen=True)
class Shop:
    """Where the demo looks things up."""

    client: Client
    features: OnlineFeatures
    model: Model
    users: Path
    user_snapshot: Path
    item_snapshot: Path


@dataclass(frozen=True)
class Slate:
    """One household's candidates, as the server ranked them and as the model saw them."""

    user_id: str
    ranking: Ranking
    items: dict[str, Item]
    inputs: ModelInput
    rows: dict[str, int]


def choose(shop: Shop, count: int = 3) -> list[str]:
    """Households whose demographics are known, from a busy one to a quiet one."""
    columns = ["user_id", "user_purchases_28d", "user_age_key"]
    known = pq.read_table(shop.user_snapshot, columns=columns)
    known = known.filter(pc.and_(pc.greater(known["user_age_key"], 0), pc.greater(known["user_purchases_28d"], 10)))
    known = known.sort_by([("user_purchases_28d", "descending"), ("user_id", "ascending")])
    at = np.linspace(0.05, 0.85, count) * (known.num_rows - 1)
    return [known["user_id"][int(i)].as_py() for i in at]


def rank(shop: Shop, user_id: str) -> Slate:
    """Ask the server for the order of what the household buys most and of what sells best in the shop."""
    user = shop.features.user(user_id).row
    candidates = _candidates(shop, user)
    ranking = shop.client.rank(user_id, candidates)
    stored = shop.features.items(candidates)
    inputs = assemble(user, stored.rows, user.as_of)
    items = shop.client.items(candidates)
    return Slate(user_id, ranking, items, inputs, {item_id: i for i, item_id in enumerate(stored.ids)})


def _candidates(shop: Shop, user: UserRow) -> list[str]:
    catalogue = pq.read_table(shop.item_snapshot, columns=["item_id", "item_key", "item_purchases_28d"])
    ids = catalogue["item_id"].to_pylist()
    by_key = dict(zip(catalogue["item_key"].to_pylist(), ids, strict=True))
    history = user.history[0]
    own = [by_key[key] for key in history.keys[np.argsort(-history.steady, kind="stable")[:OWN]].tolist()]
    best = np.argsort(-catalogue["item_purchases_28d"].to_numpy(), kind="stable")
    popular = [ids[i] for i in best[: OWN + POPULAR].tolist() if ids[i] not in own]
    return own + popular[:POPULAR]


def show(shop: Shop, slate: Slate) -> Group:
    """Who, what, with what probability, and why not the others."""
    best = Table("#", "item", "P(buy in 7 days)", "share of slate", "what is known", title=_who(shop, slate.user_id))
    for ranked in slate.ranking.items[:SHOWN]:
        row = slate.inputs.numeric[slate.rows[ranked.item_id]]
        best.add_row(
            str(ranked.rank),
            slate.items[ranked.item_id].name,
            f"{ranked.purchase_probability:.0%}",
            f"{ranked.probability:.0%}",
            known(row),
        )
    last = slate.ranking.items[SHOWN - 1].item_id
    others = Table("#", "why not", "P(buy in 7 days)", f"because, beside number {SHOWN}", box=None)
    for ranked in _others(slate):
        contrast = contrasts(shop.model, slate.inputs, slate.rows[ranked.item_id], slate.rows[last])[0]
        others.add_row(
            str(ranked.rank),
            slate.items[ranked.item_id].name,
            f"{ranked.purchase_probability:.0%}",
            because(slate, ranked.item_id, last, contrast),
        )
    return Group(best, others)


def _others(slate: Slate) -> list[RankedItem]:
    """The one that just missed, the best that the household never bought, and the last."""
    rest = slate.ranking.items[SHOWN:]
    new = [r for r in rest if not slate.inputs.numeric[slate.rows[r.item_id], COLUMN["ui_purchases"]]]
    return list({r.item_id: r for r in (rest[0], *new[:1], rest[-1])}.values())


def _who(shop: Shop, user_id: str) -> str:
    table = pq.read_table(shop.users, filters=[("user_id", "=", user_id)])
    said = table.select([c for c in ("age", "income", "household_composition") if c in table.column_names])
    (row,) = said.to_pylist()
    facts = [f"age {row['age']}", f"income {row['income']}", str(row["household_composition"]).lower()]
    return f"household {user_id}: {', '.join(facts)}"


def known(row: F32) -> str:
    """What an input row says of the pair, in words."""
    times, since, gap = (row[COLUMN[n]] for n in ("ui_purchases", "ui_days_since_last", "ui_gap_days"))
    if not times:
        return f"never bought; {row[COLUMN['item_buyers_28d']]:.0f} households did in 28 days"
    usually = f", every {gap:.0f} on average" if gap > 0 else ""
    return f"bought {times:.0f}×, last {since:.0f} days ago{usually}"


def because(slate: Slate, item_id: str, better: str, contrast: Contrast) -> str:
    """The contrast in words."""
    row, other = (slate.inputs.numeric[slate.rows[i]] for i in (item_id, better))

    def pair(name: str, form: str) -> str:
        return f"{row[COLUMN[name]]:{form}} against {other[COLUMN[name]]:{form}}"

    said = {
        "bought before": known(row),
        "its category": f"its category was bought {pair('uc_purchases', '.0f')} times",
        "popularity": f"{pair('item_buyers_28d', '.0f')} households in 28 days",
        "price and discount": f"price {pair('item_price', '.2f')}",
        "kind of item": f"it is of {slate.items[item_id].category.lower() or 'no known category'}",
    }
    return f"{said[contrast.group]} ({contrast.gain:+.1f} log-odds if alike)"


def latencies(shop: Shop, user_ids: Sequence[str], candidates: Sequence[str], count: int) -> F32:
    """Milliseconds of `count` rankings asked one after another, sorted, float32 (count,)."""
    from time import perf_counter

    taken = []
    for i in range(count):
        began = perf_counter()
        shop.client.rank(user_ids[i % len(user_ids)], candidates)
        taken.append((perf_counter() - began) * 1e3)
    return np.sort(np.array(taken, np.float32))
