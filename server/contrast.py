"""Why one item ranks below another: the group of features that, taken from the better item, would raise it most.

A contrastive explanation in the sense of Miller, Explanation in Artificial Intelligence (2019): "why P rather than
Q?". One model run of one row a group; it says what the model uses, not what causes a purchase.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_repo import schema
from feature_repo.transforms import ModelInput
from server.models.model import Model

GROUPS: dict[str, tuple[str, ...]] = {
    "bought before": ("ui_", "item_gap"),
    "its category": ("uc_", "us_"),
    "popularity": (
        "item_purchases", "item_buyers", "item_repeat", "item_trend", "item_category_share", "item_views", "item_carts",
        "item_days_since",
    ),
    "price and discount": ("item_price", "item_relative_price", "item_discount"),
    "kind of item": ("item_category_key", "item_subcategory_key", "item_department_key", "item_brand_key",
                     "item_manufacturer_key"),
}  # fmt: skip
"""Groups of features by the beginning of their names; a feature belongs to the first that fits."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A group of features and by how much, in log-odds, having the other item's would raise this one."""

    group: str
    gain: float


def columns(names: tuple[str, ...], prefixes: tuple[str, ...]) -> list[int]:
    """Positions of the names that begin with one of the prefixes."""
    return [j for j, name in enumerate(names) if name.startswith(prefixes)]


def contrasts(model: Model, inputs: ModelInput, item: int, better: int) -> list[Contrast]:
    """What sets row `item` of the inputs below row `better`, the largest gain first."""
    rows = len(GROUPS) + 1
    numeric = np.repeat(inputs.numeric[item : item + 1], rows, axis=0)
    categorical = np.repeat(inputs.categorical[item : item + 1], rows, axis=0)
    for row, prefixes in enumerate(GROUPS.values(), 1):
        for array, source, names in (
            (numeric, inputs.numeric, schema.NUMERIC),
            (categorical, inputs.categorical, schema.CATEGORICAL),
        ):
            chosen = columns(names, prefixes)
            array[row, chosen] = source[better, chosen]
    _, logits = model.run(ModelInput(numeric, categorical))
    gains = logits[1:] - logits[0]
    found = [Contrast(group, float(gain)) for group, gain in zip(GROUPS, gains, strict=True)]
    return sorted(found, key=lambda c: -c.gain)
