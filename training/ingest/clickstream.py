"""A seeded clickstream of an online shop, view → cart → purchase, made on the spot and read as a shop log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from duckdb import DuckDBPyConnection

from training.ingest.shoplog import ShopLog
from training.ingest.source import Part
from training.synthetic import Shop, write_shop_log

EVENTS = 150_000
SHOP = Shop(users=1_200, items=1_500, days=210)


class Clickstream:
    """Synthetic events of `training.synthetic`: the same on every run. Real shops differ; only the path is shown."""

    name = "clickstream"

    def __init__(self, events: int = EVENTS, shop: Shop = SHOP, seed: int = 0) -> None:
        self._folder = TemporaryDirectory()
        path = Path(self._folder.name) / "clickstream.csv"
        write_shop_log(path, events, shop, seed)
        self._log = ShopLog([str(path)])

    def parts(self, connection: DuckDBPyConnection) -> Iterator[Part]:
        """One part: the events."""
        return self._log.parts(connection)

    def items_query(self) -> str:
        """What the events say of each item."""
        return self._log.items_query()

    def users_query(self) -> None:
        """Nothing is known of users but their events."""

    def promotions_query(self) -> None:
        """No plan of promotions."""
        return None
