"""The plan of promotions as arrays, and the state it puts an item in for a week."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.files import read_whole
from feature_repo.paths import DataPaths

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
MICROSECONDS_A_DAY = 86_400e6

STATES = ("plain", "displayed", "advertised", "front page")
MOST = 0.5
"""Share of the shops from which on an item counts as advertised."""
DISPLAYED = 0.1


@dataclass(frozen=True)
class Plan:
    """Promotions: items int32 (m,) by position, starts and ends float64 (m,) in days since 1970 UTC, the shares of the
    shops that display, advertise, and have the item on the front page, float32 (m,)."""

    items: I32
    starts: F64
    ends: F64
    display: F32
    mailer: F32
    front: F32

    def states(self, start: float, items: int) -> I32:
        """Position in STATES of each of `items` items in the 7 days from `start`, (items,): the strongest there is."""
        inside = (self.starts < start + 7) & (self.ends > start)
        strongest = np.select(
            [self.front >= MOST, self.mailer >= MOST, self.display >= DISPLAYED], [3, 2, 1], default=0
        )
        found = np.zeros(items, np.int32)
        np.maximum.at(found, self.items[inside], strongest[inside].astype(np.int32))
        return found


def read_plan(paths: DataPaths, item_keys: I64) -> Plan | None:
    """The plan of the promotions file, of the items with `item_keys`, ascending; None where the file has no rows."""
    if not paths.promotions.is_file():
        return None
    table = read_whole(paths.promotions)
    if not table.num_rows:
        return None
    keys = table["item_key"].to_numpy()
    at = np.minimum(np.searchsorted(item_keys, keys), len(item_keys) - 1)
    known = item_keys[at] == keys
    starts, ends = (
        table[name].cast("timestamp[us]").cast("int64").to_numpy()[known] / MICROSECONDS_A_DAY
        for name in ("starts_at", "ends_at")
    )
    shares = (table[name].to_numpy()[known] for name in ("display_share", "mailer_share", "front_share"))
    return Plan(at[known].astype(np.int32), starts, ends, *shares)
