"""Slates that are refused: bad fields, and bundles without sources or with altered ones."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from server.app import Running, start
from shoprank import Client, InvalidRequest, ItemFilter, ServerError, SlateRules
from shoprank.bundle import MANIFEST, RETRIEVAL, Manifest, current
from tests.conftest import Shop, settings
from tests.world import ITEMS

USER = "u3"


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Client]:
    with Client(server.address, timeout=10) as client:
        yield client


def test_every_bad_field_is_named_at_once(client: Client) -> None:
    rules = SlateRules(
        ItemFilter(
            categories=["c1", "no such"],
            excluded_brands=["nor this"],
            min_price=5,
            max_price=-1,
            sold_within_days=0,
            not_bought_within_days=9_999,
            blocked_item_ids=["i1", ""],
        ),
        diversity=1.5,
        per_category=0,
        per_brand=501,
        temperature=0.0,
    )
    with pytest.raises(InvalidRequest) as error:
        client.recommend("", top_k=0, candidates=5_001, rules=rules)
    assert {v.field: v.description for v in error.value.violations} == {
        "user_id": "is empty",
        "candidates": "is not between 1 and 5000: 5001",
        "top_k": "is not between 1 and 500: 0",
        "filter.categories[1]": "is no category of the catalogue: 'no such'",
        "filter.excluded_brands[0]": "is no brand of the catalogue: 'nor this'",
        "filter.max_price": "is below filter.min_price: -1 < 5",
        "filter.sold_within_days": "is not between 1 and 3,650: 0",
        "filter.not_bought_within_days": "is not between 1 and 3,650: 9999",
        "filter.blocked_item_ids[1]": "is empty",
        "diversity.lambda": "is not between 0 and 1: 1.5",
        "exploration.temperature": "is not a finite number above 0: 0.0",
        "limits.per_category": "is not between 1 and 500: 0",
        "limits.per_brand": "is not between 1 and 500: 501",
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_let_through_that_is_none(client: Client, value: float) -> None:
    rules = SlateRules(ItemFilter(min_price=value, max_price=value), diversity=value, temperature=value)
    with pytest.raises(InvalidRequest) as error:
        client.recommend(USER, rules=rules)
    fields = {v.field for v in error.value.violations}
    assert fields == {"filter.min_price", "filter.max_price", "diversity.lambda", "exploration.temperature"}


def test_lists_have_their_limits(client: Client) -> None:
    blocked = ItemFilter(blocked_item_ids=[f"x{i}" for i in range(1_001)])
    for passing, field in ((blocked, "blocked_item_ids"), (ItemFilter(categories=["c1"] * 101), "categories")):
        for call in (lambda f: client.recommend(USER, rules=SlateRules(f)), lambda f: client.rank(USER, filter=f)):
            with pytest.raises(InvalidRequest, match=f"filter.{field} has 1"):
                call(passing)
    with pytest.raises(InvalidRequest, match="top_k is not between 1 and 5, the number of candidates: 6"):
        client.recommend(USER, candidates=5, top_k=6)
    with pytest.raises(InvalidRequest, match="seed is given without a temperature"):
        client.recommend(USER, rules=SlateRules(seed=3))
    for wrong in (0, 101):
        with pytest.raises(InvalidRequest, match="top_k is not between 1 and 100"):
            client.similar("i1", top_k=wrong)


def test_a_bundle_without_sources_is_served_and_refuses_slates(trained: Shop, tmp_path: Path) -> None:
    """As one of an earlier version is."""
    models = tmp_path / "models"
    shutil.copytree(trained.models, models, symlinks=True)
    bundle = current(models, "purchase")
    (bundle / RETRIEVAL).unlink()
    manifest = Manifest.read(bundle)
    files = {name: digest for name, digest in manifest.files.items() if name != RETRIEVAL}
    (bundle / MANIFEST).write_text(replace(manifest, files=files).to_json())
    running = start(settings(trained.paths.root, models, clock="snapshot"))
    try:
        with Client(running.address, timeout=10) as client:
            assert len(client.rank(USER, ["i1", "i2"])) == 2
            for ask in (lambda: client.recommend(USER), lambda: client.similar("i1")):
                with pytest.raises(ServerError, match=r"FAILED_PRECONDITION: .*without sources of candidates; train"):
                    ask()
    finally:
        running.stop()


def test_sources_that_are_altered_are_refused(trained: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.retrieval.sources import Sources
    from shoprank.errors import BundleError

    with np.load(current(trained.models, "purchase") / RETRIEVAL) as kept:
        arrays = {name: kept[name] for name in kept.files}
    facts = json.loads(str(arrays["sources"]))
    for changed, message in (
        ({"layout": np.array(9)}, "layout 9, but this version reads layout 1"),
        ({"item-knn/indices": arrays["item-knn/indices"] + ITEMS}, "item-knn: columns out of bounds"),
        ({"item-knn/indptr": arrays["item-knn/indptr"][:-1]}, "item-knn: ends of rows that are none"),
        ({"sold": arrays["sold"][:-1]}, "other numbers of keys or places"),
        ({"segment/items": arrays["segment/items"] + ITEMS}, "segment: names items beyond"),
        ({"sources": np.array(json.dumps([facts[0]]))}, "one of them of the form everybody"),
        ({"sources": np.array(json.dumps([{**facts[0], "by": "hour"}, facts[-1]]))}, "weighs by hour"),
        ({"repeat/counts": arrays["repeat/counts"][:-1]}, "rates of shape"),
        ({"sources": np.array(json.dumps([facts[-1], facts[0], facts[0]]))}, "names of sources repeat"),
        ({"sources": np.array(json.dumps([{**facts[-1], "weight": float("nan")}]))}, "a weight of nan"),
    ):
        np.savez(tmp_path / "altered.npz", **{**arrays, **changed})
        with pytest.raises(BundleError, match=message):
            Sources.read(tmp_path / "altered.npz")
    (tmp_path / "noise.npz").write_bytes(b"PK no zip")
    with pytest.raises(BundleError, match=r"noise\.npz: no NumPy archive"):
        Sources.read(tmp_path / "noise.npz")
    monkeypatch.setattr("server.retrieval.sources.MOST_BYTES", 1_000)
    with pytest.raises(BundleError, match=r"unpacks to .* bytes, more than 1,000"):
        Sources.read(tmp_path / "altered.npz")
