"""A small seeded shop: some users, items, and half a year of purchases with rhythm, for tests."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.paths import DataPaths, write_json
from feature_repo.schema import key_of

START = datetime(2024, 1, 1)
END = datetime(2024, 6, 30, 23)
USERS, ITEMS = 60, 150

EVENT_SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_time", pa.timestamp("us")),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("item_key", pa.int64()),
        ("event_type", pa.string()),
        ("quantity", pa.float64()),
        ("price", pa.float64()),
        ("discount", pa.float64()),
        ("session_id", pa.string()),
        ("channel", pa.string()),
        ("query", pa.string()),
    ]
)


def event(
    user: str, item: str, at: datetime, kind: str = "purchase", price: float = 2.0, session: str | None = None
) -> dict[str, Any]:
    """One canonical event."""
    return {
        "event_id": f"{user}-{item}-{at.isoformat()}-{kind}",
        "event_time": at,
        "user_id": user,
        "item_id": item,
        "item_key": key_of(item),
        "event_type": kind,
        "quantity": 1.0,
        "price": price,
        "discount": 0.25 if crc32(f"{user} {item}".encode()) % 3 == 0 else 0.0,
        "session_id": session,
        "channel": "web",
        "query": None,
    }


def events(seed: int = 0) -> list[dict[str, Any]]:
    """Orders of every user, weekly or so, of favourites and of popular items; views before some of them."""
    rng = np.random.default_rng(seed)
    rows = []
    popularity = 1 / np.arange(1, ITEMS + 1)
    popularity /= popularity.sum()
    for u in range(USERS):
        favourites = rng.choice(ITEMS, 12, replace=False)
        gap = float(rng.uniform(3, 12))
        at = START + timedelta(days=float(rng.uniform(0, gap)))
        order = 0
        while at < END:
            basket = {*rng.choice(favourites, 4), *rng.choice(ITEMS, 3, p=popularity)}
            for n, i in enumerate(sorted(int(i) for i in basket)):
                moment = at + timedelta(minutes=n)
                session = f"s{u}-{order}"
                if rng.random() < 0.3:
                    viewed = moment - timedelta(minutes=5)
                    rows.append(event(f"u{u}", f"i{i}", viewed, "view", session=session))
                rows.append(event(f"u{u}", f"i{i}", moment, price=1 + i % 7, session=session))
            order += 1
            at += timedelta(days=float(gap * rng.uniform(0.6, 1.4)))
    return rows


def write_world(root: Path, rows: list[dict[str, Any]]) -> DataPaths:
    """The files an ingest leaves behind, holding `rows`."""
    paths = DataPaths(root)
    paths.events.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, EVENT_SCHEMA), paths.events / "part-0.parquet")
    items = [
        {
            "item_id": f"i{i}",
            "item_key": key_of(f"i{i}"),
            "name": f"Item {i}",
            "department": f"d{i % 3}",
            "category": f"c{i % 9}" if i % 11 else None,
            "subcategory": f"s{i % 30}",
            "brand": "Own" if i % 2 else "Other",
            "manufacturer": f"m{i % 5}",
            "size": None,
        }
        for i in range(ITEMS)
    ]
    users = [{"user_id": f"u{u}", "age": "25-34" if u % 2 else None, "income": f"{u % 4}"} for u in range(USERS)]
    pq.write_table(pa.Table.from_pylist(items), paths.items)
    pq.write_table(pa.Table.from_pylist(users), paths.users)
    quality = {"source": "world", "rows_kept": len(rows), "first": START.isoformat(), "last": END.isoformat()}
    write_json(paths.quality, quality)
    return paths
