"""Nothing at or after the cutoff enters a feature."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.world import EVENT_SCHEMA, event, events, write_world
from training.features.inputs import ITEM_ATTRIBUTES, USER_ATTRIBUTES, Inputs, keyed
from training.features.snapshots import VIEWS, snapshot

CUTOFF = datetime(2024, 3, 4)
PAST = [r for r in events() if r["event_time"] < CUTOFF]

later = st.timedeltas(timedelta(0), timedelta(days=400))
planted = st.lists(
    st.builds(
        lambda user, item, after, kind, price: event(f"u{user}", f"i{item}", CUTOFF + after, kind, price),
        st.integers(0, 70),
        st.integers(0, 149),
        later,
        st.sampled_from(["purchase", "view", "cart", "search", "click"]),
        st.floats(0, 1e6),
    ),
    min_size=1,
    max_size=60,
)


def rows_of(rows: list[dict[str, object]]) -> list[pa.Table]:
    with tempfile.TemporaryDirectory() as folder:
        paths = write_world(Path(folder), [])
        items = ibis.memtable(keyed(pq.read_table(paths.items), ["item_id", "item_key"], ITEM_ATTRIBUTES))
        users = ibis.memtable(keyed(pq.read_table(paths.users), ["user_id"], USER_ATTRIBUTES))
    table = ibis.memtable(pa.Table.from_pylist(rows, EVENT_SCHEMA))
    inputs = Inputs.before(CUTOFF, table, items, users)
    return [snapshot(v, inputs).order_by(v.entity).to_pyarrow() for v in VIEWS]


BEFORE = rows_of(PAST)


@settings(max_examples=12, deadline=None)
@given(planted)
def test_planted_future_events_change_nothing(future: list[dict[str, object]]) -> None:
    for before, after in zip(BEFORE, rows_of(PAST + future), strict=True):
        assert after.equals(before)


def test_an_event_at_the_cutoff_itself_is_future() -> None:
    at = event("u1", "i1", CUTOFF)
    assert all(a.equals(b) for a, b in zip(rows_of([*PAST, at]), BEFORE, strict=True))


def test_an_event_just_before_the_cutoff_counts() -> None:
    at = event("u1", "i1", CUTOFF - timedelta(microseconds=1))
    assert not all(a.equals(b) for a, b in zip(rows_of([*PAST, at]), BEFORE, strict=True))
