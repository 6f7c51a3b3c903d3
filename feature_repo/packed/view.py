"""What a Feast feature view is to the store: a table, a layout, kinds of keys; and times as both have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from feast import FeatureView
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.repo_config import RepoConfig

from feature_repo.packed.layout import Layout, kind_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def table_of(config: RepoConfig, view: FeatureView) -> str:
    """Name of a view's table, its version included where Feast keeps versions apart."""
    return f"{config.project}/{compute_versioned_name(view, config.registry.enable_online_feature_view_versioning)}"


def layout_of(view: FeatureView) -> Layout:
    """The layout in which rows of the view are written now."""
    return Layout.of((f.name, f.dtype) for f in view.features)


def key_kinds(view: FeatureView) -> list[str]:
    """Kinds of the view's join keys, in the order of their names."""
    columns = {c.name: c.dtype for c in view.entity_columns}
    return [kind_of(columns[name]) for name in sorted(columns)]


def micros(time: datetime) -> int:
    """µs since 1970 UTC; a naive time is UTC."""
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return (aware - EPOCH) // MICROSECOND


def moment(time: int) -> datetime:
    """The UTC time of so many µs since 1970."""
    return EPOCH + timedelta(microseconds=time)
