"""What an ingest found: counts by reason, ranges and null rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from duckdb import DuckDBPyConnection

RANGES = ("event_time", "quantity", "price", "discount")
NULLABLE = ("quantity", "price", "discount", "session_id", "channel", "query")


@dataclass(frozen=True)
class QualityReport:
    """Counts of rows read, kept and rejected by reason; ranges and null rates of the rows kept.

    fingerprint: changes when any kept event, item or user does; the features are computed again then.
    undescribed: how many of the `users` and `items` of the events the source's table of them lacks, where it has one.
    examples: by reason, where the first row that was rejected for it is, and the value.
    """

    source: str
    files: list[str]
    rows_read: int
    rows_kept: int
    rejected: dict[str, int]
    first: str
    last: str
    users: int
    items: int
    events_by_type: dict[str, int]
    ranges: dict[str, list[str | float | None]]
    null_rates: dict[str, float]
    fingerprint: str
    undescribed: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The report as it is saved."""
        return asdict(self)


def measure(
    connection: DuckDBPyConnection,
    events: str,
    side_tables: Sequence[str],
    source: str,
    files: list[str],
    read: int,
    rejected: dict[str, int],
) -> QualityReport:
    """Measure the kept events. `events` and `side_tables` (items, users) are table functions over Parquet files."""
    ranges = ", ".join(f"min({c}), max({c})" for c in RANGES)
    nulls = ", ".join(f"avg(({c} is null)::int)" for c in NULLABLE)
    (row,) = connection.execute(
        f"select count(*), count(distinct user_id), count(distinct item_id), {ranges}, {nulls} from {events}"
    ).fetchall()
    kept, users, items, *rest = row
    spans, rates = rest[: 2 * len(RANGES)], rest[2 * len(RANGES) :]
    by_type = connection.execute(f"select event_type, count(*) from {events} group by 1 order by 2 desc").fetchall()
    return QualityReport(
        source=source,
        files=files,
        rows_read=read,
        rows_kept=kept,
        rejected=rejected,
        first=spans[0].isoformat(),
        last=spans[1].isoformat(),
        users=users,
        items=items,
        events_by_type=dict(by_type),
        ranges={
            name: [v.isoformat() if isinstance(v, datetime) else v for v in spans[2 * j : 2 * j + 2]]
            for j, name in enumerate(RANGES)
        },
        null_rates={name: round(rate, 6) for name, rate in zip(NULLABLE, rates, strict=True)},
        fingerprint="-".join(_fingerprint(connection, table) for table in (events, *side_tables)),
    )


def _fingerprint(connection: DuckDBPyConnection, table: str) -> str:
    """A hash of the rows, whatever their order."""
    (row,) = connection.execute(f"select sum(hash(rows)) from {table} as rows").fetchall()
    return f"{int(row[0] or 0) % 2**64:016x}"
