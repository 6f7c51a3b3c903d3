"""A binary label of any type: which of its two values is the positive one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from shoprank.errors import UserError
from training.sql import identifier, literal
from training.table.source import Source

MANY = 1000
POSITIVE_WORDS = frozenset(
    (
        *("true", "t", "yes", "y", "positive", "pos", "good", "success", "won"),
        *("buy", "bought", "purchase", "purchased", "churn", "churned", "converted", "conversion", "clicked"),
    )
)


@dataclass(frozen=True, slots=True)
class Label:
    """The label's column, its two values as text, and the number of rows without one, which are left out."""

    column: str
    negative: str
    positive: str
    nulls: int

    @property
    def sql(self) -> str:
        """Expression that is 1, 0 or null."""
        value = f"CAST({identifier(self.column)} AS VARCHAR)"
        return f"CASE {value} WHEN {literal(self.positive)} THEN 1 WHEN {literal(self.negative)} THEN 0 END"

    @property
    def mapping(self) -> dict[str, int]:
        """What each value means to the model."""
        return {self.negative: 0, self.positive: 1}


def read_label(source: Source, column: str, positive: str | None = None) -> Label:
    """Find the label's two values. The positive one is `positive` where it is given; else the one that means
    yes, else the larger number, else the rarer value.

    Raises UserError where the column is missing or has not exactly two values.
    """
    source.require(column)
    value = f"CAST({identifier(column)} AS VARCHAR)"
    counts = dict(
        source.connection.execute(
            f"SELECT {value} AS v, count(*) FROM source WHERE {value} IS NOT NULL"
            f" GROUP BY v ORDER BY count(*) DESC, v LIMIT {MANY}"
        ).fetchall()
    )
    if len(counts) != 2:
        raise UserError(f"{source.file}: label column {column!r} must have two values, but {_what(counts)}")
    if positive is not None and positive not in counts:
        raise UserError(f"{source.file}: label column {column!r} has the values {_listed(counts)}, not {positive!r}")
    chosen = positive if positive is not None else _positive(counts)
    (negative,) = set(counts) - {chosen}
    return Label(column, negative, chosen, source.rows - sum(counts.values()))


def _what(counts: dict[str, int]) -> str:
    if not counts:
        return "every cell is empty"
    if len(counts) == 1:
        return f"every cell is {_listed(counts)}: there is one class only"
    number = f"{MANY} or more" if len(counts) >= MANY else str(len(counts))
    return f"it has {number}: {_listed(counts)}{', …' if len(counts) > 8 else ''}"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{value!r} ({rows} rows)" for value, rows in islice(counts.items(), 8))


def _positive(counts: dict[str, int]) -> str:
    """The positive one of two values, given the rows of each."""
    said_yes = [value for value in counts if value.lower() in POSITIVE_WORDS]
    if len(said_yes) == 1:
        return said_yes[0]
    try:
        return max(counts, key=float)
    except ValueError:
        return min(counts, key=lambda value: (counts[value], value))
