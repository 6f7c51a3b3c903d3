"""The plan of promotions: which items are displayed or advertised, from when to when, in how many of the shops."""

from __future__ import annotations

from pathlib import Path

from duckdb import DuckDBPyConnection

from shoprank.errors import UserError
from training.ingest.read import attempt, copying, reason
from training.ingest.source import ITEM_KEY, PROMOTION_COLUMNS

COLUMNS = ("item_id", *PROMOTION_COLUMNS)
SPAN, SHARES = PROMOTION_COLUMNS[:2], PROMOTION_COLUMNS[2:]
NOTHING = f"select {', '.join(f'null as {name}' for name in COLUMNS)} limit 0"


def write_promotions(connection: DuckDBPyConnection, known: str | None, path: Path) -> None:
    """Write item_id, item_key and PROMOTION_COLUMNS of the query `known`; a table without rows where there is none.

    A share that is not told counts as 0. Raises UserError naming the first row without an item or a span, or with a
    share outside 0 to 1.
    """
    known = known or NOTHING
    if failure := attempt(connection, f"create or replace temp table planned as {known}"):
        raise UserError(f"the promotions cannot be read: {reason(failure)}") from failure
    given = {row[0] for row in connection.execute("describe planned").fetchall()}
    text = {
        name: f"nullif(trim(cast({name} as varchar)), '')" if name in given else "null::varchar" for name in COLUMNS
    }
    span = {name: f"try_cast({text[name]} as timestamptz) at time zone 'UTC'" for name in SPAN}
    shares = {name: f"coalesce(try_cast({text[name]} as float), 0)" for name in SHARES}
    _check(connection, text, span)
    select = ", ".join(f"{expression} as {name}" for name, expression in (span | shares).items())
    highest = ", ".join(f"max({name}) as {name}" for name in SHARES)
    query = (
        f"select item_id, {ITEM_KEY} as item_key, {', '.join(SPAN)}, {highest} "
        f"from (select {text['item_id']} as item_id, {select} from planned) group by all order by starts_at, item_id"
    )
    connection.execute(copying(query, path))
    connection.execute("drop table planned")


def _check(connection: DuckDBPyConnection, text: dict[str, str], span: dict[str, str]) -> None:
    sound = [f"{text['item_id']} is not null", f"{span['starts_at']} < {span['ends_at']}"]
    sound += [f"isfinite({span[name]})" for name in SPAN]
    sound += [f"({text[name]} is null or try_cast({text[name]} as float) between 0 and 1)" for name in SHARES]
    found = connection.execute(
        f"select {', '.join(text.values())} from planned where not coalesce({' and '.join(sound)}, false) limit 1"
    ).fetchone()
    if found:
        row = ", ".join(f"{name} {value!r}" for name, value in zip(COLUMNS, found, strict=True) if value is not None)
        raise UserError(
            f"promotions: a row with {row or 'no value'}: item_id, starts_at before ends_at, "
            f"and shares from 0 to 1 are needed"
        )
