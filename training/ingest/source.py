"""What a source is: raw text rows of events, and what it knows of items and users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from duckdb import DuckDBPyConnection

from training.sql import as_text

RAW_COLUMNS = (
    "event_id",
    "event_time",
    "user_id",
    "item_id",
    "event_type",
    "quantity",
    "price",
    "discount",
    "session_id",
    "channel",
    "query",
)
ITEM_COLUMNS = ("name", "department", "category", "subcategory", "brand", "manufacturer", "size")
USER_COLUMNS = (
    "age",
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_composition",
    "children",
)
PROMOTION_COLUMNS = ("starts_at", "ends_at", "display_share", "mailer_share", "front_share")
"""Of a promotion: its span (naive UTC, the end not in it), and the shares of the shops, 0 to 1, that display the item,
that have it in their advertisement, and on that's front page."""
ITEM_KEY = "cast(md5_number_lower(item_id) & 9223372036854775807 as bigint)"
"""An item's key from its id, in SQL; see `feature_repo.schema.key_of`."""


@dataclass(frozen=True)
class Part:
    """One file of a source: its name for messages, and a query that yields RAW_COLUMNS as text, in file order.

    csv: the file, where it is CSV and so may hold lines that cannot be split into columns, at its delimiter.
    """

    name: str
    query: str
    csv: Path | None = None
    delimiter: str = ","


class Source(Protocol):
    """Where events come from."""

    @property
    def name(self) -> str:
        """Name of the source, such as `shoplog`."""

    def parts(self, connection: DuckDBPyConnection) -> Iterator[Part]:
        """The files, one after another. Raises UserError for one that is missing, empty, or lacks a column."""

    def items_query(self) -> str | None:
        """A query that yields item_id and any of ITEM_COLUMNS as text, a row an item; None if only events tell."""

    def users_query(self) -> str | None:
        """A query that yields user_id and any of USER_COLUMNS as text, a row a user; None if only events tell."""

    def promotions_query(self) -> str | None:
        """A query that yields item_id and PROMOTION_COLUMNS, any of the shares among them; None if there is no plan."""


def select_raw(expressions: dict[str, str], relation: str) -> str:
    """A query of RAW_COLUMNS from `relation`: the expression of each, null where there is none, as text."""
    unknown = set(expressions) - set(RAW_COLUMNS)
    if unknown:
        raise KeyError(f"not canonical columns: {sorted(unknown)}")
    columns = (f"{as_text(expressions.get(name, 'null'))} as {name}" for name in RAW_COLUMNS)
    return f"select {', '.join(columns)} from {relation}"


def listed(names: Sequence[str]) -> str:
    """Names for a message: a, b, c."""
    return ", ".join(names) or "none"
