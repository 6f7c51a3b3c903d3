"""MGET written by hand is what hiredis writes of the same keys."""

from __future__ import annotations

import hiredis
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.packed.keys import LONGEST
from feature_repo.packed.redis_mget import mget_command

groups = st.lists(
    st.tuples(st.binary(max_size=20), st.lists(st.binary(max_size=LONGEST), max_size=12), st.binary(max_size=20)),
    max_size=4,
)


@settings(derandomize=True, deadline=None, database=None)
@given(groups)
def test_the_command_is_that_of_the_joined_keys(groups: list[tuple[bytes, list[bytes], bytes]]) -> None:
    keys = [before + middle + after for before, middles, after in groups for middle in middles]
    assert mget_command(groups) == hiredis.pack_command((b"MGET", *keys))  # type: ignore[arg-type]
