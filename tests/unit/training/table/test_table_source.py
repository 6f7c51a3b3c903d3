"""A file is read as it stands, or refused with its name and what is wrong."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoprank.errors import UserError
from training.table.source import load


def written(tmp_path: Path, content: bytes, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def refusal(tmp_path: Path, content: bytes, name: str = "table.csv") -> str:
    with pytest.raises(UserError) as refused:
        load(written(tmp_path, content, name), tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / name}: ")
    return str(refused.value)


def cells(path: Path, folder: Path) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = load(path, folder).connection.execute("FROM source ORDER BY __row").fetchall()
    return rows


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.csv: no such file"):
        load(tmp_path / "nowhere.csv", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the header is empty"),
        (b"a,b\n", "has a header and no rows"),
        (b"a,b,a\n1,2,3\n", "line 1: the header names 'a' twice"),
        (b"Age,age\n1,2\n", "line 1: the header names 'Age' and 'age', which differ in case only"),
        (b"a,,c\n1,2,3\n", "line 1: column 2 of the header has no name"),
        (b"a,__Row\n1,2\n", "the column name '__Row' is reserved"),
        (b"caf\xe9,b\n1,2\n", "line 1: not UTF-8 text"),
        (b"a,b\n1,2\n1,caf\xe9\n", "CSV Error on Line: 3"),
        (b"a,b\n1,2\n1,2,3\n", "CSV Error on Line: 3"),
        (b"PAR1 and no more", "No magic bytes found at end of file"),
    ],
)
def test_unreadable_file_is_refused_with_the_reason(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refusal(tmp_path, content)


def test_text_that_is_not_utf8_is_called_so(tmp_path: Path) -> None:
    assert "not utf-8 encoded" in refusal(tmp_path, b"a,b\n1,caf\xe9\n")


def test_plain_text_under_the_name_of_a_gzip_file_is_refused(tmp_path: Path) -> None:
    assert "not a gzip file" in refusal(tmp_path, b"a,b\n1,2\n", "table.csv.gz")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("comma.csv", b"a,b\n1,x\n"),
        ("semicolon.csv", b"a;b\r\n1;x\r\n"),
        ("tab.tsv", b"a\tb\n1\tx\n"),
        ("mark.csv", b"\xef\xbb\xbfa,b\n1,x\n"),
        ("packed.csv.gz", gzip.compress(b"a,b\n1,x\n", mtime=0)),
        ("o'clock.csv", b"a,b\n1,x\n"),
    ],
)
def test_usual_kinds_of_csv_are_read_alike(tmp_path: Path, name: str, content: bytes) -> None:
    source = load(written(tmp_path, content, name), tmp_path)
    assert list(source.types) == ["a", "b"]
    assert source.one("FROM source") == (1, "1", "x")


@pytest.mark.parametrize("content", [b"a,b\n1,x\n", None], ids=["csv", "parquet"])
def test_a_file_named_like_a_pattern_is_not_the_one_that_it_would_match(tmp_path: Path, content: bytes | None) -> None:
    for name, cell in (("table1", "y"), ("table[1]", "x")):
        if content:
            written(tmp_path, content.replace(b"x", cell.encode()), name)
        else:
            pq.write_table(pa.table({"a": ["1"], "b": [cell]}), tmp_path / name)
    assert cells(tmp_path / "table[1]", tmp_path) == [(1, "1", "x")]


def test_words_for_missing_are_null_and_cells_are_trimmed(tmp_path: Path) -> None:
    path = written(tmp_path, b"a,b\n NA ,x\nNone, y \n?,-\n,n/a\n")
    assert cells(path, tmp_path) == [(1, None, "x"), (2, None, "y"), (3, None, None), (4, None, None)]


def test_nan_in_parquet_is_null(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(
        pa.table({"a": [1.5, float("nan"), 3.0], "b": pa.array([1.0, 2.0, float("nan")], pa.float32())}), path
    )
    assert cells(path, tmp_path) == [(1, 1.5, 1.0), (2, None, 2.0), (3, 3.0, None)]


def test_moment_with_a_zone_is_read_in_utc_wherever_the_machine_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    path = tmp_path / "table.parquet"
    moment = pa.array([datetime(2024, 1, 1, 10, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"at": moment}), path)
    assert load(path, tmp_path).one('SELECT hour(CAST("at" AS TIMESTAMP)) FROM source') == (10,)


def test_rows_are_placed_by_line_in_csv_and_by_number_in_parquet(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    assert load(written(tmp_path, b"a\n1\n"), tmp_path / "first").place(1) == "line 2"
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet", tmp_path).place(1) == "row 1"
