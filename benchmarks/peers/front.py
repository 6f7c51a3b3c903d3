"""RankItems as a team would write it in an afternoon: read features, assemble, run the model, sort, reply.

`python -m benchmarks.peers.front --features sdk:REPO --model onnx:FILE --time SECONDS` in the environment that has what
it names. Features: `sdk:` a Feast repository, `http:` the address of Feast's feature server, `packed:` a data folder of
ours. Model: `onnx:` a graph, `v2:` the address of an inference server, `tensorflow:` a SavedModel.
"""

from __future__ import annotations

import argparse
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np

from benchmarks.peers.models import InferenceServer, Model, OnnxRuntime, TensorFlow
from benchmarks.peers.rows import Rows
from feature_repo.transforms import F32, assemble
from shoprank.v1 import ranking_pb2, ranking_pb2_grpc


class Ranking(ranking_pb2_grpc.RankingServiceServicer):
    """RankItems over the rows and the model given, at one time."""

    def __init__(self, rows: Rows, model: Model, time: int) -> None:
        self._rows = rows
        self._model = model
        self._time = time

    def RankItems(
        self, request: ranking_pb2.RankItemsRequest, context: grpc.ServicerContext
    ) -> ranking_pb2.RankItemsResponse:
        item_ids = list(request.item_ids)
        user, items = self._rows.read(request.user_id, item_ids)
        purchase, logits = self._model.score(assemble(user, items, self._time))
        order = np.argsort(-logits, kind="stable")
        return ranking_pb2.RankItemsResponse(
            item_ids=[item_ids[i] for i in order],
            probabilities=_softmax(logits)[order].tolist(),
            purchase_probabilities=purchase[order].tolist(),
            logits=logits[order].tolist(),
            candidate_count=len(item_ids),
        )


def _softmax(logits: F32) -> F32:
    e = np.exp(logits - logits.max())
    softmaxed: F32 = e / e.sum()
    return softmaxed


def open_rows(kind: str, where: str) -> Rows:
    """What reads features; imports what its environment has."""
    if kind == "packed":
        from benchmarks.peers.packed_rows import Packed

        return Packed(Path(where))
    from benchmarks.peers.feast_rows import FeatureServer, Sdk

    return Sdk(Path(where)) if kind == "sdk" else FeatureServer(f"http://{where}")


def open_model(kind: str, where: str) -> Model:
    """What runs the model."""
    if kind == "v2":
        return InferenceServer(where)
    return OnnxRuntime(Path(where)) if kind == "onnx" else TensorFlow(Path(where))


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--time", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    rows = open_rows(*options.features.split(":", 1))
    model = open_model(*options.model.split(":", 1))
    ranking = Ranking(rows, model, options.time)  # type: ignore[abstract]  # it has one method of the service
    server = grpc.server(ThreadPoolExecutor(options.threads), options=[("grpc.so_reuseport", 0)])
    ranking_pb2_grpc.add_RankingServiceServicer_to_server(ranking, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"front: 127.0.0.1:{port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
