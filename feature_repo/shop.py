"""Whether a model is of the shop whose data folder it is used with."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from pathlib import Path

from shoprank.errors import OtherShop

SAME_SHOP = 0.1
"""Share of the items that a model proposes that its own shop has at least."""


def require_same_shop(proposed: Collection[Hashable], there: Iterable[Hashable], data: Path, model: str) -> None:
    """Raise OtherShop where hardly any item that a model proposes is among those of a data folder's catalogue.

    Items are ids or keys, the same in both. model: its name and version, for the message.
    """
    own = set(there)
    known = sum(item in own for item in proposed)
    if known < SAME_SHOP * len(proposed):
        raise OtherShop(
            f"{data}: has {known:,} of the {len(proposed):,} items that {model} proposes; it is of another shop"
        )
