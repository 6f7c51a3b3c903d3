"""A column map turns any table into events, and every mistake in it is named."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.paths import DataPaths
from shoprank.errors import UserError
from tests.shop_log import UNTIL, Ingested, rows
from training.ingest import ingest
from training.ingest.table import ColumnMap, MappedTable

DOCS = Path(__file__).parents[4] / "docs" / "data.md"
MAP = """
[columns]
event_time = "at"
user_id = "who"
item_id = "sku"
price = "paid"
[defaults]
event_type = "purchase"
"""


def ingest_table(root: Path, table: str, column_map: str, name: str = "table.csv") -> Ingested:
    """Ingest a CSV of this text by this map."""
    (root / name).write_text(table)
    return ingest_mapped(root, root / name, column_map)


def ingest_mapped(root: Path, file: Path, column_map: str) -> Ingested:
    """Ingest a file by this map."""
    (root / "map.toml").write_text(column_map)
    paths = DataPaths(root / "data")
    return Ingested(paths, ingest(MappedTable([str(file)], root / "map.toml"), paths, UNTIL, "500MB"))


def test_the_example_of_the_documentation_works(tmp_path: Path) -> None:
    blocks = dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)```", DOCS.read_text(), re.MULTILINE | re.DOTALL))
    for name, text in blocks.items():
        (tmp_path / name).write_text(text)
    ingested = ingest_mapped(tmp_path, tmp_path / "orders.csv", blocks["map.toml"])
    assert ingested.report.rejected == {}
    events = sorted(ingested.events(), key=lambda e: e["event_time"])
    assert [(e["event_time"], e["user_id"], e["item_id"], e["event_type"], e["price"]) for e in events] == [
        (datetime(2019, 10, 1), "c1", "A-1", "purchase", 3.5),
        (datetime(2019, 10, 1, 0, 1), "c2", "B-2", "view", None),
        (datetime(2019, 10, 2), "c2", "B-2", "purchase", 12),
    ]
    assert {e["channel"] for e in events} == {"web"}
    items = [(i["item_id"], i["name"], i["brand"], i["category"], i["size"]) for i in rows(ingested.paths.items)]
    assert items == [("A-1", "Oat milk", "Own", "drinks", None), ("B-2", "Teapot", "Brown", "kitchen", None)]
    assert [(u["user_id"], u["age"]) for u in rows(ingested.paths.users)] == [("c1", "25-34"), ("c2", "45-54")]
    assert [(p["item_id"], p["mailer_share"]) for p in rows(ingested.paths.promotions)] == [("B-2", 1.0)]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1_000), ("us", 1_000_000)])
def test_a_parquet_file_with_epoch_times_and_other_type_names_is_read(tmp_path: Path, unit: str, factor: int) -> None:
    table = pa.table(
        {
            "at": [1_569_888_000 * factor],
            "who": [7],
            "sku": [1001],
            "paid": pa.array([9.5], pa.float32()),
            "what": ["BUY"],
        }
    )
    pq.write_table(table, tmp_path / "events.parquet")
    column_map = f'time = "{unit}"\n{MAP.replace("[defaults]", "")}'.replace(
        'event_type = "purchase"', 'event_type = "what"\n[event_types]\nBUY = "purchase"'
    )
    (event,) = ingest_mapped(tmp_path, tmp_path / "events.parquet", column_map).events()
    assert (event["event_time"], event["user_id"], event["item_id"], event["event_type"], event["price"]) == (
        datetime(2019, 10, 1),
        "7",
        "1001",
        "purchase",
        9.5,
    )


def test_blanks_and_case_of_event_types_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("at,who,sku,paid,what\n" + "".join(
        f"2019-10-0{day},7,{day},1,{what}\n" for day, what in enumerate(("sold", " Sold ", "SOLD", "View"), 1)
    ))  # fmt: skip
    column_map = MAP.replace("[defaults]", "").replace(
        'event_type = "purchase"', 'event_type = "what"\n[event_types]\nsold = "purchase"'
    )
    events = ingest_mapped(tmp_path, tmp_path / "events.csv", column_map).events()
    assert sorted(e["event_type"] for e in events) == ["purchase"] * 3 + ["view"]


def test_whole_ids_in_columns_of_floats_have_no_decimals(tmp_path: Path) -> None:
    at = ["2019-10-01", "2019-10-02"]
    pq.write_table(pa.table({"at": at, "who": [7.0, 8.5], "sku": [1e15, 2.0], "paid": [1, 1]}), tmp_path / "e.parquet")
    pq.write_table(pa.table({"id": [2.0], "title": ["Tea"]}), tmp_path / "items.parquet")
    column_map = MAP + '[items]\nfile = "items.parquet"\ncolumns = { item_id = "id", name = "title" }\n'
    ingested = ingest_mapped(tmp_path, tmp_path / "e.parquet", column_map)
    assert sorted((e["user_id"], e["item_id"]) for e in ingested.events()) == [("7", "1000000000000000"), ("8.5", "2")]
    assert [(i["item_id"], i["name"]) for i in rows(ingested.paths.items)] == [("1000000000000000", None), ("2", "Tea")]


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (pa.array([Decimal("1001.00"), Decimal("1001.50")], pa.decimal128(10, 2)), ["1001", "1001.50"]),
        (pa.array([1e16, 1e17]), ["10000000000000000", "100000000000000000"]),
        (pa.array([16_777_216, 1e10], pa.float32()), ["16777216", "10000000000"]),
    ],
)
def test_ids_that_are_numbers_are_written_out(tmp_path: Path, ids: pa.Array, text: list[str]) -> None:
    at = ["2019-10-01", "2019-10-02"]
    pq.write_table(pa.table({"at": at, "who": ids, "sku": [1, 1], "paid": [1, 1]}), tmp_path / "e.parquet")
    events = ingest_mapped(tmp_path, tmp_path / "e.parquet", MAP).events()
    assert sorted(e["user_id"] for e in events) == sorted(text)


def test_no_number_among_floats_is_a_missing_value(tmp_path: Path) -> None:
    at, nan = ["2019-10-01", "2019-10-02"], float("nan")
    pq.write_table(pa.table({"at": at, "who": [7.0, nan], "sku": [1, 1], "paid": [nan, 1]}), tmp_path / "e.parquet")
    ingested = ingest_mapped(tmp_path, tmp_path / "e.parquet", MAP)
    assert [(e["user_id"], e["price"]) for e in ingested.events()] == [("7", None)]
    assert ingested.report.rejected == {"missing user_id": 1}


@pytest.mark.parametrize(
    ("written", "price"),
    [
        ('delimiter = ";"\ndecimal = ","', {"9,50": 9.5, "1299": 1299, "": None, "1.299": None}),
        ('delimiter = "\\t"\ndecimal = ","\nthousands = "."', {"1.299,00": 1299, "12.3": None, "1.299.000": 1299000}),
        ('delimiter = "|"\nthousands = ","', {"1,299.5": 1299.5, "1,29": None, "+1e-3": 1e-3, "1,000,000": 1e6}),
        ('delimiter = ";"\nthousands = "\'"', {"1'299": 1299, "1'299.": 1299}),
    ],
)  # fmt: skip
def test_numbers_are_read_as_the_map_says_that_they_are_written(
    tmp_path: Path, written: str, price: dict[str, float | None]
) -> None:
    column_map = f"{written}\n{MAP}"
    (tmp_path / "map.toml").write_text(column_map)
    between = ColumnMap.read(tmp_path / "map.toml").delimiter
    lines = [("at", "who", "sku", "paid"), *(("2019-10-01", "7", str(n), text) for n, text in enumerate(price))]
    table = "".join(between.join(line) + "\n" for line in lines)
    ingested = ingest_table(tmp_path, table, column_map)
    read = {e["item_id"]: e["price"] for e in ingested.events()}
    assert read == {str(n): p for n, (text, p) in enumerate(price.items()) if p is not None or not text}
    assert ingested.report.rejected.get("price is not a number", 0) == len(price) - len(read)


def test_a_file_of_another_delimiter_with_an_open_quote_loses_that_line_alone(tmp_path: Path) -> None:
    table = 'at;who;sku;paid\n2019-10-01;7;1;1\n2019-10-01;7;"2;1\n2019-10-01;7;"3;x";1\n'
    ingested = ingest_table(tmp_path, table, f'delimiter = ";"\n{MAP}')
    assert [e["item_id"] for e in ingested.events()] == ["1", "3;x"]
    assert ingested.report.examples == {"malformed line: open quote": "line 3 of table.csv: '2019-10-01;7;\"2;1'"}


def test_numbers_that_are_none_of_texts_are_taken_as_they_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"at": ["2019-10-01"], "who": ["7"], "sku": [1], "paid": [9.5]}), tmp_path / "e.parquet")
    (event,) = ingest_mapped(tmp_path, tmp_path / "e.parquet", f'decimal = ","\n{MAP}').events()
    assert event["price"] == 9.5


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (('event_type = "purchase"', 'event_type = "buy"'), "defaults.event_type = 'buy'"),
        (("[defaults]", '[event_types]\nsold = "buy"\n[defaults]'), "event_types.sold = 'buy'"),
    ],
)
def test_a_type_that_no_event_has_is_named(tmp_path: Path, change: tuple[str, str], key: str) -> None:
    column_map = MAP.replace(*change)
    assert column_map != MAP
    (tmp_path / "e.csv").write_text("at,who,sku,paid\n2019-10-01,7,1,1\n")
    with pytest.raises(UserError, match=re.escape(f"{key}: is no type of event; those are view, search, cart,")):
        ingest_mapped(tmp_path, tmp_path / "e.csv", column_map)


def test_users_and_items_that_their_tables_lack_are_counted(tmp_path: Path) -> None:
    at = ["2019-10-01", "2019-10-02", "2019-10-03"]
    pq.write_table(
        pa.table({"at": at, "who": ["7", "7.0", "8"], "sku": ["1", "2", "2"], "paid": [1, 1, 1]}),
        tmp_path / "e.parquet",
    )
    pq.write_table(pa.table({"id": ["7", None, "9"]}), tmp_path / "users.parquet")
    column_map = MAP + '[users]\nfile = "users.parquet"\ncolumns = { user_id = "id" }\n'
    report = ingest_mapped(tmp_path, tmp_path / "e.parquet", column_map).report
    assert report.undescribed == {"users": 2}
    assert ingest_mapped(tmp_path, tmp_path / "e.parquet", MAP).report.undescribed == {}


def test_a_parquet_timestamp_is_read_as_utc(tmp_path: Path) -> None:
    at = pa.array([datetime(2019, 10, 1, 12)], pa.timestamp("us"))
    pq.write_table(pa.table({"at": at, "who": [7], "sku": [1], "paid": [1]}), tmp_path / "events.parquet")
    (event,) = ingest_mapped(tmp_path, tmp_path / "events.parquet", MAP).events()
    assert event["event_time"] == datetime(2019, 10, 1, 12)


@pytest.mark.parametrize("value", ["soon", "1e300", "nan", "2019-10-01", "-5"])
def test_an_epoch_time_that_is_none_is_rejected(tmp_path: Path, value: str) -> None:
    table = f"at,who,sku,paid\n1569888000,7,1,1\n{value},8,1,1\n"
    ingested = ingest_table(tmp_path, table, f'time = "s"\n{MAP}')
    assert ingested.report.rejected == {"unparsable time": 1}
    (row,) = ingested.rejected()
    assert value == "-5" or value in row["event_time"]


@pytest.mark.parametrize("value", ["-9223372036854775808", "-9223372022400000001", "9223372036854775807"])
def test_an_epoch_time_beyond_all_that_can_be_written_is_rejected(tmp_path: Path, value: str) -> None:
    table = f"at,who,sku,paid\n1569888000000000,7,1,1\n{value},8,1,1\n"
    ingested = ingest_table(tmp_path, table, f'time = "us"\n{MAP}')
    assert ingested.report.rejected == {"unparsable time": 1}


def test_an_empty_epoch_time_is_missing(tmp_path: Path) -> None:
    ingested = ingest_table(tmp_path, "at,who,sku,paid\n1569888000,7,1,1\n,8,1,1\n", f'time = "s"\n{MAP}')
    assert ingested.report.rejected == {"missing event_time": 1}


def test_names_with_quotes_and_blanks_are_columns(tmp_path: Path) -> None:
    table = 'at,"the ""who""",it\'s sku,paid\n2019-10-01,7,1,1\n'
    column_map = MAP.replace('"who"', "'the \"who\"'").replace('"sku"', '"it\'s sku"')
    assert ingest_table(tmp_path, table, column_map).report.rows_kept == 1


