"""What is to be scored: Parquet files of users, of users with candidates, or of pairs, a row group at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.transforms import I64
from server.parse import MAX_ID_BYTES
from shoprank.bundle import sha256
from shoprank.errors import UserError

USER, ITEM, CANDIDATES = "user_id", "item_id", "item_ids"


class Kind(Enum):
    """What a row of the input asks for: the score of a pair, or a ranking of its candidates or of the catalogue."""

    PAIRS = "pairs"
    CANDIDATES = "candidates"
    CATALOGUE = "catalogue"


@dataclass(frozen=True, slots=True)
class Part:
    """One row group of an input file, and the name of the file that is made of it.

    rows: in it. first: place in the file of its first row, from 0. digest: SHA-256 of the input file.
    """

    file: Path
    group: int
    rows: int
    first: int
    digest: str
    name: str


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows of a part. user_ids, item_ids: distinct ids, arrays of strings. users, items: int64, places among them.

    Of pairs both are (n,). Of candidates items is flat, and ends, int64 (n + 1,), says which are of which row.
    """

    user_ids: pa.Array
    users: I64
    item_ids: pa.Array
    items: I64
    ends: I64


def parts_of(path: Path) -> tuple[Kind, list[Part]]:
    """What a file, or every .parquet file below a folder, asks for. Raises UserError naming file and column."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path}: no .parquet file in this folder")
    kinds, parts = {}, []
    for file in files:
        opened = _opened(file)
        kinds[file] = _kind(file, opened.schema_arrow)
        first, digest = 0, sha256(file)
        stem = file.relative_to(path).with_suffix("") if path.is_dir() else Path(file.stem)
        for group in range(opened.num_row_groups):
            rows = opened.metadata.row_group(group).num_rows
            if rows:
                parts.append(Part(file, group, rows, first, digest, f"{stem}-{group:05}.parquet"))
            first += rows
    kind = kinds[files[0]]
    for file, other in kinds.items():
        if other is not kind:
            raise UserError(f"{file}: asks for {other.value}, but {files[0]} for {kind.value}; give one kind at a time")
    if not parts:
        raise UserError(f"{path}: holds no rows")
    return kind, parts


def read(part: Part, kind: Kind) -> Asked:
    """The rows of a part. Raises UserError naming file, row (from 0) and column of the first bad value."""
    columns = {Kind.PAIRS: [USER, ITEM], Kind.CANDIDATES: [USER, CANDIDATES], Kind.CATALOGUE: [USER]}[kind]
    try:
        table = _opened(part.file).read_row_group(part.group, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{part.file}: row group {part.group} cannot be read: {error}") from error
    user_ids, users = _ids(part, USER, _array(table, USER), None)
    nothing = np.zeros(0, np.int64)
    if kind is Kind.CATALOGUE:
        return Asked(user_ids, users, pa.array([], pa.string()), nothing, nothing)
    if kind is Kind.PAIRS:
        return Asked(user_ids, users, *_ids(part, ITEM, _array(table, ITEM), None), nothing)
    lists = _array(table, CANDIDATES)
    _refuse(part, CANDIDATES, pc.is_null(lists), "is null", None)
    sizes = pc.list_value_length(lists)
    _refuse(part, CANDIDATES, pc.equal(sizes, 0), "is empty", None)
    ends = np.concatenate([[0], np.cumsum(sizes.to_numpy(zero_copy_only=False))]).astype(np.int64)
    item_ids, items = _ids(part, CANDIDATES, lists.flatten(), ends)
    _refuse_repeated(part, items, ends, len(item_ids))
    return Asked(user_ids, users, item_ids, items, ends)


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file}: cannot be read as Parquet: {error}") from error


def _kind(file: Path, schema: pa.Schema) -> Kind:
    """What a file of these columns asks for. Raises UserError where one is missing or of another type."""
    names = set(schema.names)
    for name in (USER, ITEM, CANDIDATES):
        if schema.names.count(name) > 1:
            raise UserError(f"{file}: has {schema.names.count(name)} columns {name}; give one")
    if USER not in names:
        raise UserError(f"{file}: no column {USER}; it has {', '.join(schema.names)}")
    if {ITEM, CANDIDATES} <= names:
        raise UserError(f"{file}: has both {ITEM} (pairs) and {CANDIDATES} (candidates); give one of them")
    for name in (USER, ITEM):
        if name in names and not _is_text(schema.field(name).type):
            raise UserError(f"{file}: column {name} is {schema.field(name).type}, not string")
    if CANDIDATES in names:
        kind = schema.field(CANDIDATES).type
        if not ((pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_text(kind.value_type)):
            raise UserError(f"{file}: column {CANDIDATES} is {kind}, not a list of string")
        return Kind.CANDIDATES
    return Kind.PAIRS if ITEM in names else Kind.CATALOGUE


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _array(table: pa.Table, name: str) -> pa.Array:
    return pa.concat_arrays(table[name].unify_dictionaries().chunks)


def _ids(part: Part, column: str, array: pa.Array, ends: I64 | None) -> tuple[pa.Array, I64]:
    """The distinct ids of a column, and the place of each value among them."""
    _refuse(part, column, pc.is_null(array), "is null", ends)
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    if broken := _not_utf8(encoded.dictionary):
        _refuse(part, column, pa.array(np.isin(codes, broken)), "is no UTF-8", ends)
    ids = encoded.dictionary.cast(pa.string())
    sizes = pc.binary_length(ids).to_numpy(zero_copy_only=False)
    if len(bad := np.flatnonzero((sizes == 0) | (sizes > MAX_ID_BYTES))):
        wrong = np.isin(codes, bad)
        _refuse(part, column, pa.array(wrong), f"is no id of 1 to {MAX_ID_BYTES} bytes", ends)
    return ids, codes


def _not_utf8(texts: pa.Array) -> list[int]:
    """Places of texts that are none: nobody looks at the bytes of a Parquet file's strings when it is read."""
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return [place for place, text in enumerate(texts.cast(pa.large_binary()).to_pylist()) if not _is_utf8(text)]
    return []


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refuse(part: Part, column: str, wrong: pa.Array, what: str, ends: I64 | None) -> None:
    """Raise UserError of the first value that is wrong; ends: which values are of which row, where many are."""
    if (place := pc.index(wrong, True).as_py()) < 0:
        return
    row = place if ends is None else int(np.searchsorted(ends, place, side="right")) - 1
    inside = "" if ends is None else f"[{place - int(ends[row])}]"
    raise UserError(f"{part.file}: row {part.first + row}: {column}{inside} {what}")


def _refuse_repeated(part: Part, items: I64, ends: Sequence[int] | I64, count: int) -> None:
    """Raise UserError where a row names a candidate twice."""
    rows = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    both = rows * count + items
    _, first = np.unique(both, return_index=True)
    if len(first) < len(both):
        again = np.ones(len(both), np.bool_)
        again[first] = False
        _refuse(part, CANDIDATES, pa.array(again), "repeats a candidate of this row", np.asarray(ends))
