"""Answers of the core into replies."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from server.ranker import Ranking, Scores, State, Status
from shoprank.bundle import Manifest
from shoprank.v1 import ranking_pb2 as pb

STATES = {
    State.FOUND: pb.FEATURE_STATE_FOUND,
    State.MISSING: pb.FEATURE_STATE_MISSING,
    State.STALE: pb.FEATURE_STATE_STALE,
}


def scored(scores: Scores, manifest: Manifest) -> pb.ScoreItemsResponse:
    """The reply of ScoreItems."""
    return pb.ScoreItemsResponse(
        item_ids=scores.item_ids.tolist(),
        probabilities=scores.probabilities.tolist(),
        logits=scores.logits.tolist(),
        unknown_item_ids=scores.unknown,
        feature_status=_status(scores.status),
        served_by=_served_by(manifest, scores.time),
    )


def ranked(ranking: Ranking, manifest: Manifest) -> pb.RankItemsResponse:
    """The reply of RankItems."""
    return pb.RankItemsResponse(
        item_ids=ranking.item_ids.tolist(),
        probabilities=ranking.probabilities.tolist(),
        purchase_probabilities=ranking.purchase_probabilities.tolist(),
        logits=ranking.logits.tolist(),
        unknown_item_ids=ranking.unknown,
        candidate_count=ranking.candidates,
        feature_status=_status(ranking.status),
        served_by=_served_by(manifest, ranking.time),
    )


def _status(status: Status) -> pb.FeatureStatus:
    return pb.FeatureStatus(
        user=STATES[status.user],
        user_age=_duration(status.user_age),
        items_found=status.items_found,
        items_missing=status.items_missing,
        items_stale=status.items_stale,
        items_age=_duration(status.items_age),
    )


def _duration(seconds: int | None) -> Duration | None:
    return None if seconds is None else Duration(seconds=seconds)


def _served_by(manifest: Manifest, time: int) -> pb.ServedBy:
    return pb.ServedBy(
        model=manifest.model,
        model_version=manifest.version,
        feature_service=manifest.feature_service,
        time=Timestamp(seconds=time),
    )
