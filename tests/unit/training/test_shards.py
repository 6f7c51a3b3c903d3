"""Splits are streamed whole, in bounded pieces, and refuse what is not a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoprank.errors import UserError
from training.shards import Block, Columns, Split, rebatch

COLUMNS = Columns(("a", "b"), ("c",))


def write(folder: Path, rows: int, name: str = "part-0", group: int = 100, **changes: pa.Array) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = {
        "label": pa.array(np.arange(rows) % 2, pa.int8()),
        "a": pa.array(np.arange(rows), pa.float32()),
        "b": pa.array([None] * rows, pa.float32()),
        "c": pa.array([None, *range(1, rows)], pa.int64()),
        **changes,
    }
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table({k: v for k, v in table.items() if v is not None}), path, row_group_size=group)
    return path


def test_every_row_comes_once_in_the_shards_order(tmp_path: Path) -> None:
    write(tmp_path, 250, "part-0")
    write(tmp_path, 50, "part-1")
    blocks = list(Split(tmp_path, COLUMNS).blocks())
    assert np.concatenate([b.numeric[:, 0] for b in blocks]).tolist() == [*range(250), *range(50)]


def test_null_number_is_nan_and_null_key_is_zero(tmp_path: Path) -> None:
    write(tmp_path, 5)
    (block,) = Split(tmp_path, COLUMNS).blocks()
    assert np.isnan(block.numeric[:, 1]).all()
    assert block.categorical[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_null_text_is_the_empty_string(tmp_path: Path) -> None:
    write(tmp_path, 2, c=pa.array([None, "x"]))
    (block,) = Split(tmp_path, Columns(("a",), ("c",), "string")).blocks()
    assert block.categorical[:, 0].tolist() == ["", "x"]


def test_offset_and_weight_default_to_none_at_all(tmp_path: Path) -> None:
    write(tmp_path, 3)
    (block,) = Split(tmp_path, COLUMNS).blocks()
    assert block.offset.tolist() == [0, 0, 0]
    assert block.weight.tolist() == [1, 1, 1]


def test_offset_and_weight_are_read_where_they_are(tmp_path: Path) -> None:
    write(tmp_path, 2, offset=pa.array([2.5, 0.0], pa.float32()), weight=pa.array([3.0, 1.0], pa.float32()))
    (block,) = Split(tmp_path, COLUMNS).blocks()
    assert block.offset.tolist() == [2.5, 0]
    assert block.weight.tolist() == [3, 1]


def test_shuffling_keeps_each_row_and_its_label_and_changes_the_order(tmp_path: Path) -> None:
    write(tmp_path, 1000)
    shuffled = list(Split(tmp_path, COLUMNS).shuffled(np.random.default_rng(0), pool_rows=250))
    rows = np.concatenate([b.numeric[:, 0] for b in shuffled])
    labels = np.concatenate([b.label for b in shuffled])
    assert sorted(rows.tolist()) == list(range(1000))
    assert (labels == rows % 2).all()
    assert (np.diff(rows) < 0).mean() > 0.3


def test_shuffling_holds_no_more_than_a_pool(tmp_path: Path) -> None:
    write(tmp_path, 1000, group=50)
    sizes = [len(b) for b in Split(tmp_path, COLUMNS).shuffled(np.random.default_rng(0), pool_rows=200)]
    assert max(sizes) == 200


def test_same_seed_shuffles_alike(tmp_path: Path) -> None:
    write(tmp_path, 500)
    split = Split(tmp_path, COLUMNS)
    first, second = (
        np.concatenate([b.numeric[:, 0] for b in split.shuffled(np.random.default_rng(7))]) for _ in range(2)
    )
    assert (first == second).all()


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_rebatched_rows_keep_their_order_and_only_the_last_batch_is_short(tmp_path: Path, size: int) -> None:
    write(tmp_path, 333, group=50)
    batches: list[Block] = list(rebatch(Split(tmp_path, COLUMNS).blocks(), size))
    assert np.concatenate([b.numeric[:, 0] for b in batches]).tolist() == list(range(333))
    assert {len(b) for b in batches[:-1]} <= {size}
    assert len(batches[-1]) <= size


def test_time_range_spans_all_shards(tmp_path: Path) -> None:
    write(tmp_path, 2, "part-0", time=pa.array([50, 60]))
    write(tmp_path, 2, "part-1", time=pa.array([40, 45]))
    assert Split(tmp_path, COLUMNS).time_range() == (40, 60)


def test_time_range_is_none_without_times(tmp_path: Path) -> None:
    write(tmp_path, 2)
    assert Split(tmp_path, COLUMNS).time_range() is None


def test_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Parquet shards"):
        Split(tmp_path / "train", COLUMNS)


def test_shards_without_rows_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)
    empty = pq.read_table(tmp_path / "part-0.parquet").slice(0, 0)
    pq.write_table(empty, tmp_path / "part-0.parquet")
    with pytest.raises(UserError, match="no rows"):
        Split(tmp_path, COLUMNS)


def test_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    path = write(tmp_path, 3)
    with pytest.raises(UserError, match=f"{path}: no column 'price'"):
        Split(tmp_path, Columns(("price",), ()))


def test_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "part-0.parquet").write_bytes(b"not a parquet file at all")
    with pytest.raises(UserError, match="not a Parquet file"):
        Split(tmp_path, COLUMNS)


def test_label_other_than_0_and_1_is_refused_with_its_value(tmp_path: Path) -> None:
    write(tmp_path, 3, label=pa.array([0, 1, 2], pa.int8()))
    with pytest.raises(UserError, match=r"'label' must be 0 or 1, found 2"):
        list(Split(tmp_path, COLUMNS).blocks())
