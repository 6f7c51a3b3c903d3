"""Seeded synthetic events of an online shop, in the shop-log CSV format, of any size in little memory.

Users come back at a pace of their own, mostly to favourite items and otherwise by popularity (Zipf); a session views
items, puts some of them into the cart, and buys some of those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pc

from training.ingest.shoplog import COLUMNS

CHUNK_SESSIONS = 50_000
FAVOURITES = 12
LOYALTY = 0.6
CART_RATE, BUY_RATE = 0.35, 0.55
MORE_LOOKS = 2.0
EVENTS_A_SESSION = (1 + MORE_LOOKS) * (1 + CART_RATE * (1 + BUY_RATE))
START = np.datetime64("2019-10-01T00:00:00", "s")
DEPARTMENTS = ("electronics", "apparel", "furniture", "kids", "auto", "sport", "appliances", "computers")
KINDS = ("basic", "classic", "light", "pro", "mini", "max", "home", "travel")
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shop:
    """Size of the shop: users, items, and days of events."""

    users: int = 50_000
    items: int = 20_000
    days: int = 120


def write_shop_log(
    path: Path,
    events: int,
    shop: Shop,
    seed: int = 0,
    dirty: float = 0.0,
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write at least `events` events, ordered by time within a chunk of sessions, and return how many.

    dirty: share of rows spoiled: an empty user, a negative price, text for a price, a time that is none, or a row
    written twice. `progress` is told the rows written so far.
    """
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, shop.items, (shop.users, FAVOURITES))
    pace = rng.gamma(1.5, 1.0, shop.users)
    visits = np.cumsum(pace / pace.sum())
    written = 0
    staged = path.with_suffix(path.suffix + ".tmp")
    with staged.open("wb") as file:
        file.write((",".join(COLUMNS) + "\n").encode())
        while written < events:
            # No more sessions than are needed: a chunk is ordered by time, so what is cut off would be the last days.
            sessions = min(CHUNK_SESSIONS, math.ceil((events - written) / EVENTS_A_SESSION))
            table = _spoiled(_sessions(shop, taste, visits, sessions, written, rng), dirty, rng)
            table = table.slice(0, events - written).select(COLUMNS)
            pc.write_csv(table, file, pc.WriteOptions(include_header=False, quoting_style="none"))
            written += table.num_rows
            progress(written)
    staged.replace(path)
    return written


def _sessions(
    shop: Shop, taste: I64, visits: npt.NDArray[np.float64], sessions: int, base: int, rng: np.random.Generator
) -> pa.Table:
    """The events of so many sessions."""
    user = np.minimum(np.searchsorted(visits, rng.random(sessions)), shop.users - 1)
    start = rng.integers(0, shop.days * 86_400, sessions)
    looks = 1 + rng.poisson(MORE_LOOKS, sessions)
    session = np.repeat(np.arange(sessions), looks)
    favourite = taste[user[session], rng.integers(0, FAVOURITES, len(session))]
    popular = np.minimum((shop.items * rng.random(len(session)) ** 3).astype(np.int64), shop.items - 1)
    item = np.where(rng.random(len(session)) < LOYALTY, favourite, popular)
    carted = rng.random(len(session)) < CART_RATE
    bought = carted & (rng.random(len(session)) < BUY_RATE)
    kind = np.concatenate([np.zeros(len(session), int), np.ones(carted.sum(), int), np.full(bought.sum(), 2)])
    row = np.concatenate([np.arange(len(session)), np.flatnonzero(carted), np.flatnonzero(bought)])
    at = start[session[row]] + kind * 60 + (row - np.searchsorted(session, session[row])) * 20
    order = np.argsort(at, kind="stable")
    return _table(shop, user, session[row][order], item[row][order], kind[order], at[order], base)


def _table(shop: Shop, user: I64, session: I64, item: I64, kind: I64, at: I64, base: int) -> pa.Table:
    department, variety = item % len(DEPARTMENTS), (item // len(DEPARTMENTS)) % len(KINDS)
    codes = np.array([f"{d}.{k}" for d in DEPARTMENTS for k in KINDS] + [""])
    code = np.where(item % 5 == 0, len(codes) - 1, department * len(KINDS) + variety)
    times = (START + at.astype("timedelta64[s]")).astype(str)
    return pa.table(
        {
            "event_time": np.char.add(np.char.replace(times, "T", " "), " UTC"),
            "event_type": np.array(["view", "cart", "purchase"])[kind],
            "product_id": (1_000_000 + item).astype(str),
            "category_id": (2_000_000_000 + department * 100 + variety).astype(str),
            "category_code": codes[code],
            "brand": np.char.add("brand", (item % 97).astype(str)),
            "price": np.round(1 + (item * 7_919 % 10_000) / 20, 2).astype(str),
            "user_id": (500_000_000 + user[session]).astype(str),
            "user_session": np.char.add(f"{base:x}-", session.astype(str)),
        }
    )


def _spoiled(table: pa.Table, dirty: float, rng: np.random.Generator) -> pa.Table:
    if not dirty:
        return table
    columns = {name: table[name].to_numpy(zero_copy_only=False).copy() for name in table.column_names}
    spoil = np.flatnonzero(rng.random(table.num_rows) < dirty)
    how = rng.integers(0, 5, len(spoil))
    for n, (name, value) in enumerate(
        (("user_id", ""), ("price", "-1.5"), ("price", "cheap"), ("event_time", "yesterday"))
    ):
        columns[name][spoil[how == n]] = value
    twice = np.sort(np.concatenate([np.arange(table.num_rows), spoil[how == 4]]))
    return pa.table({name: values[twice] for name, values in columns.items()})
