"""Many rows at once as arrays: no Python object a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from zlib_ng.zlib_ng import crc32

from feature_repo.packed.group import Array, Bools, Group, Plan, has, lists, parsed, values
from feature_repo.packed.layout import HEAD, MAGIC, VERSION, Layout
from feature_repo.packed.record import RESIDUE, are_whole

I64 = npt.NDArray[np.int64]


class Status(IntEnum):
    """What became of reading a row."""

    FOUND = 0
    MISSING = 1
    CORRUPT = 2
    """The bytes are not a record, or are harmed: read as missing."""
    UNREADABLE = 3
    """The record names a layout that the store does not know: read as missing."""


class Rows:
    """Rows of K entities of one feature view, in the order asked for.

    status: uint8 (K,), a `Status` each. event_time: int64 (K,), µs since 1970 UTC, 0 where there is no row.
    """

    __slots__ = ("_groups", "event_time", "status")

    def __init__(self, records: Sequence[bytes | None], layout_of: Callable[[int], Layout | None]) -> None:
        count = len(records)
        self.status: npt.NDArray[np.uint8] = np.zeros(count, np.uint8)
        self.event_time: I64 = np.zeros(count, np.int64)
        self._groups: list[Group] = []
        whole: Sequence[bytes] = records  # type: ignore[assignment]
        positions: npt.NDArray[np.intp] | slice = slice(None)
        if not all(records):
            positions = np.array([i for i, r in enumerate(records) if r is not None], np.intp)
            whole = [r for r in records if r is not None]
            self.status[:] = Status.MISSING
            self.status[positions] = Status.FOUND
        if not whole or self._one_table(whole, positions, layout_of):
            return
        if list(map(crc32, whole)).count(RESIDUE) == len(whole):
            self._group(whole, positions, layout_of)
        else:
            places = np.arange(count)[positions]
            sound = [i for i, r in enumerate(whole) if crc32(r) == RESIDUE]
            self.status[places] = Status.CORRUPT
            self.status[places[sound]] = Status.FOUND
            self._group([whole[i] for i in sound], places[sound], layout_of)

    def _one_table(
        self,
        records: Sequence[bytes],
        positions: npt.NDArray[np.intp] | slice,
        layout_of: Callable[[int], Layout | None],
    ) -> bool:
        """Keep records that are of one length and layout and unharmed, which most reads find; whether they are."""
        count, size = len(records), len(records[0])
        if size < HEAD.size or list(map(len, records)).count(size) != count:
            return False
        joined = b"".join(records)
        if not are_whole(joined, count):
            return False
        table = np.frombuffer(joined, np.uint8).reshape(count, size)
        if table[:, :8].tobytes() != joined[:8] * count:
            return False
        self._add(records, positions, layout_of, table)
        return True

    def _group(
        self,
        records: Sequence[bytes],
        positions: npt.NDArray[np.intp] | slice,
        layout_of: Callable[[int], Layout | None],
    ) -> None:
        """Split whole records by their layout."""
        members: dict[bytes, list[int]] = {}
        for i, record in enumerate(records):
            members.setdefault(record[:8], []).append(i)
        places = np.arange(len(self.status))[positions]
        for some in members.values():
            self._add([records[i] for i in some], places[some], layout_of)

    def _add(
        self,
        records: Sequence[bytes],
        positions: npt.NDArray[np.intp] | slice,
        layout_of: Callable[[int], Layout | None],
        table: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        """Keep records with one head; table: their bytes, where they are of one length."""
        head = records[0][:8]
        if head[:2] != MAGIC:
            self.status[positions] = Status.CORRUPT
            return
        layout = layout_of(int.from_bytes(head[4:], "little")) if head[2] == VERSION else None
        if layout is None:
            self.status[positions] = Status.UNREADABLE
            return
        size = layout.body.size
        if table is None:
            table = np.frombuffer(b"".join([r[:size] for r in records]), np.uint8).reshape(-1, size)
        fixed = table[:, :size]
        self.event_time[positions] = fixed[:, 8:16].view("<i8")[:, 0]
        self._groups.append(Group(layout, positions, fixed, records))

    def __len__(self) -> int:
        return len(self.status)

    @property
    def found(self) -> Bools:
        """Whether there is a row, (K,)."""
        there: Bools = self.status == Status.FOUND
        return there

    def ages(self, now: float) -> npt.NDArray[np.float64]:
        """Seconds from each row's event time to `now` (seconds since 1970 UTC), (K,); NaN where there is no row."""
        ages = now - self.event_time / 1e6
        if self.status.any():
            ages[self.status != Status.FOUND] = np.nan
        return ages

    def matrix(self, features: Sequence[str], dtype: npt.DTypeLike = np.float32, missing: float | None = None) -> Array:
        """Features as one contiguous array (K, F) of `dtype`.

        A value is `missing` (NaN for floats, 0 otherwise) where there is no row, where it is null, where the row was
        written without that feature, and where it was kept as something that `dtype` cannot mean: text, or a fraction
        for an integer. `present` tells these from values. Integers beyond 2^24 are rounded in float32.
        """
        target = np.dtype(dtype)
        if missing is None:
            missing = np.nan if target.kind == "f" else 0
        names = tuple(features)
        if len(self._groups) == 1 and isinstance(self._groups[0].positions, slice):
            return values(self._groups[0], names, target, missing)
        out: Array = np.full((len(self), len(names)), missing, target)
        for group in self._groups:
            out[group.positions] = values(group, names, target, missing)
        return out

    def present(self, features: Sequence[str], dtype: npt.DTypeLike = np.float32) -> Bools:
        """Which values `matrix` has from a row, bool (K, F)."""
        names, target = tuple(features), np.dtype(dtype)
        out: Bools = np.zeros((len(self), len(names)), np.bool_)
        for group in self._groups:
            plan = group.layout.planned(Plan.of, names, target)
            if plan.whole and not plan.loose and not group.any_null():
                out[group.positions] = True
            elif plan.columns:
                rows = np.zeros((len(group.records), len(names)), np.bool_)
                rows[:, [j for j, _ in plan.columns]] = ~group.nulls([i for _, i in plan.columns])
                for j, i in plan.loose:
                    rows[:, j] = [number is not None for number in parsed(group, i, target)]
                out[group.positions] = rows
        return out

    def written_with(self, features: Sequence[str], dtype: npt.DTypeLike = np.float32) -> Bools:
        """Whether each row was written with all of the features, null or not, as what `dtype` can mean, (K,).

        The features are numbers or lists of numbers. A row of another schema may not have been; a missing row was not.
        """
        names, target = tuple(features), np.dtype(dtype)
        out: Bools = np.zeros(len(self), np.bool_)
        for group in self._groups:
            out[group.positions] = group.layout.planned(has, names, target)
        return out

    def arrays(self, feature: str, dtype: npt.DTypeLike) -> list[Array | None]:
        """A list feature of each row as an array of `dtype`, length K; None where there is no row or it is null."""
        if len(self._groups) == 1 and isinstance(self._groups[0].positions, slice):
            return lists(self._groups[0], feature, np.dtype(dtype))
        out: list[Array | None] = [None] * len(self)
        for group in self._groups:
            places = np.arange(len(self))[group.positions]
            for place, content in zip(places.tolist(), lists(group, feature, np.dtype(dtype)), strict=True):
                out[place] = content
        return out
