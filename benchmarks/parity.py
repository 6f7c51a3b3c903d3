"""Training and serving features side by side: rows of the training set against rows served online at the same time.

Run as `python -m benchmarks.parity`; writes benchmarks/results/parity.json.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from feature_repo import schema
from feature_repo.paths import DataPaths, write_json
from feature_repo.snapshots import WRITTEN, snapshot_path
from feature_repo.store import applied_store, apply, materialize
from feature_repo.transforms import assemble, item_rows, user_row
from shoprank.cli.console import quiet
from training.dataset.point_in_time import ITEM_FEATURES, USER_FEATURES
from training.features.snapshots import VIEWS
from training.schedule import Schedule


def sample(paths: DataPaths, triples: int, seed: int) -> pa.Table:
    """Random rows of the training set, known users only."""
    shards = [str(file) for file in sorted(paths.dataset.glob("*/*.parquet"))]
    rows = ds.dataset(shards, format="parquet").to_table(
        filter=~ds.field("user_orders").is_nan() & (ds.field("time") > 0)
    )
    chosen = np.random.default_rng(seed).choice(rows.num_rows, min(triples, rows.num_rows), replace=False)
    return rows.take(np.sort(chosen))


def compare(paths: DataPaths, triples: int = 10_000, seed: int = 0) -> dict[str, Any]:
    """Serve each sampled (user, item, time) from a private online store holding the snapshot of that time.

    Returns how many triples and values were compared and how many values differ in any bit.
    """
    rows = sample(paths, triples, seed)
    times = rows["time"].to_numpy()
    cutoffs = np.array([int(np.datetime64(c, "s").astype(int)) for c in Schedule.read(paths).cutoffs])
    snapshot = cutoffs[np.searchsorted(cutoffs, times, side="right") - 1]
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        private = replace(paths, root=Path(folder) / "data")
        apply(private, Path(folder) / "models")
        _copy_what_tells_of_snapshots(paths, private)
        for cutoff in np.unique(snapshot):
            moment = np.datetime64(int(cutoff), "s").astype("datetime64[us]").item()
            part = rows.filter(pa.array(snapshot == cutoff))
            _copy_snapshots(paths, private, moment, part)
            list(materialize(private, moment))
            different += _different(private, part)
    width = len(schema.NUMERIC) + len(schema.CATEGORICAL)
    return {
        "triples": rows.num_rows,
        "values": rows.num_rows * width,
        "different_values": different,
        "cutoffs": len(np.unique(snapshot)),
        "requests_after_the_snapshot": int((times != snapshot).sum()),
    }


def _copy_what_tells_of_snapshots(paths: DataPaths, private: DataPaths) -> None:
    """What says of which events the snapshots are."""
    private.features.mkdir()
    for file in (paths.quality, paths.promotions, paths.features / WRITTEN):
        if file.is_file():
            shutil.copyfile(file, private.root / file.relative_to(paths.root))


def _copy_snapshots(paths: DataPaths, private: DataPaths, cutoff: datetime, rows: pa.Table) -> None:
    """Put the snapshots of `cutoff`, cut down to the entities of `rows`, where the private store finds them."""
    for view in VIEWS:
        target = snapshot_path(private, view.name, cutoff)
        target.parent.mkdir(parents=True, exist_ok=True)
        wanted = ds.field(view.entity).isin(rows[view.entity].unique())
        pq.write_table(ds.dataset(snapshot_path(paths, view.name, cutoff)).to_table(filter=wanted), target)


def _different(paths: DataPaths, rows: pa.Table) -> int:
    """Values of the training rows that differ from those served now."""
    store = applied_store(paths)
    items = store.get_online_features(
        features=ITEM_FEATURES, entity_rows=[{"item_id": i} for i in rows["item_id"].to_pylist()]
    ).to_dict()
    item_block = item_rows(items, rows.num_rows)
    users: dict[str, Any] = {}
    numeric = np.column_stack([rows[name].to_numpy() for name in schema.NUMERIC])
    categorical = np.column_stack([rows[name].to_numpy() for name in schema.CATEGORICAL])
    different = 0
    for i, (user_id, time) in enumerate(zip(rows["user_id"].to_pylist(), rows["time"].to_pylist(), strict=True)):
        if user_id not in users:
            answer = store.get_online_features(features=USER_FEATURES, entity_rows=[{"user_id": user_id}]).to_dict()
            users[user_id] = user_row({name: values[0] for name, values in answer.items()})
        served = assemble(users[user_id], item_block.take(np.array([i])), time)
        bits = served.numeric[0].view(np.uint32) != numeric[i].view(np.uint32)
        both_missing = np.isnan(served.numeric[0]) & np.isnan(numeric[i])
        different += int((bits & ~both_missing).sum()) + int((served.categorical[0] != categorical[i]).sum())
    return different


def main() -> None:
    """Compare 10,000 triples and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--triples", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/parity.json"))
    options = parser.parse_args()
    with quiet():
        result = compare(DataPaths(options.data), options.triples)
    write_json(options.out, result)
    print(f"parity: {result['different_values']} of {result['values']:,} values differ; {options.out}")


if __name__ == "__main__":
    main()
