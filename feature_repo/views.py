"""Feast objects of the repository: entities, sources, views, the on-demand transform and the feature services."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, Project, PushSource, RequestSource
from feast.data_format import ParquetFormat
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.types import Array, FeastType, Float32, Int64, String
from feast.value_type import ValueType

from feature_repo import schema
from feature_repo.paths import DataPaths, pattern
from shoprank.errors import UserError

TTL = timedelta(days=14)
"""Age at which a feature row is stale: two weekly snapshots."""

TIMESTAMP = "event_timestamp"
"""Column of a snapshot's cutoff."""

OWNER = "shoprank"
PROJECT = "shoprank"

PAIR_COLUMNS = schema.NUMERIC[len(schema.USER_NUMBERS) + len(schema.ITEM_NUMBERS) :]
"""Columns of the on-demand view: user × item and context features, in the model's order."""


def _fields(features: Iterable[schema.Feature], dtype: FeastType) -> list[Field]:
    return [Field(name=f.name, dtype=dtype, description=f.description) for f in features]


def user_fields() -> list[Field]:
    """Fields of `user_features`."""
    return [
        *_fields(schema.USER_NUMBERS, Float32),
        *_fields(schema.USER_TIMES, Int64),
        *_fields(schema.USER_KEYS, Int64),
    ]


def item_fields() -> list[Field]:
    """Fields of `item_features`."""
    return [
        *_fields(schema.ITEM_NUMBERS, Float32),
        *_fields(schema.ITEM_TIMES, Int64),
        *_fields(schema.ITEM_KEYS, Int64),
    ]


def history_fields() -> list[Field]:
    """Fields of `user_history`: the affinity arrays of each level."""
    typed = [(schema.AFFINITY_KEYS, Array(Int64))]
    typed += [(feature, Array(Int64)) for feature in schema.AFFINITY_TIMES]
    typed += [(feature, Array(Float32)) for feature in schema.AFFINITY_NUMBERS]
    return [
        Field(
            name=schema.affinity_column(level, feature),
            dtype=dtype,
            description=f"of each {level}: {feature.description}",
        )
        for level in schema.LEVELS
        for feature, dtype in typed
    ]


def pair_features_frame(inputs: pd.DataFrame) -> pd.DataFrame:
    """The on-demand view's function: a row each of user, item and request time to PAIR_COLUMNS, float32."""
    # Feast keeps a view's function by its source text, so what it uses is imported within it.
    import pandas as pd

    from feature_repo.transforms import context_features, item_rows, pair_features, user_row
    from feature_repo.views import PAIR_COLUMNS

    rows = []
    for values in inputs.to_dict("records"):
        time = int(values["request_time"])
        user = user_row(values)
        items = item_rows({name: [value] for name, value in values.items()}, 1)
        rows.append([*pair_features(user, items, time)[0], *context_features(time)])
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS), dtype="float32")


def snapshot_files(paths: DataPaths, view: str) -> str:
    """The pattern by which a view's source names its snapshots; absolute, for Feast seeks others where it runs."""
    return pattern(paths.features.resolve() / view, "*.parquet")


def build(paths: DataPaths, services: Iterable[str] = ()) -> list[Any]:
    """Every Feast object of the repository over the snapshots below `paths`.

    `services` names the feature services to define, one a model version; all read the same features. Raises UserError
    where a folder above the snapshots is named so that Feast would read it as one of their columns.
    """
    user = Entity(
        name="user", join_keys=["user_id"], value_type=ValueType.STRING, description="A customer of the shop."
    )
    item = Entity(
        name="item", join_keys=["item_id"], value_type=ValueType.STRING, description="An item of the catalogue."
    )

    def view(name: str, entity: Entity, fields: list[Field], description: str) -> FeatureView:
        columns = [Field(name=entity.join_key, dtype=String), *fields]
        _refuse_partitions(paths.features.resolve(), {TIMESTAMP, *(column.name for column in columns)})
        snapshots = FileSource(
            name=f"{name}_snapshots",
            path=snapshot_files(paths, name),
            file_format=ParquetFormat(),
            timestamp_field=TIMESTAMP,
            description=f"Weekly snapshots of {name}.",
            owner=OWNER,
        )
        return FeatureView(
            name=name,
            entities=[entity],
            ttl=TTL,
            schema=columns,
            source=PushSource(
                name=f"{name}_push",
                batch_source=snapshots,
                description=f"Fresh rows of {name} between snapshots.",
                owner=OWNER,
            ),
            description=description,
            tags={"stage": "production", "refresh": "weekly"},
            owner=OWNER,
        )

    users = view("user_features", user, user_fields(), "Recency, frequency, value, rhythm and demographics.")
    history = view("user_history", user, history_fields(), "What the user bought or looked at, as arrays.")
    items = view("item_features", item, item_fields(), "Popularity, repeat rate, price, trend, attributes.")
    pairs = _pair_view([users, history, items])
    return [
        Project(name=PROJECT, description="Features of users and items of an online shop.", owner=OWNER),
        user,
        item,
        users,
        history,
        items,
        pairs,
        *(
            FeatureService(
                name=name,
                features=[users, history, items],
                description="What the server reads for this model version; pairs are computed from it.",
                tags={"schema_hash": schema.schema_hash()},
                owner=OWNER,
            )
            for name in services
        ),
    ]


def _refuse_partitions(folder: Path, columns: set[str]) -> None:
    """Feast reads a folder `user_id=7` as that column of every row below it, and has no option against it."""
    for part in folder.parts:
        if (name := part.rpartition("=")[0].casefold()) in columns:
            raise UserError(f"{folder}: the folder {part!r} would be read as the column {name}; rename it")


def _pair_view(sources: list[FeatureView]) -> OnDemandFeatureView:
    request = RequestSource(
        name="request",
        schema=[Field(name="request_time", dtype=Int64)],
        description="Moment of the request, seconds since 1970 UTC.",
    )
    decorate = on_demand_feature_view(
        name="user_item_features",
        sources=[*sources, request],
        schema=[Field(name=name, dtype=Float32) for name in PAIR_COLUMNS],
        mode="pandas",
        description="User × item and context features at the time of the request.",
        tags={"stage": "production"},
        owner=OWNER,
    )
    view: OnDemandFeatureView = decorate(pair_features_frame)
    # Feast moves the function to __main__, where its source could not be found by the next call.
    pair_features_frame.__module__ = __name__
    return view
