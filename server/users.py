"""Users' rows from their packed records: one slice an array where a record is laid out as this version writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from zlib_ng.zlib_ng import crc32

from feature_repo import schema
from feature_repo.packed.layout import HEAD, MAGIC, VERSION, Layout
from feature_repo.packed.reader import Reader, Table
from feature_repo.packed.record import RESIDUE
from feature_repo.packed.rows import Rows
from feature_repo.transforms import I64, History, UserRow

NUMBERS, TIMES, KEYS = (
    tuple(f.name for f in block) for block in (schema.USER_NUMBERS, schema.USER_TIMES, schema.USER_KEYS)
)
LISTS = tuple(
    (schema.affinity_column(level, f), schema.affinity_type(f)) for f in schema.AFFINITY for level in schema.LEVELS
)
"""Features of a user's history and their types: all levels of one array, then of the next."""
LEVELS, ARRAYS = len(schema.LEVELS), len(schema.AFFINITY)
WORD, LONG, FLOAT = (np.dtype(kind) for kind in (np.uint32, np.int64, np.float32))
# Numbers and not these in compiled code: it is kept on disk for as long as this file is the same.
if (LEVELS, ARRAYS, [np.dtype(dtype).itemsize for _, dtype in LISTS[::LEVELS]]) != (3, 7, [8] * 3 + [4] * 4):
    raise AssertionError("server.users reads another history than the schema names")

UNKNOWN = UserRow.unknown()
EMPTY = UNKNOWN.history
MICROS = 1_000_000


@dataclass(slots=True)
class StoredUser:
    """One user's row and when it was computed, seconds since 1970 UTC; None where the store has no such user."""

    row: UserRow
    at: int | None


NOBODY = StoredUser(UNKNOWN, None)


