"""What each user bought after a time: the label's source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np

from feature_repo.paths import DataPaths
from feature_repo.transforms import I64
from training.ingested import events_table


class Purchases:
    """Purchases of a stretch of time, a user's slice at a time."""

    def __init__(self, paths: DataPaths, start: datetime, stop: datetime) -> None:
        """Read the purchases in [start, stop), naive UTC."""
        with duckdb.connect() as connection:
            table = connection.sql(
                f"""
                select user_id, item_key, cast(epoch(event_time) as bigint) as at
                from {events_table(paths)}
                where event_type = 'purchase' and event_time >= ? and event_time < ?
                order by user_id
                """,
                params=[start, stop],
            ).to_arrow_table()
        users = table["user_id"].to_numpy()
        self._keys: I64 = table["item_key"].to_numpy()
        self._at: I64 = table["at"].to_numpy()
        ids, starts = np.unique(users.astype(str), return_index=True)
        stops = np.append(starts, len(users))[1:]  # none where nobody bought anything
        self._slices = {user: slice(a, b) for user, a, b in zip(ids, starts, stops, strict=True)}

    def keys(self, user_id: str, start: int, window: timedelta) -> I64:
        """Distinct keys of the items the user bought in [start, start + window); start in seconds since 1970 UTC."""
        part = self._slices.get(user_id, slice(0, 0))
        at = self._at[part]
        inside = (at >= start) & (at < start + int(window.total_seconds()))
        return np.unique(self._keys[part][inside])


def epoch(moment: datetime) -> int:
    """Seconds since 1970 UTC of a naive UTC moment."""
    return int(moment.replace(tzinfo=UTC).timestamp())


def truth(paths: DataPaths, start: datetime, window: timedelta) -> dict[str, frozenset[str]]:
    """Distinct items each user bought in [start, start + window), naive UTC; users who bought nothing are absent."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"""
            select user_id, list(distinct item_id)
            from {events_table(paths)}
            where event_type = 'purchase' and event_time >= ? and event_time < ?
            group by user_id
            """,
            [start, start + window],
        ).fetchall()
    return {user: frozenset(items) for user, items in rows}
