"""A table is split whole, reproducibly, and by time where a time column is named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoprank.errors import UserError
from tests.unit.training.table.tables import Table, loaded
from training.fit import SPLITS
from training.shards import Columns
from training.table.dataset import write_dataset


def split(folder: Path, table: Table, time: str | None = None, seed: int = 0) -> tuple[Columns, dict[str, pa.Table]]:
    """The model's columns and the rows of each split."""
    source, label, columns = loaded(folder, table)
    names = write_dataset(source, label, list(columns.values()), folder / "dataset", time, seed)
    return names, {name: pq.read_table(folder / "dataset" / name) for name in SPLITS}


def numbered(rows: int = 400) -> Table:
    """Row number as a feature, a day each, and a label that changes often."""
    return {
        "number": [i + 0.5 for i in range(rows)],
        "day": [f"2024-{1 + i // 2 // 28:02}-{1 + i // 2 % 28:02}" for i in range(rows)],
        "bought": ["yes" if i % 3 == 0 else "no" for i in range(rows)],
    }


def numbers(rows: pa.Table) -> list[float]:
    return rows["column.number"].to_pylist()  # type: ignore[no-any-return]


def test_every_labelled_row_is_in_one_split(tmp_path: Path) -> None:
    table = numbered()
    table["bought"][::50] = [None] * 8
    _, rows = split(tmp_path, table)
    found = sorted(n for part in rows.values() for n in numbers(part))
    assert found == [n for n, label in zip(table["number"], table["bought"], strict=True) if label]


def test_random_split_is_70_15_15_within_each_class(tmp_path: Path) -> None:
    _, rows = split(tmp_path, numbered())
    assert [len(rows[name]) for name in SPLITS] == pytest.approx([280, 60, 60], abs=2)
    for part in rows.values():
        assert sum(part["label"].to_pylist()) / len(part) == pytest.approx(1 / 3, abs=0.02)


def test_same_seed_writes_the_same_rows_in_the_same_order_and_another_seed_others(tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        made.append(numbers(split(tmp_path / name, numbered(), seed=seed)[1]["train"]))
    assert made[0] == made[1]
    assert made[0] != made[2]


def test_split_by_time_trains_on_the_past_and_keeps_rows_of_one_time_together(tmp_path: Path) -> None:
    table = numbered()
    _, rows = split(tmp_path, table, "day")
    ends = [(min(numbers(rows[name])), max(numbers(rows[name]))) for name in SPLITS]
    assert ends[0][1] < ends[1][0]
    assert ends[1][1] < ends[2][0]
    days = [set(rows[name]["time"].to_pylist()) for name in SPLITS]
    assert not days[0] & days[1]
    assert not days[1] & days[2]


def test_split_by_a_number_leaves_it_out_of_the_inputs(tmp_path: Path) -> None:
    names, rows = split(tmp_path, numbered(), "number")
    assert names.numeric == ("day", "day_weekday")
    assert max(rows["train"]["time"].to_pylist()) < min(rows["test"]["time"].to_pylist())


def test_time_column_gives_its_weekday_and_not_its_days(tmp_path: Path) -> None:
    names, rows = split(tmp_path, numbered(), "day")
    assert names.numeric == ("number", "day_weekday")
    assert rows["train"]["column.day_weekday"][0].as_py() == 0  # 2024-01-01 was a Monday


def test_date_with_hours_gives_days_weekday_and_hour(tmp_path: Path) -> None:
    table = numbered()
    table["day"] = [f"{day} 18:00:00" for day in table["day"]]
    names, rows = split(tmp_path, table)
    assert names.numeric == ("number", "day", "day_weekday", "day_hour")
    assert set(rows["train"]["column.day_hour"].to_pylist()) == {18.0}


def test_rows_without_a_time_are_left_out(tmp_path: Path) -> None:
    table = numbered()
    table["day"][::10] = [None] * 40
    _, rows = split(tmp_path, table, "day")
    assert sum(map(len, rows.values())) == 360


def test_table_may_have_columns_named_as_the_shards_name_theirs(tmp_path: Path) -> None:
    table = numbered()
    for name in ("label", "weight", "offset", "time", "position", "source"):
        table[name] = [i % 5 for i in range(400)]
    names, rows = split(tmp_path, table)
    assert set(names.numeric) >= {"label", "weight", "offset", "time", "position", "source"}
    assert set(rows["train"]["label"].to_pylist()) == {0, 1}
    assert [len(rows[name]) for name in SPLITS] == pytest.approx([280, 60, 60], abs=2)


def test_names_with_quotes_and_spaces_are_kept(tmp_path: Path) -> None:
    table = numbered()
    table["5\" o'clock, daily"] = [i % 5 for i in range(400)]
    assert "5\" o'clock, daily" in split(tmp_path, table)[0].numeric


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="60 rows with a label; at least 100 are needed"):
        split(tmp_path, numbered(60))


def test_too_few_of_one_class_are_refused(tmp_path: Path) -> None:
    table = numbered()
    table["bought"] = ["yes" if i < 9 else "no" for i in range(400)]
    with pytest.raises(UserError, match="label 'bought' is 'yes' in 9 rows; at least 10 are needed"):
        split(tmp_path, table)


def test_table_with_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    table = numbered()
    with pytest.raises(UserError, match="no column is left to learn from"):
        split(tmp_path, {"plan": ["basic"] * 400, "bought": table["bought"]})


def test_two_inputs_of_one_name_are_refused(tmp_path: Path) -> None:
    table = numbered()
    table["day_weekday"] = [i % 7 for i in range(400)]
    with pytest.raises(UserError, match="two inputs would be named 'day_weekday'; rename that column"):
        split(tmp_path, table)


def test_split_by_time_that_leaves_a_split_without_a_class_is_refused_naming_both(tmp_path: Path) -> None:
    table = numbered()
    table["bought"] = ["yes" if 100 < i < 260 else "no" for i in range(400)]
    with pytest.raises(UserError, match="split by 'day', the validation rows hold no 'bought' of 'yes'"):
        split(tmp_path, table, "day")
