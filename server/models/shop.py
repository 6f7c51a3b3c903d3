"""Whether a model is of the shop whose items are served."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from server.models.model import Model
from shoprank.errors import UserError

SAME_SHOP = 0.1
"""Share of the items that a model proposes that its own shop has at least."""


def require_same_shop(model: Model, items: Collection[str], data: Path) -> None:
    """Raise UserError where hardly any item that the model proposes is among these, the catalogue of a data folder.

    A model without sources of candidates names no items, so nothing can be told of it.
    """
    if model.retriever is None:
        return
    proposed, there = model.retriever.item_ids, set(items)
    known = sum(item in there for item in proposed)
    if known < SAME_SHOP * len(proposed):
        raise UserError(
            f"{data}: has {known:,} of the {len(proposed):,} items that {model.manifest.model} version "
            f"{model.manifest.version} proposes; it is of another shop"
        )
