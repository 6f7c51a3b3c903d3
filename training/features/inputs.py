"""What every feature starts from: the events before a cutoff, joined with what the catalogue says of their items."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import ibis
import pyarrow as pa
from ibis.expr.types import BooleanColumn, FloatingColumn, FloatingScalar, IntegerColumn, Table

from feature_repo.schema import ITEM_KEYS, USER_KEYS, USER_TRAITS, key_of

INTEREST = ("view", "search", "click", "cart")
VIEWS = ("view", "search", "click")
SECONDS_A_DAY = 86_400
PLANNED_DAYS = 7
"""How far ahead the plan of promotions is looked at."""
DAYS_OF_PLANS = 366 * 100

ITEM_ATTRIBUTES = {
    "item_category_key": "category",
    "item_subcategory_key": "subcategory",
    "item_department_key": "department",
    "item_brand_key": "brand",
    "item_manufacturer_key": "manufacturer",
}
USER_ATTRIBUTES = dict(zip((f.name for f in USER_KEYS), USER_TRAITS, strict=True))
assert list(ITEM_ATTRIBUTES) == [f.name for f in ITEM_KEYS[1:]]


def keyed(table: pa.Table, id_columns: list[str], attributes: dict[str, str]) -> pa.Table:
    """`id_columns` of a table beside one int64 key column an attribute; an absent or null attribute has key 0."""
    columns = {name: table[name] for name in id_columns}
    for name, attribute in attributes.items():
        if attribute not in table.column_names:
            columns[name] = pa.repeat(pa.scalar(0, pa.int64()), table.num_rows)
            continue
        encoded = table[attribute].combine_chunks().dictionary_encode()
        keys = pa.array([key_of(value) for value in encoded.dictionary.to_pylist()], pa.int64())
        columns[name] = keys.take(encoded.indices).fill_null(0)
    return pa.table(columns)


@dataclass(frozen=True)
class Inputs:
    """Events before `cutoff`, beside the catalogue and the users with their attributes as keys.

    promotions: item_key, span and shares of the plan as of the cutoff; None where there is no plan.
    """

    events: Table
    items: Table
    users: Table
    cutoff: datetime
    promotions: Table | None = None

    @classmethod
    def before(
        cls, cutoff: datetime, events: Table, items: Table, users: Table, promotions: Table | None = None
    ) -> Inputs:
        """The inputs as of `cutoff` (naive UTC): no event at or after it is in them.

        `items` carries item_id and ITEM_KEYS, `users` carries user_id and USER_KEYS (see `keyed`). What is promoted
        in the `PLANNED_DAYS` after the cutoff is taken as known at it, as an advertisement is once it is printed.
        """
        past = events.filter(events.event_time < ibis.timestamp(cutoff.isoformat(sep=" ")))
        past = past.mutate(
            order_id=ibis.coalesce(past.session_id, past.event_time.date().cast("string")),
            quantity=past.quantity.fill_null(1.0),
            discount=past.discount.fill_null(0.0),
            at=past.event_time.epoch_seconds(),
        )
        columns = items.select("item_id", "item_category_key", "item_subcategory_key")
        past = past.left_join(columns, "item_id").drop("item_id_right")
        past = past.rename(category_key="item_category_key", subcategory_key="item_subcategory_key")
        if promotions is not None:
            promotions = promotions.mutate(
                starts_at=promotions.starts_at.epoch_seconds(), ends_at=promotions.ends_at.epoch_seconds()
            )
        return cls(past, items, users, cutoff, promotions)

    @property
    def cutoff_seconds(self) -> int:
        """The cutoff, seconds since 1970 UTC."""
        return int((self.cutoff - datetime(1970, 1, 1)).total_seconds())

    @property
    def purchases(self) -> Table:
        """Purchases only, with `spend` = price × quantity."""
        bought = self.events.filter(self.events.event_type == "purchase")
        return bought.mutate(spend=(bought.price * bought.quantity).fill_null(0.0))

    def planned(self, first_day: int, last_day: int) -> Table:
        """Promotions in force at any time of the days from `first_day` to `last_day` after the cutoff.

        Call it only where there is a plan.
        """
        assert self.promotions is not None
        assert last_day <= PLANNED_DAYS
        after, until = (self.cutoff_seconds + day * SECONDS_A_DAY for day in (first_day, last_day))
        return self.promotions.filter((self.promotions.ends_at > after) & (self.promotions.starts_at < until))

    @property
    def mailed_purchases(self) -> Table:
        """Purchases of items while most shops advertised them. Call it only where there is a plan."""
        plan = self.planned(-DAYS_OF_PLANS, 0)
        plan = plan.filter(plan.mailer_share >= 0.5).select("item_key", "starts_at", "ends_at")
        bought = self.purchases
        return bought.semi_join(plan, ["item_key", bought["at"] >= plan.starts_at, bought["at"] < plan.ends_at])

    def age_days(self, at: IntegerColumn) -> FloatingColumn:
        """Days from `at` (seconds since 1970 UTC) to the cutoff."""
        return (ibis.literal(self.cutoff_seconds, "int64") - at) / ibis.literal(float(SECONDS_A_DAY))

    def within(self, at: IntegerColumn, days: int) -> BooleanColumn:
        """Whether `at` lies in the last `days` days before the cutoff."""
        return at >= self.cutoff_seconds - days * SECONDS_A_DAY

    def decayed(self, at: IntegerColumn, half_life_days: float, where: BooleanColumn) -> FloatingScalar:
        """Number of events, each halved every `half_life_days`."""
        weight = ibis.literal(0.5) ** (self.age_days(at) / half_life_days)
        return where.ifelse(weight, 0.0).sum().cast("float32")
