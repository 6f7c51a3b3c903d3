"""A file that cannot be read is named, with what to run."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.files import read_whole, reading, rows_of
from shoprank.errors import UserError


def test_a_file_is_read_whole_or_in_part(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    path = tmp_path / "t.parquet"
    pq.write_table(table, path)
    assert read_whole(path) == table
    assert read_whole(path, ["b"]).column_names == ["b"]
    assert rows_of(path) == 2


def test_what_is_wrong_with_a_file_is_told_with_its_name_and_what_to_run(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(UserError, match=r"t\.parquet: no such file; run `shoprank ingest` first"):
        read_whole(path)
    pq.write_table(pa.table({"a": list(range(1000))}), path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:-30], whole[:8] + b"\xff" * 64 + whole[72:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"t\.parquet: is damaged: .*; run `that`"):
            read_whole(path, advice="run `that`")


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"t\.parquet: cannot be read: Permission denied$"),
        reading(tmp_path / "t.parquet"),
    ):
        raise PermissionError(13, "Permission denied")
