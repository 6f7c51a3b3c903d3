"""Sends a server what no client would: bytes that are no messages, messages gone wrong, HTTP/2 gone wrong.

Run as `python -m benchmarks.fuzz`; starts a server, sends it 100,000 malformed messages and 2,000 malformed connections
from a seed, and fails unless every call ends as it may, the same process still serves, and it answers as before.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Semaphore
from typing import Any

import grpc
import numpy as np
from grpc_health.v1.health_pb2 import HealthCheckRequest

from benchmarks import servers
from benchmarks.cores import server_cores
from server.inference import grpc_service_pb2 as inference
from shoprank.v1.catalog_pb2 import GetItemsRequest
from shoprank.v1.model_pb2 import ListModelsRequest
from shoprank.v1.ranking_pb2 import BatchRankItemsRequest, RankItemsRequest, ScoreItemsRequest
from shoprank.v1.recommendation_pb2 import RecommendItemsRequest, SimilarItemsRequest

RANKING = RankItemsRequest(user_id="u1", item_ids=["i1", "i2", "i3"], top_k=2, temperature=0.5)
METHODS = {
    "/shoprank.v1.RankingService/RankItems": RANKING,
    "/shoprank.v1.RankingService/ScoreItems": ScoreItemsRequest(user_id="u2", item_ids=["i4", "i5"]),
    "/shoprank.v1.RankingService/BatchRankItems": BatchRankItemsRequest(requests=[RANKING, RANKING]),
    "/shoprank.v1.RankingService/StreamRankItems": RANKING,
    "/shoprank.v1.RecommendationService/RecommendItems": RecommendItemsRequest(user_id="u1", top_k=5, candidates=50),
    "/shoprank.v1.RecommendationService/SimilarItems": SimilarItemsRequest(item_id="i1", top_k=5),
    "/shoprank.v1.CatalogService/GetItems": GetItemsRequest(item_ids=["i1", "nope"]),
    "/shoprank.v1.ModelService/ListModels": ListModelsRequest(model="purchase"),
    "/inference.GRPCInferenceService/ModelInfer": inference.ModelInferRequest(
        model_name="purchase",
        inputs=[inference.ModelInferRequest.InferInputTensor(name="numeric", datatype="FP32", shape=[1, 2])],
        raw_input_contents=[b"12345678"],
    ),
    "/inference.GRPCInferenceService/ModelMetadata": inference.ModelMetadataRequest(name="purchase"),
    "/grpc.health.v1.Health/Check": HealthCheckRequest(service="shoprank.v1.RankingService"),
}
"""Valid requests, of all but the methods that change something. One of a stream goes as the only one of its stream."""
MAY_END = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,  # of a name that went wrong
    grpc.StatusCode.RESOURCE_EXHAUSTED,  # too large, or more than can be answered
    grpc.StatusCode.CANCELLED,  # more than can be answered
}
IN_FLIGHT = 8
NESTING = 200_000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass
class Outcome:
    """How many calls ended with which code, and what should not have been."""

    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def messages(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Method and bytes of so many malformed requests."""
    rng = np.random.default_rng(seed)
    paths = list(METHODS)
    valid = {path: message.SerializeToString() for path, message in METHODS.items()}
    for _ in range(count):
        path = paths[rng.integers(len(paths))]
        yield path, _malformed(rng, valid[path], valid[paths[rng.integers(len(paths))]])


def _malformed(rng: np.random.Generator, message: bytes, other: bytes) -> bytes:
    match rng.integers(8):
        case 0:
            return rng.bytes(int(rng.integers(0, 300)))
        case 1:
            return message[: rng.integers(len(message))]
        case 2:
            return message + rng.bytes(int(rng.integers(1, 50)))
        case 3:
            cut = int(rng.integers(len(message)))
            return message[:cut] + other + message[cut:]
        case 4:
            # A length that says far more, or a number without an end.
            return message + b"\x12" + b"\xff" * int(rng.integers(1, 12))
        case 5:
            return message * int(rng.integers(2, 200))
        case 6:
            return nested(int(rng.integers(1, 2_000)))
        case _:
            flipped = bytearray(message)
            for at in rng.integers(len(flipped), size=int(rng.integers(1, 6))):
                flipped[at] = int(rng.integers(256))
            return bytes(flipped)


