"""A file that cannot be read says so, by name, before anything is written."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from shoprank.errors import UserError
from tests.shop_log import GOOD, HEADER, ingest_file, ingest_log, line, rows, write_log
from training.ingest.files import expand, header
from training.ingest.shoplog import ShopLog


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.csv: no such file"):
        ShopLog([str(tmp_path / "nowhere.csv")])


def test_a_pattern_without_a_match_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\*\.csv: no file matches"):
        expand([str(tmp_path / "*.csv")])


def test_a_pattern_names_its_files_in_order(tmp_path: Path) -> None:
    files = [write_log(tmp_path / f"{month}.csv", line()) for month in ("2019-11", "2019-10")]
    assert expand([str(tmp_path / "*.csv")]) == sorted(files)


def test_a_file_named_like_a_pattern_is_itself(tmp_path: Path) -> None:
    log = write_log(tmp_path / "events[1].csv", line())
    assert ingest_file(tmp_path, log).report.rows_kept == 1


@pytest.mark.parametrize("name", ["events[1].csv", "events*.csv", "events?.csv"])
def test_a_file_named_like_a_pattern_is_not_the_files_that_it_would_match(tmp_path: Path, name: str) -> None:
    write_log(tmp_path / "events1.csv", line(), line(user_id="502"))
    log = write_log(tmp_path / name, line())
    assert ingest_file(tmp_path, log).report.rows_kept == 1


def test_a_packed_file_that_was_damaged_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress("\n".join([HEADER, *(line(user_id=str(n)) for n in range(500))]).encode()))
    packed[-8] ^= 1  # its checksum
    log = tmp_path / "events.csv.gz"
    log.write_bytes(packed)
    with pytest.raises(UserError, match=r"events\.csv\.gz: cannot be read: CRC check failed"):
        ingest_file(tmp_path, log)


def test_no_file_at_all_is_an_error() -> None:
    with pytest.raises(UserError, match="no file given"):
        expand([])


def test_a_folder_given_as_file_suggests_its_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a folder, not a file; name its files, for example '.*/\*\.csv'"):
        expand([str(tmp_path)])


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "events.csv").touch()
    with pytest.raises(UserError, match=r"events\.csv: the file is empty"):
        ShopLog([str(tmp_path / "events.csv")])


@pytest.mark.parametrize("text", [HEADER, HEADER + "\n"])
def test_a_header_alone_is_an_error(tmp_path: Path, text: str) -> None:
    log = tmp_path / "events.csv"
    log.write_text(text)
    with pytest.raises(UserError, match=r"events\.csv: no rows"):
        ingest_file(tmp_path, log)


def test_a_missing_column_names_the_file_and_the_columns_there_are(tmp_path: Path) -> None:
    log = tmp_path / "events.csv"
    log.write_text("event_time,event_type,product_id\n2019-10-01,view,1\n")
    with pytest.raises(UserError, match=r"events\.csv: no column .*price.*; the file has event_time, event_type, prod"):
        ingest_file(tmp_path, log)


def test_a_header_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "events.csv"
    log.write_bytes(HEADER.replace("brand", "märke").encode("latin-1") + b"\n")
    with pytest.raises(UserError, match=r"events\.csv, line 1: not UTF-8: .* at byte \d+"):
        ingest_file(tmp_path, log)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    log = tmp_path / "events.csv"
    log.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\n{line()}\n".encode())
    assert ingest_file(tmp_path, log).report.rows_kept == 1


def test_a_repeated_column_is_an_error_whatever_its_case(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,Brand,brand\n")
    with pytest.raises(UserError, match="column Brand, brand appears more than once"):
        header(tmp_path / "events.csv")


def test_a_header_of_blanks_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(",,\n1,2,3\n")
    with pytest.raises(UserError, match="line 1: no column names"):
        header(tmp_path / "events.csv")


def test_a_column_without_a_name_is_called_after_its_place(tmp_path: Path) -> None:
    log = tmp_path / "events.csv"
    log.write_text(f",{HEADER}\n0,{line()}\n")
    assert header(log)[0] == "column0"
    assert ingest_file(tmp_path, log).report.rows_kept == 1


def test_a_gzipped_file_is_read(tmp_path: Path) -> None:
    log = tmp_path / "events.csv.gz"
    log.write_bytes(gzip.compress(f"{HEADER}\n{line()}\n".encode()))
    assert ingest_file(tmp_path, log).report.rows_kept == 1


def test_a_file_that_is_not_gzipped_but_says_so_is_an_error(tmp_path: Path) -> None:
    log = write_log(tmp_path / "events.csv.gz", line())
    with pytest.raises(UserError, match=r"events\.csv\.gz: cannot be read: Not a gzipped file"):
        ingest_file(tmp_path, log)


def test_a_gzipped_file_cut_short_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "events.csv.gz"
    whole = gzip.compress("\n".join([HEADER, *(line(user_id=str(n)) for n in range(5_000))]).encode())
    log.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"events\.csv\.gz: cannot be read"):
        ingest_file(tmp_path, log)


def test_a_file_that_is_not_parquet_but_says_so_is_an_error(tmp_path: Path) -> None:
    log = write_log(tmp_path / "events.parquet", line())
    with pytest.raises(UserError, match=r"events\.parquet: not a Parquet file"):
        ingest_file(tmp_path, log)


def test_windows_and_mixed_line_endings_are_read(tmp_path: Path) -> None:
    log = tmp_path / "events.csv"
    log.write_bytes(f"{HEADER}\r\n{line()}\r\n{line(user_id='502')}\n{line(user_id='503')}\r\n".encode())
    ingested = ingest_file(tmp_path, log)
    assert sorted((e["user_id"], e["session_id"]) for e in ingested.events()) == [
        ("501", "s1"),
        ("502", "s1"),
        ("503", "s1"),
    ]


def test_a_line_with_too_many_columns_is_rejected_with_its_line_number(tmp_path: Path) -> None:
    bad = line(user_id="9") + ",more"
    ingested = ingest_log(tmp_path, line(), bad, line(user_id="502"))
    (row,) = ingested.rejected()
    assert (row["reason"], row["row"], row["line_text"]) == ("malformed line: too many columns", 3, bad)
    assert ingested.report.rows_kept == 2


def test_a_line_with_too_few_columns_is_rejected_with_its_line_number(tmp_path: Path) -> None:
    (row,) = ingest_log(tmp_path, line(), "", "what,is,this").rejected()
    assert (row["reason"], row["row"], row["line_text"]) == ("malformed line: missing columns", 4, "what,is,this")


def test_an_open_quote_costs_its_own_line_alone(tmp_path: Path) -> None:
    bad = line(brand='"acme')
    ingested = ingest_log(tmp_path, line(), bad, *(line(user_id=str(n)) for n in range(100)))
    (row,) = ingested.rejected()
    assert (row["reason"], row["row"], row["line_text"]) == ("malformed line: open quote", 3, bad)
    assert (ingested.report.rows_read, ingested.report.rows_kept) == (102, 101)


def test_an_open_quote_does_not_cost_the_items_of_later_lines_their_attributes(tmp_path: Path) -> None:
    ingested = ingest_log(tmp_path, line(brand='"acme'), line(product_id="1002", brand="later"))
    items = {row["item_id"]: row["brand"] for row in rows(ingested.paths.items)}
    assert items["1002"] == "later"


def test_an_open_quote_in_a_large_file_costs_its_own_line_alone(tmp_path: Path) -> None:
    many = [line(user_id=str(n), brand="a" * 200) for n in range(60_000)]
    many[30_000] = line(brand='"acme')
    ingested = ingest_log(tmp_path, *many)
    assert (ingested.report.rows_read, ingested.report.rows_kept) == (60_000, 59_999)
    assert [row["row"] for row in ingested.rejected()] == [30_002]


def test_quoted_commas_quotes_and_newlines_are_values(tmp_path: Path) -> None:
    ingested = ingest_log(tmp_path, line(user_session='"a ""b"", c\nd"'))
    assert [e["session_id"] for e in ingested.events()] == ['a "b", c\nd']


def test_a_value_that_is_not_utf8_rejects_its_line(tmp_path: Path) -> None:
    log = tmp_path / "events.csv"
    log.write_bytes(f"{HEADER}\n{line()}\n".encode() + line(user_session="é").encode("latin-1") + b"\n")
    ingested = ingest_file(tmp_path, log)
    (row,) = ingested.rejected()
    assert (row["reason"], row["row"]) == ("malformed line: invalid encoding", 3)
    assert [e["user_id"] for e in ingested.events()] == [GOOD["user_id"]]
