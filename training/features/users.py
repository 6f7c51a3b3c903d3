"""One row a user: recency, frequency, monetary value, basket, rhythm, diversity, demographics."""

from __future__ import annotations

import ibis
from ibis.expr.types import Table

from training.features.inputs import SECONDS_A_DAY, VIEWS, Inputs


def user_features(inputs: Inputs) -> Table:
    """Columns user_id, USER_NUMBERS, USER_TIMES and USER_KEYS for every user with an event before the cutoff."""
    bought, seen = inputs.purchases, inputs.events
    repeats = bought.group_by("user_id", "item_key").agg(lines=bought.count())
    repeats = repeats.group_by("user_id").agg(repeated=(repeats.lines - 1).sum())

    lines = bought.count()
    orders = bought.order_id.nunique()
    spend = bought.spend.sum()
    first, last = bought["at"].min(), bought["at"].max()
    buying = bought.group_by("user_id").agg(
        user_orders=orders,
        user_orders_7d=bought.order_id.nunique(where=inputs.within(bought["at"], 7)),
        user_orders_28d=bought.order_id.nunique(where=inputs.within(bought["at"], 28)),
        user_orders_84d=bought.order_id.nunique(where=inputs.within(bought["at"], 84)),
        user_purchases=lines,
        user_purchases_28d=inputs.within(bought["at"], 28).sum(),
        user_spend=spend,
        user_spend_28d=bought.spend.sum(where=inputs.within(bought["at"], 28)).fill_null(0.0),
        user_basket_items=lines / orders,
        user_basket_spend=spend / orders,
        user_order_gap_days=(last - first) / SECONDS_A_DAY / (orders - 1).nullif(0),
        user_discount_share=bought.discount.sum() / (spend + bought.discount.sum()).nullif(0.0),
        user_distinct_items=bought.item_key.nunique(),
        user_distinct_categories=bought.category_key.nunique(),
        user_first_purchase_at=first,
        user_last_purchase_at=last,
    )
    browsing = seen.group_by("user_id").agg(
        user_views_28d=(seen.event_type.isin(VIEWS) & inputs.within(seen["at"], 28)).sum(),
        user_carts_28d=((seen.event_type == "cart") & inputs.within(seen["at"], 28)).sum(),
    )
    rows = browsing.left_join(buying, "user_id").drop("user_id_right")
    rows = rows.left_join(repeats, "user_id").drop("user_id_right")
    rows = rows.left_join(inputs.users, "user_id").drop("user_id_right")
    rows = _promoted(inputs, rows)
    return rows.mutate(
        user_repeat_share=rows.repeated / rows.user_purchases,
        user_as_of=ibis.literal(inputs.cutoff_seconds, "int64"),
    )


def _promoted(inputs: Inputs, rows: Table) -> Table:
    """The rows with the share bought of what was advertised; null where there is no plan at all."""
    if inputs.promotions is None:
        return rows.mutate(user_mailed_purchase_share=ibis.null("float64"))
    mailed = inputs.mailed_purchases
    counted = mailed.group_by("user_id").agg(mailed=mailed.count())
    rows = rows.left_join(counted, "user_id").drop("user_id_right")
    return rows.mutate(user_mailed_purchase_share=rows.mailed.fill_null(0) / rows.user_purchases.nullif(0))