class Users:
    """Makes users' rows of their records in the two views of users.

    A record of a layout other than this version's is read by name. One that lacks a feature counts as missing: it
    would be scored wrongly.
    """

    def __init__(self, reader: Reader, features: Table, history: Table) -> None:
        self._reader = reader
        self._features = features
        self._history = history
        self._plans: dict[bytes, _Numbers | None] = {}
        self._list_plans: dict[bytes, _Lists | None] = {}

    def row(self, features: bytes | None, history: bytes | None) -> StoredUser:
        """The row of a user of these records."""
        if features is None:
            return NOBODY
        whole = crc32(features) == RESIDUE and (history is None or crc32(history) == RESIDUE)
        plan = self._plan(features) if whole else None
        if plan is not None and history is None:
            return plan.row(features, EMPTY, None)
        lists = self._list_plan(history) if whole and history is not None else None
        if plan is not None and lists is not None and history is not None:
            return plan.row(features, lists.history(history), history)
        return _by_name(self._reader.rows(self._features, [features]), self._reader.rows(self._history, [history]))

    def _plan(self, record: bytes) -> _Numbers | None:
        head = record[:8]
        try:
            return self._plans[head]
        except KeyError:
            layout = self._layout(self._features, head)
            return self._plans.setdefault(head, None if layout is None else _Numbers.of(layout))

    def _list_plan(self, record: bytes) -> _Lists | None:
        head = record[:8]
        try:
            return self._list_plans[head]
        except KeyError:
            layout = self._layout(self._history, head)
            return self._list_plans.setdefault(head, None if layout is None else _Lists.of(layout))

    def _layout(self, table: Table, head: bytes) -> Layout | None:
        if head[:2] != MAGIC or head[2] != VERSION:
            return None
        return self._reader.layout(table, int.from_bytes(head[4:], "little"))


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Where the numbers, times and keys begin in a record in which each follow one another."""

    numbers: int
    times: int
    keys: int

    @classmethod
    def of(cls, layout: Layout) -> _Numbers | None:
        """None where a layout is another."""
        starts = [
            _run(layout, names, kind, width)
            for names, kind, width in ((NUMBERS, "float_val", 4), (TIMES, "int64_val", 8), (KEYS, "int64_val", 8))
        ]
        numbers, times, keys = starts
        return None if numbers is None or times is None or keys is None else cls(numbers, times, keys)

    def row(self, record: bytes, history: History | None, other: bytes | None) -> StoredUser:
        """The user's row, as old as the older of its two records; nobody where the history cannot be read."""
        if history is None:
            return NOBODY
        row = UserRow(
            np.frombuffer(record, FLOAT, len(NUMBERS), self.numbers),
            np.frombuffer(record, LONG, len(TIMES), self.times),
            np.frombuffer(record, LONG, len(KEYS), self.keys),
            history,
        )
        at = _event_time(record)
        if other is not None and (its := _event_time(other)) < at:
            at = its
        return StoredUser(row, at // MICROS)


@dataclass(frozen=True, slots=True)
class _Lists:
    """Places of the history's lists among a record's variable values, int64 (ARRAYS · LEVELS,), in the order of LISTS.

    first: where the variable values begin. ends_at: where their ends do. Both count words of four bytes.
    """

    places: I64
    first: int
    ends_at: int

    @classmethod
    def of(cls, layout: Layout) -> _Lists | None:
        """None where a layout is another."""
        kinds = {np.int64: "int64_list_val", np.float32: "float_list_val"}
        places = []
        for name, dtype in LISTS:
            i = layout.index.get(name)
            if i is None or not layout.columns[i].packed or layout.columns[i].kind != kinds[dtype]:
                return None
            places.append(layout.variable.index(i))
        if len(places) != len(layout.variable):
            return None  # values of any length may lie between, and lists not at whole words
        return cls(np.array(places, np.int64), layout.body.size // 4, layout.ends_at // 4)

    def history(self, record: bytes) -> History | None:
        """The user's history; None where lists of one level differ in length."""
        ends, words = _lists(np.frombuffer(record, WORD, len(record) // 4), self.places, self.first, self.ends_at)
        return History(ends, words) if len(ends) else None


@numba.njit(
    numba.types.Tuple((numba.types.int64[::1], numba.types.uint32[::1]))(  # type: ignore[no-untyped-call]
        numba.types.Array(numba.types.uint32, 1, "C", readonly=True), numba.types.int64[::1],
        numba.types.int64, numba.types.int64,
    ),
    cache=True, nogil=True,
)  # fmt: skip
def _lists(words: Any, places: Any, first: int, ends_at: int) -> Any:
    """The levels' ends, int64 (LEVELS + 1,), none where lists differ in length; and the lists of a record, each array's
    one behind the other, three of int64 and then four of float32, as words."""
    ends: Any = np.zeros(4, np.int64)
    for i in range(21):
        place = places[i]
        size = np.int64(words[ends_at + place]) - (np.int64(words[ends_at + place - 1]) if place else 0)
        if i < 3:
            ends[i + 1] = ends[i] + size // 8
        if size != (ends[i % 3 + 1] - ends[i % 3]) * (8 if i < 9 else 4):
            return np.empty(0, np.int64), np.empty(0, np.uint32)
    out, at = np.empty(10 * ends[3], np.uint32), np.int64(0)
    for i in range(21):
        place = places[i]
        start = first + (np.int64(words[ends_at + place - 1]) // 4 if place else 0)
        end = first + np.int64(words[ends_at + place]) // 4
        out[at : at + end - start] = words[start:end]
        at += end - start
    return ends, out


def _run(layout: Layout, names: tuple[str, ...], kind: str, width: int) -> int | None:
    """Where columns of one kind begin that follow one another in the fixed block; None where they do not."""
    places = [layout.index.get(name) for name in names]
    if any(i is None or layout.columns[i].kind != kind or not layout.columns[i].fixed for i in places):
        return None
    offsets = [layout.offsets[i] for i in places if i is not None]
    return offsets[0] if offsets == list(range(offsets[0], offsets[0] + width * len(names), width)) else None


def _event_time(record: bytes) -> int:
    time: int = HEAD.unpack_from(record)[3]
    return time


def _by_name(features: Rows, history: Rows) -> StoredUser:
    """A row of records of any layouts: each feature by its name, wherever and as whatever it was written."""
    if not (features.written_with(NUMBERS)[0] and features.written_with((*TIMES, *KEYS), np.int64)[0]):
        return NOBODY
    found, at = EMPTY, int(features.event_time[0])
    if history.found[0]:
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name, dtype in LISTS:
            if not history.written_with((name,), dtype)[0]:
                return NOBODY
            (array,) = history.arrays(name, dtype)
            arrays[name] = np.zeros(0, dtype) if array is None else array
        try:
            found = History.of(
                [{f.name: arrays[schema.affinity_column(level, f)] for f in schema.AFFINITY} for level in schema.LEVELS]
            )
        except ValueError:
            return NOBODY
        at = min(at, int(history.event_time[0]))
    row = UserRow(
        numbers=features.matrix(NUMBERS)[0],
        times=features.matrix(TIMES, np.int64)[0],
        keys=features.matrix(KEYS, np.int64)[0],
        history=found,
    )
    return StoredUser(row, at // MICROS)
