"""The widespread shop-log CSV: event_time, event_type, product_id, category_id, category_code, brand, price, user_id,
user_session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from duckdb import DuckDBPyConnection

from training.ingest.files import expand, is_parquet, relation
from training.ingest.source import Part, select_raw
from training.sql import as_text

COLUMNS = (
    "event_time",
    "event_type",
    "product_id",
    "category_id",
    "category_code",
    "brand",
    "price",
    "user_id",
    "user_session",
)


class ShopLog:
    """One or more such files, plain or gzipped. Items are known from their events alone."""

    name = "shoplog"

    def __init__(self, files: Sequence[str]) -> None:
        self.files = expand(files)
        self._relations: list[str] = []

    def parts(self, connection: DuckDBPyConnection) -> Iterator[Part]:
        """One part a file."""
        expressions = {
            "event_time": "event_time",
            "user_id": "user_id",
            "item_id": "product_id",
            "event_type": "case lower(trim(event_type)) when 'remove_from_cart' then 'remove' else event_type end",
            "price": "price",
            "session_id": "user_session",
        }
        for path in self.files:
            columns = ", ".join(f"{as_text(name)} as {name}" for name in COLUMNS)
            table = f"(select {columns} from {relation(connection, path, COLUMNS)})"
            self._relations.append(table)
            yield Part(str(path), select_raw(expressions, table), None if is_parquet(path) else path)

    def items_query(self) -> str:
        """What the events say of each item; department is the first word of the category code."""
        tables = " union all ".join(
            f"select product_id, {', '.join(map(_given, ('category_id', 'category_code', 'brand')))} from {table}"
            for table in self._relations
        )
        # One value an attribute, the same on every run: an item that changed its brand keeps the largest text.
        return (
            "select product_id as item_id, max(brand) as brand, "
            "split_part(max(category_code), '.', 1) as department, "
            "coalesce(max(category_code), max(category_id)) as category, max(category_id) as subcategory, "
            "concat_ws(' ', max(brand), split_part(max(category_code), '.', -1), product_id) as name "
            f"from ({tables}) where product_id is not null group by product_id"
        )

    def users_query(self) -> None:
        """Nothing is known of users but their events."""
        return None

    def promotions_query(self) -> None:
        """No plan of promotions."""
        return None


def _given(column: str) -> str:
    return f"nullif(trim({column}), '') as {column}"
