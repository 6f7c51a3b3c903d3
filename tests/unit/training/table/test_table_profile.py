"""Each column is a number, a date, a boolean, a category or nothing a model should see, and says why."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.training.table.tables import Table, loaded, mixed, profiled, write_parquet
from training.table.profile import copies
from training.table.train import notes_on


def with_column(cells: list[object], rows: int = 200) -> Table:
    """A labelled table with `cells`, repeated to its length, as column `x`."""
    return {"x": (cells * rows)[:rows], "other": [i % 7 for i in range(rows)], "bought": ["yes", "no"] * (rows // 2)}


def test_kinds_are_inferred(tmp_path: Path) -> None:
    _, _, columns = loaded(tmp_path, mixed())
    assert {name: column.kind for name, column in columns.items()} == {
        "customer_id": "dropped",
        "age": "number",
        "spent": "number",
        "colour": "category",
        "vip": "boolean",
        "joined": "date",
        "plan": "dropped",
        "remark": "dropped",
    }


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5", "-3e4"], "number"),
        (["Yes", "no", "Y"], "boolean"),
        (["2024-03-01", "2023-01-31"], "date"),
        (["2024-03-01T10:00:00Z", "2023-01-31 08:30"], "date"),
        (["31.01.2024", "28.02.2024"], "date"),
        (["01/31/2024", "02/28/2024"], "date"),
        (["1", "2", "3", "5+"], "category"),
        (["a", "1", "b"], "category"),
    ],
)
def test_text_is_read_as_what_its_cells_are(tmp_path: Path, cells: list[object], kind: str) -> None:
    _, _, columns = loaded(tmp_path, with_column(cells))
    assert columns["x"].kind == kind
    assert columns["x"].bad == 0


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["basic"], "every cell is basic"),
        (["7"], "every cell is 7.0"),
        ([None], "every cell is empty"),
        ([f"words {i}" for i in range(200)], "nearly every cell differs (200 values in 200 cells)"),
        (list(range(1, 201)), "it numbers the rows"),
    ],
)
def test_column_without_use_is_dropped_with_the_reason(tmp_path: Path, cells: list[object], reason: str) -> None:
    source, label, columns = loaded(tmp_path, with_column(cells))
    assert columns["x"].kind == "dropped"
    assert reason in columns["x"].reason
    assert f"column 'x' dropped: {columns['x'].reason}" in notes_on(source, label, list(columns.values()), None)


def test_constant_column_with_gaps_is_kept_for_its_gaps(tmp_path: Path) -> None:
    _, _, columns = loaded(tmp_path, with_column(["basic", None, "basic"]))
    assert columns["x"].kind == "category"


def test_text_in_a_number_column_counts_as_missing_and_is_told_with_its_line(tmp_path: Path) -> None:
    table = with_column([1, 2, 3, 4, 5])
    table["x"][0], table["x"][98] = "twelve", "none of it"
    source, label, columns = loaded(tmp_path, table)
    assert (columns["x"].kind, columns["x"].bad) == ("number", 2)
    assert (
        "column 'x': 2 cells are no number and count as missing (line 2: 'twelve', line 100: 'none of it')"
        in notes_on(source, label, list(columns.values()), None)
    )


@pytest.mark.parametrize("cell", ["inf", "-infinity", "1e300", "3e38"])
def test_number_beyond_float32_arithmetic_counts_as_unreadable(tmp_path: Path, cell: str) -> None:
    table = with_column([1, 2, 3, 4, 5])
    table["x"][0] = cell
    _, _, columns = loaded(tmp_path, table)
    assert columns["x"].bad_cells == ((1, cell),)


def test_column_of_dates_without_end_counts_them_as_unreadable(tmp_path: Path) -> None:
    table = with_column(["2024-03-01", "2023-01-31"])
    table["x"][0] = "infinity"
    _, _, columns = loaded(tmp_path, table)
    assert (columns["x"].kind, columns["x"].bad) == ("date", 1)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_times_with_and_without_a_zone_are_dates_in_utc(tmp_path: Path, unit: str, zone: str | None) -> None:
    utc = [datetime(2023, 1, 31), datetime(2024, 3, 1, 23)]
    times = pa.array(utc * 100, pa.timestamp(unit)).cast(pa.timestamp(unit, zone))
    source, _, columns = profiled(write_parquet(tmp_path / "table.parquet", with_column([0]) | {"x": times}))
    column = columns["x"]
    assert (column.kind, column.bad, column.has_hours) == ("date", 0, True)
    assert source.one(f"SELECT min({column.sql}), max({column.sql}) FROM source") == tuple(utc)


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_a_time_before_all_that_can_be_written_counts_as_unreadable(tmp_path: Path, zone: str | None) -> None:
    times = pa.array([-(2**63), 0, *range(198)], pa.int64()).cast(pa.timestamp("us", zone))
    _, _, columns = profiled(write_parquet(tmp_path / "table.parquet", with_column([0]) | {"x": times}))
    assert (columns["x"].kind, columns["x"].bad, columns["x"].bad_cells[0][0]) == ("date", 1, 1)


def test_cells_of_rows_without_a_label_do_not_count(tmp_path: Path) -> None:
    table = with_column([1, 2, 3, 4, 5])
    table["x"][0], table["bought"][0] = "twelve", None
    _, label, columns = loaded(tmp_path, table)
    assert label.nulls == 1
    assert columns["x"].bad == 0


@pytest.mark.parametrize("copy", [("yes", "no"), ("1", "0"), ("B", "A")])
def test_copy_of_the_label_is_warned_of(tmp_path: Path, copy: tuple[str, str]) -> None:
    table = mixed(300)
    table["leak"] = [copy[0] if b == "yes" else copy[1] for b in table["bought"]]
    source, label, columns = loaded(tmp_path, table)
    assert copies(source, label, list(columns.values())) == ["leak"]
    notes = notes_on(source, label, list(columns.values()), None)
    assert "warning: column 'leak' tells the label exactly; if it is a copy, leave it out (--id-columns)" in notes


def test_column_that_differs_from_the_label_in_one_row_is_no_copy(tmp_path: Path) -> None:
    table = mixed(300)
    table["near"] = ["no" if b == "yes" else "yes" for b in table["bought"]]
    table["near"][0] = table["bought"][0]
    source, label, columns = loaded(tmp_path, table)
    assert copies(source, label, list(columns.values())) == []


def test_hours_are_seen_only_where_the_cells_have_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = mixed(200)
    table["at"] = [f"2024-03-{d:02} {h:02}:15:00" for d, h in rng.integers(1, 24, (200, 2))]
    _, _, columns = loaded(tmp_path, table)
    assert columns["at"].has_hours
    assert not columns["joined"].has_hours
