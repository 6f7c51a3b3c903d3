"""Where a peer reads features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from feature_repo.transforms import ItemRows, UserRow


class Rows(Protocol):
    """Reads what one ranking needs."""

    def read(self, user_id: str, item_ids: Sequence[str]) -> tuple[UserRow, ItemRows]:
        """The user's row and the items', in the order given."""
        ...
