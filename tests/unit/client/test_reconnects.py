"""A server that goes and comes back within the client's attempts is not noticed, by however many threads."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

from shoprank.client import Client
from shoprank.v1 import ranking_pb2

THREADS = 16


EMPTY = ranking_pb2.RankItemsResponse(feature_status=ranking_pb2.FeatureStatus(user=ranking_pb2.FEATURE_STATE_MISSING))


def started(port: int = 0) -> tuple[grpc.Server, int]:
    """A server on the port of loopback, and the port."""
    server = grpc.server(ThreadPoolExecutor(4))
    answer = grpc.unary_unary_rpc_method_handler(
        lambda request, context: EMPTY, response_serializer=ranking_pb2.RankItemsResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("shoprank.v1.RankingService", {"RankItems": answer}),)
    )
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


def test_a_connection_that_is_refused_for_a_moment_fails_no_call() -> None:
    server, port = started()
    stop, failures, answered = threading.Event(), [], []

    def ask(client: Client) -> None:
        while not stop.is_set():
            try:
                client.rank("u1", ["i1"])
                answered.append(1)
            except Exception as error:  # whatever it is, the caller saw it
                failures.append(str(error))
                time.sleep(0.02)

    with Client(f"127.0.0.1:{port}", timeout=5, connections=4) as client:
        client.rank("u1", ["i1"])
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        server.stop(None).wait()
        with socket.socket() as probe:  # the port is free: calls are refused now
            assert probe.connect_ex(("127.0.0.1", port)) != 0
        time.sleep(0.06)
        server, _ = started(port)
        before = len(answered)
        time.sleep(0.8)
        stop.set()
        for thread in threads:
            thread.join()
    server.stop(None)
    assert failures == []
    assert len(answered) > before