def nested(depth: int) -> bytes:
    """A message in a message, so deep: groups, which every parser must follow to skip them."""
    return b"\x7b" * depth + b"\x7c" * depth


def send(address: str, seed: int, count: int) -> Outcome:
    """Send malformed requests, a few at a time."""
    outcome = Outcome()
    room = Semaphore(IN_FLIGHT)
    with grpc.insecure_channel(address, [("grpc.enable_retries", 0)]) as channel:
        calls: dict[str, Any] = {path: channel.unary_unary(path, None, None) for path in METHODS}
        for path, request in messages(seed, count):
            room.acquire()
            calls[path].future(request, timeout=10).add_done_callback(_noted(outcome, path, request, room))
        for _ in range(IN_FLIGHT):
            room.acquire()
    return outcome


def _noted(outcome: Outcome, path: str, request: bytes, room: Semaphore) -> Any:
    def note(call: Any) -> None:
        outcome.codes[call.code().name] += 1
        if call.code() not in MAY_END:
            outcome.wrong.append(f"{path} {request[:60].hex()}…: {call.code().name} {call.details()}")
        room.release()

    return note


def frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    """A frame of HTTP/2; see RFC 9113, section 4.1. The length may be a lie."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def connections(seed: int, count: int) -> Iterator[bytes]:
    """What so many connections send."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        match rng.integers(5):
            case 0:
                yield rng.bytes(int(rng.integers(1, 500)))
            case 1:
                yield PREFACE[: rng.integers(len(PREFACE))]
            case 2:
                yield PREFACE + rng.bytes(int(rng.integers(1, 500)))
            case 3:
                yield b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"
            case _:
                frames = [_frame(rng) for _ in range(rng.integers(1, 30))]
                yield PREFACE + frame(4, 0, 0, b"") + b"".join(frames)


def _frame(rng: np.random.Generator) -> bytes:
    payload = rng.bytes(int(rng.integers(0, 100)))
    length = int(rng.integers(0, 1 << 24)) if rng.random() < 0.2 else None
    return frame(int(rng.integers(0, 12)), int(rng.integers(256)), int(rng.integers(0, 20)), payload, length)


def disturb(address: str, seed: int, count: int) -> int:
    """Make malformed connections, and return how many bytes came back."""
    host, port = address.rsplit(":", 1)
    received = 0
    for data in connections(seed, count):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(data)
            connection.settimeout(0.002)
            received += len(connection.recv(4_096))
    return received


def main() -> None:
    """Disturb a server, print what came of it, and fail where it is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    with servers.ours(servers.Shop(options.data, options.model_repository), server_cores()) as address:
        before = answer(address)
        outcome = send(address, options.seed, options.messages)
        disturb(address, options.seed, options.connections)
        after = answer(address)
    print(
        f"fuzz: {outcome.codes.total():,} messages ended as {dict(outcome.codes)}; "
        f"{options.connections:,} connections; {time.monotonic() - began:.0f} s"
    )
    if outcome.wrong:
        raise SystemExit(f"fuzz: {len(outcome.wrong)} calls ended as none may: {'; '.join(outcome.wrong[:5])}")
    if before != after:
        raise SystemExit("fuzz: the server answers otherwise than before")


def answer(address: str) -> bytes:
    """What the server says to a valid request."""
    path, message = next(iter(METHODS.items()))
    with grpc.insecure_channel(address) as channel:
        ask: Any = channel.unary_unary(path, None, None)
        reply: bytes = ask(message.SerializeToString(), timeout=10)
        return reply


if __name__ == "__main__":
    main()
