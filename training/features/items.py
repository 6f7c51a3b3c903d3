"""One row an item: popularity over windows, buyers, repeat rate, price and discount level, trend, attributes."""

from __future__ import annotations

import ibis
from ibis.expr.types import Table

from training.features.inputs import PLANNED_DAYS, SECONDS_A_DAY, VIEWS, Inputs


def item_features(inputs: Inputs) -> Table:
    """Columns item_id, ITEM_NUMBERS, ITEM_TIMES and ITEM_KEYS for every item of the catalogue, sold or not."""
    rows = inputs.items
    for part in (_sales(inputs), _repeats(inputs), _browsing(inputs), _category_sales(inputs)):
        key = "item_category_key" if "item_category_key" in part.columns else "item_key"
        rows = rows.left_join(part, key).drop(f"{key}_right")
    rows = rows.mutate(**{name: rows[name].fill_null(0) for name in _COUNTS})
    rows = _promoted(inputs, rows)
    weekly = rows.item_purchases_28d / 4.0
    return rows.mutate(
        item_trend=(rows.item_purchases_7d + 1.0) / (weekly + 1.0),
        item_category_share_28d=rows.item_purchases_28d / rows.category_purchases_28d.nullif(0),
        item_relative_price=rows.item_price_28d / rows.item_price.nullif(0.0),
        item_as_of=ibis.literal(inputs.cutoff_seconds, "int64"),
    )


_COUNTS = (
    "item_purchases",
    "item_purchases_7d",
    "item_purchases_28d",
    "item_purchases_84d",
    "item_buyers",
    "item_buyers_28d",
    "item_views_28d",
    "item_carts_28d",
)


def _sales(inputs: Inputs) -> Table:
    bought = inputs.purchases
    last_28d = inputs.within(bought["at"], 28)
    spend, discount = bought.spend.sum(), bought.discount.sum()
    spend_28d = bought.spend.sum(where=last_28d)
    discount_28d = bought.discount.sum(where=last_28d)
    return bought.group_by("item_key").agg(
        item_purchases=bought.count(),
        item_purchases_7d=inputs.within(bought["at"], 7).sum(),
        item_purchases_28d=last_28d.sum(),
        item_purchases_84d=inputs.within(bought["at"], 84).sum(),
        item_buyers=bought.user_id.nunique(),
        item_buyers_28d=bought.user_id.nunique(where=last_28d),
        item_price=bought.price.mean(),
        item_price_28d=bought.price.mean(where=last_28d),
        item_discount_share=discount / (spend + discount).nullif(0.0),
        item_discount_share_28d=discount_28d / (spend_28d + discount_28d).nullif(0.0),
        item_first_purchase_at=bought["at"].min(),
        item_last_purchase_at=bought["at"].max(),
    )


def _repeats(inputs: Inputs) -> Table:
    bought = inputs.purchases
    pairs = bought.group_by("user_id", "item_key").agg(
        lines=bought.count(), span=bought["at"].max() - bought["at"].min()
    )
    again = pairs.lines > 1
    return pairs.group_by("item_key").agg(
        item_repeat_rate=again.mean(),
        item_purchases_per_buyer=pairs.lines.mean(),
        item_gap_days=pairs.span.sum(where=again) / float(SECONDS_A_DAY) / (pairs.lines - 1).sum(where=again).nullif(0),
    )


def _browsing(inputs: Inputs) -> Table:
    seen = inputs.events.filter(inputs.within(inputs.events["at"], 28))
    return seen.group_by("item_key").agg(
        item_views_28d=seen.event_type.isin(VIEWS).sum(),
        item_carts_28d=(seen.event_type == "cart").sum(),
    )


def _category_sales(inputs: Inputs) -> Table:
    bought = inputs.purchases.filter(inputs.within(inputs.purchases["at"], 28))
    sales = bought.group_by("category_key").agg(category_purchases_28d=bought.count())
    return sales.rename(item_category_key="category_key")


def _promoted(inputs: Inputs, rows: Table) -> Table:
    """The rows with what is planned for the items and was before; null where the plan says nothing of the week."""
    coming = ("item_display_share", "item_mailer_share", "item_front_share")
    if inputs.promotions is None:
        untold = ibis.null("float64")
        return rows.mutate(
            item_mailer_share_before=untold, item_mailed_purchase_share=untold, **dict.fromkeys(coming, untold)
        )
    soon, before = inputs.planned(0, PLANNED_DAYS), inputs.planned(-PLANNED_DAYS, 0)
    mailed = inputs.mailed_purchases
    for part in (
        soon.group_by("item_key").agg(
            item_display_share=soon.display_share.max(),
            item_mailer_share=soon.mailer_share.max(),
            item_front_share=soon.front_share.max(),
        ),
        before.group_by("item_key").agg(item_mailer_share_before=before.mailer_share.max()),
        mailed.group_by("item_key").agg(item_mailed_purchases=mailed.count()),
    ):
        rows = rows.left_join(part, "item_key").drop("item_key_right")
    told = {name: soon.count().as_scalar() > 0 for name in coming}
    told["item_mailer_share_before"] = before.count().as_scalar() > 0
    rows = rows.mutate(**{name: known.ifelse(rows[name].fill_null(0.0), None) for name, known in told.items()})
    share = rows.item_mailed_purchases.fill_null(0) / rows.item_purchases.nullif(0)
    return rows.mutate(item_mailed_purchase_share=share)
