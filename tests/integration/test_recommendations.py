"""Slates and similar items over a real socket, from a real server over a real store."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from server.app import Running
from shoprank.v1 import ranking_pb2, ranking_pb2_grpc
from shoprank.v1 import recommendation_pb2 as pb
from shoprank.v1.recommendation_pb2_grpc import RecommendationServiceStub
from tests.world import ITEMS

USER = "u3"


@pytest.fixture(scope="module")
def channel(server: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> RecommendationServiceStub:
    return RecommendationServiceStub(channel)


def test_a_slate_is_the_best_of_the_candidates_as_the_model_ranks_them(
    stub: RecommendationServiceStub, channel: grpc.Channel
) -> None:
    """The candidates cover the small shop's catalogue, so the slate is the head of its ranking."""
    slate = stub.RecommendItems(pb.RecommendItemsRequest(user_id=USER, candidates=ITEMS, top_k=15))
    assert slate.candidate_count == ITEMS
    ranker = ranking_pb2_grpc.RankingServiceStub(channel)
    ranking = ranker.RankItems(ranking_pb2.RankItemsRequest(user_id=USER, top_k=15))
    assert slate.item_ids == ranking.item_ids
    np.testing.assert_allclose(slate.logits, ranking.logits, atol=1e-5)
    np.testing.assert_allclose(slate.purchase_probabilities, ranking.purchase_probabilities, atol=1e-6)
    assert list(slate.propensities) == [1.0] * 15
    assert (slate.log_propensity, slate.seed) == (0.0, 0)
    assert slate.served_by.model == "purchase"
    assert slate.feature_status.items_found == ITEMS


def test_every_column_speaks_of_every_item(stub: RecommendationServiceStub) -> None:
    slate = stub.RecommendItems(pb.RecommendItemsRequest(user_id=USER, top_k=10))
    columns = (slate.item_ids, slate.purchase_probabilities, slate.logits, slate.propensities, slate.item_sources)
    assert {len(column) for column in (*columns, slate.reasons)} == {10}
    assert all(one.sources for one in slate.item_sources)
    assert all(reason.text and reason.kind for reason in slate.reasons)
