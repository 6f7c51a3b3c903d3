"""The training set: labels, strata, offsets and the split by time."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.paths import DataPaths, write_json
from feature_repo.schema import key_of
from feature_repo.store import apply, materialize
from shoprank.errors import Conflict, FeatureStoreError, UserError
from tests.conftest import Shop
from tests.world import events
from training.dataset.build import build, require_built, shards
from training.dataset.labels import Purchases, epoch
from training.dataset.sampling import CANDIDATE, REST, Sampling
from training.features.snapshots import write_snapshots
from training.held import held
from training.schedule import HORIZON

WEEK_SECONDS = int(HORIZON.total_seconds())


def frame(shop: Shop, split: str) -> pd.DataFrame:
    return pq.read_table(shop.paths.dataset / split).to_pandas()


def test_labels_say_what_was_bought_in_the_seven_days_after(dataset: Shop) -> None:
    bought: dict[tuple[str, str], list[int]] = {}
    for e in events():
        if e["event_type"] == "purchase":
            bought.setdefault((str(e["user_id"]), str(e["item_id"])), []).append(epoch(e["event_time"]))
    for split in ("train", "validation", "test"):
        rows = frame(dataset, split)
        expected = [
            any(t <= at < t + WEEK_SECONDS for at in bought.get((u, i), []))
            for u, i, t in zip(rows.user_id, rows.item_id, rows.time, strict=True)
        ]
        assert rows.label.tolist() == [int(e) for e in expected]
        assert 0 < rows.label.mean() < 1


def test_every_label_window_ends_before_the_next_split_begins(dataset: Shop) -> None:
    train, validation, test = (frame(dataset, s).time for s in ("train", "validation", "test"))
    assert train.max() + WEEK_SECONDS <= validation.min()
    assert validation.max() + WEEK_SECONDS <= test.min()


def test_training_requests_fall_after_their_snapshot_too(dataset: Shop) -> None:
    rows = frame(dataset, "train")
    cutoffs = {epoch(c) for c in dataset.schedule.train}
    assert (~rows.time.isin(cutoffs)).mean() > 0.2


def test_the_test_set_is_every_candidate_unsampled(dataset: Shop) -> None:
    rows = frame(dataset, "test")
    assert (rows.stratum == CANDIDATE).all()
    assert (rows.offset == 0).all()
    assert not rows.duplicated(["user_id", "item_id"]).any()
    user = rows[rows.user_id == rows.user_id.iloc[0]]
    assert (user.item_purchases_28d > 0).any()
    assert (user.ui_purchases > 0).any()


def test_offsets_are_minus_the_log_of_the_keep_rate(dataset: Shop) -> None:
    rows = frame(dataset, "train")
    how = Sampling()
    np.testing.assert_allclose(rows.offset[rows.stratum == CANDIDATE], -np.log(how.candidate_rate), rtol=1e-6)
    np.testing.assert_allclose(rows.offset[rows.stratum == REST], -np.log(how.rest / 150), rtol=1e-6)


def test_weighted_by_their_offsets_sampled_rows_stand_for_the_population(shop: Shop, dataset: Shop) -> None:
    rows = frame(dataset, "validation")
    negatives = rows[(rows.stratum == CANDIDATE) & (rows.label == 0)]
    full = sum(1 for _ in negatives.index) * float(np.exp(negatives.offset.iloc[0]))
    again = frame(dataset, "test")
    assert full == pytest.approx((again.label == 0).sum(), rel=0.15)


def test_some_users_are_shown_as_unknown(dataset: Shop) -> None:
    rows = frame(dataset, "train")
    cold = rows[rows.user_orders.isna()]
    assert 0 < len(cold) < len(rows) / 5
    assert (cold.ui_purchases == 0).all()
    assert frame(dataset, "test").user_orders.notna().all()


def test_the_same_seed_gives_the_same_rows(written_shop: Path, shop: Shop, tmp_path: Path) -> None:
    own = replace(shop, paths=DataPaths(tmp_path / "data"))
    shutil.copytree(written_shop / "data", own.paths.root)
    apply(own.paths, tmp_path / "models")

    def keys() -> list[list[object]]:
        for _ in build(own.paths, own.schedule, seed=5):
            pass
        return [frame(own, s)[["user_id", "item_id", "time", "label"]].values.tolist() for s in ("train", "test")]

    assert keys() == keys()


def test_an_interrupted_build_leaves_the_earlier_dataset_and_can_be_run_again(dataset: Shop) -> None:
    before = sorted(dataset.paths.dataset.glob("*/*.parquet"))
    running = build(dataset.paths, dataset.schedule)
    next(running)
    running.close()
    assert sorted(dataset.paths.dataset.glob("*/*.parquet")) == before
    assert len(list(build(dataset.paths, dataset.schedule))) == len(before)


def test_a_build_beside_another_job_in_the_folder_is_refused(dataset: Shop) -> None:
    before = sorted(dataset.paths.dataset.glob("*/*.parquet"))
    with held(dataset.paths.root), pytest.raises(Conflict, match="`dataset` writes into this folder"):
        list(build(dataset.paths, dataset.schedule))
    assert sorted(dataset.paths.dataset.glob("*/*.parquet")) == before


def test_a_shard_that_is_missing_or_short_is_named(dataset: Shop, tmp_path: Path) -> None:
    own = DataPaths(tmp_path / "data")
    shutil.copytree(dataset.paths.root, own.root)
    require_built(own)
    first, last = sorted((own.dataset / "train").glob("*.parquet"))[:2]
    rows = pq.read_table(first)
    pq.write_table(rows.slice(1), first)
    with pytest.raises(UserError, match=rf"{first}: has [\d,]+ rows, and [\d,]+ were written; run `shoprank dataset`"):
        require_built(own)
    pq.write_table(rows, first)
    last.unlink()
    with pytest.raises(UserError, match=rf"{last}: no such file; run `shoprank dataset` first"):
        require_built(own)


def test_a_repository_that_is_not_applied_is_named(dataset: Shop, tmp_path: Path) -> None:
    bare = replace(dataset.paths, root=tmp_path)
    with pytest.raises(FeatureStoreError, match="shoprank apply"):
        list(build(bare, dataset.schedule))


def test_train_spread_never_reaches_into_validation(shop: Shop) -> None:
    for shard in shards(shop.schedule, Sampling()):
        if shard.split == "train":
            assert shard.cutoff + shard.spread + HORIZON <= shop.schedule.validation[0]
        else:
            assert shard.spread == timedelta(0)


def test_a_week_in_which_nobody_buys_has_no_labels(shop: Shop) -> None:
    purchases = Purchases(shop.paths, datetime(2030, 1, 1), datetime(2030, 1, 8))
    assert not len(purchases.keys("u1", epoch(datetime(2030, 1, 1)), timedelta(days=7)))


def copied(dataset: Shop, root: Path) -> DataPaths:
    """The shop's data in a folder of its own, applied."""
    paths = DataPaths(root / "data")
    # Not the store: to open its files beside LMDB and close them ends LMDB's locks of this process.
    shutil.copytree(dataset.paths.root, paths.root, ignore=shutil.ignore_patterns("feast"))
    apply(paths, root / "models")
    return paths


