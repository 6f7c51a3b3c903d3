"""A label has two values; which of them is positive is found or told."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoprank.errors import UserError
from tests.unit.training.table.tables import write_csv, write_parquet
from training.table.label import Label, read_label
from training.table.source import load


def label_of(folder: Path, cells: list[object], positive: str | None = None) -> Label:
    return read_label(load(write_csv(folder / "t.csv", {"bought": cells, "x": cells}), folder), "bought", positive)


@pytest.mark.parametrize(
    ("cells", "positive"),
    [
        (["yes", "no", "yes"], "yes"),
        (["Y", "N"], "Y"),
        (["1", "0", "1", "1"], "1"),
        (["2", "1"], "2"),
        (["False", "True"], "True"),
        (["stayed", "churned"], "churned"),
        (["often", "rare", "often"], "rare"),
    ],
)
def test_positive_value_is_the_one_that_means_yes_or_is_larger_or_rarer(
    tmp_path: Path, cells: list[object], positive: str
) -> None:
    assert label_of(tmp_path, cells).positive == positive


def test_positive_value_can_be_told(tmp_path: Path) -> None:
    label = label_of(tmp_path, ["yes", "no"], positive="no")
    assert label.mapping == {"no": 1, "yes": 0}


def test_told_value_that_does_not_occur_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'bought' has the values 'no' \(1 rows\), 'yes' \(1 rows\), not 'maybe'"):
        label_of(tmp_path, ["yes", "no"], positive="maybe")


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    assert label_of(tmp_path, ["yes", None, "no", None, None]).nulls == 3


def test_boolean_label_of_parquet_is_read(tmp_path: Path) -> None:
    source = load(write_parquet(tmp_path / "t.parquet", {"bought": [True, False, None]}), tmp_path)
    assert read_label(source, "bought") == Label("bought", "false", "true", 1)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["yes", "yes"], r"'bought' must have two values, but every cell is 'yes' \(2 rows\): there is one class only"),
        (["yes", "no", "maybe"], r"it has 3: 'maybe' \(1 rows\), 'no' \(1 rows\), 'yes' \(1 rows\)"),
        (list(range(12)), r"it has 12: '0' \(1 rows\), .*, …"),
        ([None, None], r"but every cell is empty"),
    ],
    ids=["one", "three", "many", "none"],
)
def test_label_without_exactly_two_values_is_refused_naming_them(
    tmp_path: Path, cells: list[object], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        label_of(tmp_path, cells)


def test_missing_label_column_is_refused_naming_those_there_are(tmp_path: Path) -> None:
    source = load(write_csv(tmp_path / "t.csv", {"x": [1], "Bought": [1]}), tmp_path)
    with pytest.raises(UserError, match=r"no column 'bought'; it has 'x', 'Bought'"):
        read_label(source, "bought")


def test_value_with_a_quote_is_a_label_like_any_other(tmp_path: Path) -> None:
    source = load(write_csv(tmp_path / "t.csv", {"bought": ["won't", "will", "will"]}), tmp_path)
    label = read_label(source, "bought")
    assert source.one(f"SELECT sum({label.sql}), count({label.sql}) FROM source") == (1, 3)
