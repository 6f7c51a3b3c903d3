"""What makes a row unusable, as SQL over text columns; the first reason that holds is the row's."""

from __future__ import annotations

from datetime import datetime

EVENT_TYPES = ("view", "search", "cart", "purchase", "remove", "impression", "click", "rating")
NONE = ("", "NULL", "null", "NaN", "nan", "None", "<NA>")
"""Ways to write that there is no value, of the programs that tables come from."""
NUMBERS = ("quantity", "price", "discount")
KEYS = ("user_id", "item_id", "event_time", "event_type")

FIELD_OF = {
    "unparsable time": "event_time",
    "future time": "event_time",
    "unknown event type": "event_type",
    **{f"{n} is not a number": n for n in NUMBERS},
    **{f"negative {n}": n for n in NUMBERS},
    **{f"{n} is too large": n for n in NUMBERS},
}
"""The column whose value is what is wrong, by reason."""

DUPLICATE = "exact duplicate"
MALFORMED = "malformed line"
LARGEST = 1e12
"""Of the numbers of an event: what features sum of prices × quantities then stays far within float32."""
IDENTITY = ("user_id", "item_id", "event_time", "event_type", "session_id", "quantity", "price", "discount")
"""Columns that make two events the same event."""


def reasons(until: datetime) -> dict[str, str]:
    """Reason and the SQL condition under which it holds, in order. `t_*` are the parsed columns of `parsed`."""
    given = {n: f"trim({n}) <> ''" for n in NUMBERS}
    return {
        **{f"missing {n}": f"coalesce(trim({n}), '') in {NONE}" for n in KEYS},
        "unparsable time": "t_event_time is null or not isfinite(t_event_time) or year(t_event_time) < 1970",
        "future time": f"t_event_time > timestamp '{until.isoformat(sep=' ')}'",
        "unknown event type": f"lower(trim(event_type)) not in {EVENT_TYPES}",
        **{f"{n} is not a number": f"{given[n]} and (t_{n} is null or not isfinite(t_{n}))" for n in NUMBERS},
        **{f"negative {n}": f"t_{n} < 0" for n in NUMBERS},
        **{f"{n} is too large": f"t_{n} > {LARGEST}" for n in NUMBERS},
    }


def parsed(raw: str) -> str:
    """A query that adds the typed columns t_event_time, t_quantity, t_price, t_discount to the rows of `raw`."""
    numbers = ", ".join(f"try_cast(trim({n}) as double) as t_{n}" for n in NUMBERS)
    moment = "try_cast(trim(event_time) as timestamptz) at time zone 'UTC'"
    return f"select *, {moment} as t_event_time, {numbers} from ({raw})"


def classified(raw: str, until: datetime) -> str:
    """`parsed` with the column `reason`, null for a usable row."""
    cases = " ".join(f"when {condition} then '{reason}'" for reason, condition in reasons(until).items())
    return f"select *, case {cases} end as reason from ({parsed(raw)})"
