"""Rows that were read, into Feast's answer: what `get_online_features` returns.

The answer is written as protobuf's wire format and parsed once: an object a value, which is what Feast's own stores
make, is most of what their answers cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from feast import FeatureView
from feast.metrics import track_feature_statuses
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from google.protobuf.timestamp_pb2 import Timestamp

from feature_repo.packed.wire import sized

Read = tuple[int, Sequence[bytes | None]] | None
"""Event time in µs since 1970 UTC and the serialized `Value` of each feature, None for one that the row does not have;
None where there is no row."""

_FIELDS = GetOnlineFeaturesResponse.DESCRIPTOR.fields_by_name
_VECTOR = GetOnlineFeaturesResponse.FeatureVector.DESCRIPTOR.fields_by_name
_BYTES = 2
"""Wire type of what is preceded by its length."""

RESULTS = bytes([_FIELDS["results"].number << 3 | _BYTES])
VALUES = bytes([_VECTOR["values"].number << 3 | _BYTES])
STATUSES = bytes([_VECTOR["statuses"].number << 3 | _BYTES])
TIMES = bytes([_VECTOR["event_timestamps"].number << 3 | _BYTES])

EMPTY = VALUES + b"\0"


def fill(
    response: GetOnlineFeaturesResponse,
    view: FeatureView,
    features: Sequence[str],
    reads: Sequence[Read],
    places: Iterable[Sequence[int]],
    count: int,
    now: int,
    full_feature_names: bool,
) -> None:
    """Add the view's features to the answer, a column each of `count` rows.

    places: the rows of the answer that each read is for. now: µs since 1970 UTC. A feature that its row does not have
    is NOT_FOUND; one of a row older than the view's TTL is OUTSIDE_MAX_AGE, its value with it.
    """
    prefix = f"{view.projection.name_to_use()}__" if full_feature_names else ""
    response.metadata.feature_names.val.extend(prefix + name for name in features)
    ttl = getattr(view, "ttl", None)  # a view that is computed when it is written has none
    oldest = now - ttl.total_seconds() * 1e6 if ttl else None
    times = [TIMES + b"\0"] * count
    found: list[int] = [FieldStatus.NOT_FOUND] * count
    columns = [[EMPTY] * count for _ in features]
    absent: list[tuple[int, int]] = []
    for read, rows in zip(reads, places, strict=True):
        if read is None:
            continue
        at, values = read
        time = TIMES + sized(timestamp(at).SerializeToString())
        status = FieldStatus.PRESENT if oldest is None or at >= oldest else FieldStatus.OUTSIDE_MAX_AGE
        for row in rows:
            times[row] = time
            found[row] = status
            for j, value in enumerate(values):
                if value is None:
                    absent.append((j, row))
                else:
                    columns[j][row] = VALUES + sized(value)
    statuses = [bytearray(found) for _ in features]
    for j, row in absent:
        statuses[j][row] = FieldStatus.NOT_FOUND
    present = sum(count - s.count(FieldStatus.NOT_FOUND) for s in statuses)
    track_feature_statuses(view.name, present, len(features) * count - present)
    moments = b"".join(times)
    vectors = []
    for contents, codes in zip(columns, statuses, strict=True):
        vectors.append(RESULTS + sized(b"".join((*contents, STATUSES, sized(bytes(codes)), moments))))
    response.MergeFromString(b"".join(vectors))


def add_version(response: GetOnlineFeaturesResponse, view: FeatureView) -> None:
    """Say which version of the view was read."""
    name: str = view.projection.name_alias or view.projection.name
    if name not in {known.name for known in response.metadata.feature_view_metadata}:
        version: Any = getattr(view, "current_version_number", None)
        response.metadata.feature_view_metadata.add(name=name, version=version or 0)


def timestamp(micros: int) -> Timestamp:
    """The time as protobuf has it."""
    seconds, rest = divmod(micros, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)
