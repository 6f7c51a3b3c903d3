"""What batch scoring refuses, by file, row and column, and what it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from server.batch.score import wanted_of
from server.batch.source import Kind, parts_of, read
from shoprank.errors import UserError


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def read_all(path: Path) -> None:
    kind, parts = parts_of(path)
    for part in parts:
        read(part, kind)


def test_the_columns_say_what_is_asked_for(tmp_path: Path) -> None:
    assert parts_of(write(tmp_path / "a.parquet", user_id=["u"]))[0] is Kind.CATALOGUE
    assert parts_of(write(tmp_path / "b.parquet", user_id=["u"], item_id=["i"]))[0] is Kind.PAIRS
    assert parts_of(write(tmp_path / "c.parquet", user_id=["u"], item_ids=[["i"]]))[0] is Kind.CANDIDATES


def test_every_row_group_is_a_part_of_a_name_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write(tmp_path / "in" / "a.parquet", user_id=["u"] * 3)
    write(tmp_path / "in" / "deep" / "a.parquet", user_id=["u"])
    _, parts = parts_of(tmp_path / "in")
    assert [part.name for part in parts] == ["a-00000.parquet", "a-00001.parquet", "deep/a-00000.parquet"]
    assert [(part.rows, part.first) for part in parts] == [(2, 0), (1, 2), (1, 0)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item_id": ["i"]}, "no column user_id; it has item_id"),
        ({"user_id": [1]}, "column user_id is int64, not string"),
        ({"user_id": ["u"], "item_ids": ["i"]}, "column item_ids is string, not a list of string"),
        ({"user_id": ["u"], "item_ids": [["i"]], "item_id": ["i"]}, "has both item_id"),
        ({"user_id": ["a", "b", "c", None]}, "row 3: user_id is null"),
        ({"user_id": ["a", "b", "c"], "item_id": ["i", "i", ""]}, "row 2: item_id is no id of 1 to 256 bytes"),
        ({"user_id": ["a", "b"], "item_id": ["i", "é" * 129]}, "row 1: item_id is no id of 1 to 256 bytes"),
        ({"user_id": ["a", "b"], "item_ids": [["i"], None]}, "row 1: item_ids is null"),
        ({"user_id": ["a", "b"], "item_ids": [["i"], []]}, "row 1: item_ids is empty"),
        ({"user_id": list("abc"), "item_ids": [["i"], ["i"], ["i", None]]}, r"row 2: item_ids\[1\] is null"),
        ({"user_id": list("abc"), "item_ids": [["i"], ["i"], ["i", "j", "i"]]}, r"row 2: item_ids\[2\] repeats"),
    ],
)
def test_bad_input_is_named_by_file_row_and_column(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    file = write(tmp_path / "in.parquet", **columns)
    with pytest.raises(UserError, match=message) as error:
        read_all(file)
    assert str(file) in str(error.value)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_text("user_id\nu\n")
    for path, message in ((tmp_path / "in.parquet", "cannot be read as Parquet"), (tmp_path / "no", "no such file")):
        with pytest.raises(UserError, match=message):
            parts_of(path)


def test_files_that_ask_for_different_things_are_refused_together(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", user_id=["u"])
    write(tmp_path / "b.parquet", user_id=["u"], item_id=["i"])
    with pytest.raises(UserError, match=r"b\.parquet: asks for pairs, but .*a\.parquet for catalogue"):
        parts_of(tmp_path)


def test_ids_are_looked_up_by_their_bytes_wherever_their_array_begins() -> None:
    array = pa.array(["left out", "a", "é", "ccc"])[1:]
    assert wanted_of(array).ids == ["a", "é", "ccc"]
    assert wanted_of(pa.array([], pa.string())).ids == []
