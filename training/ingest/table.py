"""Any CSV or Parquet by a column map in TOML; see docs/data.md."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from duckdb import DuckDBPyConnection
from pydantic import BaseModel, ConfigDict, ValidationError

from shoprank.complaints import complaints
from shoprank.errors import UserError
from training.ingest.clean import EVENT_TYPES, NUMBERS
from training.ingest.files import expand, is_parquet, relation, require
from training.ingest.source import (
    ITEM_COLUMNS,
    PROMOTION_COLUMNS,
    RAW_COLUMNS,
    USER_COLUMNS,
    Part,
    listed,
    select_raw,
)
from training.sql import FIRST_TIME, as_text, identifier, literal

SECONDS = {"s": 1, "ms": 1_000, "us": 1_000_000}


class SideTable(BaseModel):
    """A table of items, users or promotions: its file, and canonical column = column of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    columns: dict[str, str]


class ColumnMap(BaseModel):
    """The TOML file. columns: canonical column = column of the file; defaults: canonical column = constant.

    delimiter: between the columns of the CSV files. decimal, thousands: how numbers that are text are written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, str]
    defaults: dict[str, str] = {}
    event_types: dict[str, str] = {}
    time: Literal["text", "s", "ms", "us"] = "text"
    delimiter: Literal[",", ";", "\t", "|"] = ","
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'"] = ""
    items: SideTable | None = None
    users: SideTable | None = None
    promotions: SideTable | None = None

    @classmethod
    def read(cls, path: Path) -> ColumnMap:
        """Parse the map. Raises UserError naming the file and each key that is wrong."""
        try:
            column_map = cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from error
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"{path}: not TOML: {error}") from error
        except ValidationError as error:
            raise UserError(f"{path}: {complaints(error, values=False)}") from error
        column_map._check(path)
        return column_map

    def _check(self, path: Path) -> None:
        if self.decimal == self.thousands:
            raise UserError(f"{path}: decimal and thousands are both {self.decimal!r}")
        given = {**self.columns, **self.defaults}
        if unknown := sorted(set(given) - set(RAW_COLUMNS)):
            raise UserError(f"{path}: {listed(unknown)} are not columns of an event; those are {listed(RAW_COLUMNS)}")
        constant = {"event_type": self.defaults["event_type"]} if "event_type" in self.defaults else {}
        for key, types in (("event_types", self.event_types), ("defaults", constant)):
            for name, kind in types.items():
                if kind.strip().lower() not in EVENT_TYPES:
                    raise UserError(
                        f"{path}: {key}.{name} = {kind!r}: is no type of event; those are {listed(EVENT_TYPES)}"
                    )
        if missing := [n for n in ("event_time", "user_id", "item_id", "event_type") if n not in given]:
            raise UserError(f"{path}: nothing is mapped to {listed(missing)}")
        for key, table, allowed in (
            ("items", self.items, ("item_id", *ITEM_COLUMNS)),
            ("users", self.users, ("user_id", *USER_COLUMNS)),
            ("promotions", self.promotions, ("item_id", *PROMOTION_COLUMNS)),
        ):
            if table and (unknown := sorted(set(table.columns) - set(allowed))):
                raise UserError(f"{path}: {key}.columns: {listed(unknown)} are not among {listed(allowed)}")
            needed = ("item_id", "starts_at", "ends_at") if key == "promotions" else allowed[:1]
            if table and (missing := [name for name in needed if name not in table.columns]):
                raise UserError(f"{path}: {key}.columns: nothing is mapped to {listed(missing)}")


class MappedTable:
    """Event files read by a column map; files of the map itself are found beside it."""

    name = "table"

    def __init__(self, files: Sequence[str], map_file: Path) -> None:
        self.map = ColumnMap.read(map_file)
        self.folder = map_file.parent
        self.files = expand(files)
        self._side: dict[str, str] = {}

    def parts(self, connection: DuckDBPyConnection) -> Iterator[Part]:
        """One part a file."""
        for key in ("items", "users", "promotions"):
            if table := getattr(self.map, key):
                self._side[key] = self._side_query(connection, table)
        expressions = {
            **{name: literal(value) for name, value in self.map.defaults.items()},
            **{name: identifier(column) for name, column in self.map.columns.items()},
        }
        for name in set(NUMBERS) & set(self.map.columns):
            expressions[name] = self._number(expressions[name])
        expressions["event_time"] = self._time(expressions["event_time"])
        expressions["event_type"] = self._event_type(expressions["event_type"])
        for path in self.files:
            view = relation(connection, path, list(self.map.columns.values()), delimiter=self.map.delimiter)
            csv = None if is_parquet(path) else path
            yield Part(str(path), select_raw(expressions, view), csv, self.map.delimiter)

    def items_query(self) -> str | None:
        """The map's items table."""
        return self._side.get("items")

    def users_query(self) -> str | None:
        """The map's users table."""
        return self._side.get("users")

    def promotions_query(self) -> str | None:
        """The map's promotions table."""
        return self._side.get("promotions")

    def _side_query(self, connection: DuckDBPyConnection, table: SideTable) -> str:
        path = self.folder / table.file
        require(path)
        source = relation(connection, path, list(table.columns.values()), strict=True, delimiter=self.map.delimiter)
        columns = (f"{as_text(identifier(column))} as {name}" for name, column in table.columns.items())
        return f"select {', '.join(columns)} from {source}"

    def _time(self, expression: str) -> str:
        if self.map.time == "text":
            return expression
        scale = SECONDS["us"] // SECONDS[self.map.time]
        # What is no such number stays as it is, marked so that it is not read as a text time; cleaning rejects it.
        moment = f"make_timestamp(try_cast(try_cast({expression} as double) * {scale} as bigint))"
        return (
            f"coalesce(cast(case when {moment} >= timestamp '{FIRST_TIME}' then {moment} end as varchar), "
            f"'not epoch {self.map.time}: ' || nullif(trim(cast({expression} as varchar)), ''))"
        )

    def _number(self, expression: str) -> str:
        """A column of numbers: of texts, those that are written as the map says, in the way that SQL reads."""
        decimal, thousands = self.map.decimal, self.map.thousands
        if (decimal, thousands) == (".", ""):
            return expression
        text = f"trim(cast({expression} as varchar))"
        grouped = f"|[0-9]{{1,3}}({re.escape(thousands)}[0-9]{{3}})+" if thousands else ""
        written = rf"[+-]?([0-9]+{grouped})?({re.escape(decimal)}[0-9]*)?([eE][+-]?[0-9]+)?"
        without = f"replace({text}, {literal(thousands)}, '')" if thousands else text
        # What is written in another way is marked, as SQL might read another number of it; cleaning rejects it.
        return (
            f"case when typeof({expression}) <> 'VARCHAR' then {as_text(expression)} "
            f"when regexp_full_match({text}, {literal(written)}) then replace({without}, {literal(decimal)}, '.') "
            f"else 'not as decimal = {decimal}: ' || {text} end"
        )

    def _event_type(self, expression: str) -> str:
        if not self.map.event_types:
            return expression
        text = f"trim(cast({expression} as varchar))"
        cases = " ".join(
            f"when {literal(a.strip().lower())} then {literal(b)}" for a, b in self.map.event_types.items()
        )
        return f"case lower({text}) {cases} else {text} end"