def test_a_mapped_column_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"table\.csv: no column who; the file has at, sku, paid"):
        ingest_table(tmp_path, "at,sku,paid\n2019-10-01,1,1\n", MAP)


def test_a_missing_items_file_is_named(tmp_path: Path) -> None:
    column_map = MAP + '[items]\nfile = "none.csv"\ncolumns = { item_id = "id" }\n'
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        ingest_table(tmp_path, "at,who,sku,paid\n2019-10-01,7,1,1\n", column_map)


@pytest.mark.parametrize("name", ["items*.csv", "items[1].csv"])
def test_an_items_file_named_like_a_pattern_is_that_file_and_no_other(tmp_path: Path, name: str) -> None:
    table = "at,who,sku,paid\n2019-10-01,7,1,1\n"
    column_map = MAP + f'[items]\nfile = "{name}"\ncolumns = {{ item_id = "id", name = "title" }}\n'
    for other in ("items1.csv", "items2.csv"):
        (tmp_path / other).write_text("id,title\n1,Cake\n")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / name}: no such file")):
        ingest_table(tmp_path, table, column_map)
    (tmp_path / name).write_text("id,title\n1,Tea\n")
    ingested = ingest_table(tmp_path, table, column_map)
    assert [i["name"] for i in rows(ingested.paths.items) if i["item_id"] == "1"] == ["Tea"]