def test_events_ingested_since_are_neither_learned_from_nor_served_with_features_of_before(
    dataset: Shop, tmp_path: Path
) -> None:
    paths = copied(dataset, tmp_path)
    require_built(paths)
    write_json(paths.quality, json.loads(paths.quality.read_text()) | {"fingerprint": "of other events"})
    for use in (
        lambda: list(build(paths, dataset.schedule)),
        lambda: list(materialize(paths, dataset.schedule.test)),
        lambda: require_built(paths),
    ):
        with pytest.raises(UserError, match="run `shoprank features` first"):
            use()


def test_a_dataset_of_features_of_before_is_not_learned_from(dataset: Shop, tmp_path: Path) -> None:
    paths = copied(dataset, tmp_path)
    schedule = replace(dataset.schedule, train=dataset.schedule.train[1:])
    for _ in write_snapshots(paths, schedule.cutoffs, memory_limit="500MB"):
        pass
    schedule.write(paths)
    with pytest.raises(UserError, match="is of other events, weeks or features; run `shoprank dataset` first"):
        require_built(paths)


def test_a_dataset_of_another_plan_of_promotions_is_not_learned_from(dataset: Shop, tmp_path: Path) -> None:
    paths = copied(dataset, tmp_path)
    start = dataset.schedule.test
    promoted = {"item_id": "i1", "item_key": key_of("i1"), "starts_at": start, "ends_at": start + HORIZON}
    shares = dict.fromkeys(("display_share", "mailer_share", "front_share"), 1.0)
    pq.write_table(pa.Table.from_pylist([promoted | shares]), paths.promotions)
    for _ in write_snapshots(paths, dataset.schedule.cutoffs, memory_limit="500MB"):
        pass
    with pytest.raises(UserError, match="is of other events, weeks or features; run `shoprank dataset` first"):
        require_built(paths)


@pytest.mark.parametrize("content", ["x", "{}", '{"key": ""}', '{"key": "", "seed": 0, "sampling": {"a": 1}}'])
def test_a_dataset_whose_description_is_damaged_is_not_learned_from(
    dataset: Shop, tmp_path: Path, content: str
) -> None:
    paths = copied(dataset, tmp_path)
    (paths.dataset / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=r"dataset\.json: is damaged; run `shoprank dataset` first"):
        require_built(paths)


def test_a_dataset_without_rows_does_not_replace_one_that_has(dataset: Shop, tmp_path: Path) -> None:
    paths = copied(dataset, tmp_path)
    users = pq.read_table(paths.users)
    strangers = pa.array([f"stranger {n}" for n in range(len(users))])
    pq.write_table(users.set_column(users.column_names.index("user_id"), "user_id", strangers), paths.users)
    before = (paths.dataset / "dataset.json").read_text()
    with pytest.raises(UserError, match="run `shoprank features` first"):
        list(build(paths, dataset.schedule))
    assert (paths.dataset / "dataset.json").read_text() == before
    assert not paths.dataset.with_name("dataset.tmp").exists()