def test_a_malformed_line_in_the_items_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,title\n1,Tea\n2,Cake,more\n")
    column_map = MAP + '[items]\nfile = "items.csv"\ncolumns = { item_id = "id", name = "title" }\n'
    with pytest.raises(UserError, match=r"items table cannot be read: .*Line: 3"):
        ingest_table(tmp_path, "at,who,sku,paid\n2019-10-01,7,1,1\n", column_map)


@pytest.mark.parametrize("table", ["items", "promotions"])
def test_a_table_that_is_not_utf_8_is_named_with_the_line(tmp_path: Path, table: str) -> None:
    (tmp_path / "side.csv").write_bytes("id,title\n1,Tea\n2,Café\n".encode("latin-1"))
    columns = {"items": 'name = "title"', "promotions": 'starts_at = "title", ends_at = "title"'}[table]
    column_map = MAP + f'[{table}]\nfile = "side.csv"\ncolumns = {{ item_id = "id", {columns} }}\n'
    with pytest.raises(UserError, match=rf"{table}.* cannot be read: .*side\.csv: .*Line: 3: .*not utf-8 encoded"):
        ingest_table(tmp_path, "at,who,sku,paid\n2019-10-01,7,1,1\n", column_map)


def test_several_rows_of_an_item_make_one(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,title\n1,Tea\n 1,\n1,Black tea\n,nobody\n2,Cake\n")
    column_map = MAP + '[items]\nfile = "items.csv"\ncolumns = { item_id = "id", name = "title" }\n'
    ingested = ingest_table(tmp_path, "at,who,sku,paid\n2019-10-01,7,1,1\n", column_map)
    assert [(i["item_id"], i["name"]) for i in rows(ingested.paths.items)] == [("1", "Tea"), ("2", "Cake")]


WRONG = {
    "not TOML": "columns = [",
    r"decimal and thousands are both ','": f'decimal = ","\nthousands = ","\n{MAP}',
    r"delimiter: Input should be": f'delimiter = "::"\n{MAP}',
    r"columns: Field required": "",
    r"colour: Extra inputs are not permitted": MAP.replace("[defaults]", "[colour]"),
    r"time: Input should be 'text', 's', 'ms' or 'us'": f'time = "minutes"\n{MAP}',
    r"colour are not columns of an event; those are event_id, event_time": MAP.replace("price", "colour"),
    r"nothing is mapped to event_time$": MAP.replace('event_time = "at"', ""),
    r"nothing is mapped to event_type$": MAP.replace('event_type = "purchase"', ""),
    r"items\.columns: nothing is mapped to item_id": MAP + '[items]\nfile = "i.csv"\ncolumns = { name = "n" }',
    r"items\.columns: colour are not among item_id, name": MAP + '[items]\nfile = "i"\ncolumns = { colour = "n" }',
    r"users\.columns: nothing is mapped to user_id": MAP + '[users]\nfile = "u.csv"\ncolumns = { age = "a" }',
    r"users\.file: Field required": MAP + '[users]\ncolumns = { user_id = "a" }',
}


@pytest.mark.parametrize(("message", "text"), WRONG.items())
def test_a_wrong_map_names_the_file_and_what_is_wrong(tmp_path: Path, message: str, text: str) -> None:
    file = tmp_path / "map.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=rf"map\.toml: .*{message}"):
        ColumnMap.read(file)


def test_a_missing_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"map\.toml: no such file"):
        ColumnMap.read(tmp_path / "map.toml")


def test_a_map_that_is_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        ColumnMap.read(tmp_path)


def test_a_map_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_bytes('time = "é"'.encode("latin-1"))
    with pytest.raises(UserError, match=r"map\.toml: not UTF-8"):
        ColumnMap.read(tmp_path / "map.toml")
