"""Calls by their request ids: in replies, and in lines of the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from server.telemetry import logs
from server.telemetry.settings import Telemetry
from shoprank.v1 import ranking_pb2, ranking_pb2_grpc
from tests.integration.telemetry.conftest import Measured

RANK = "shoprank.v1.RankingService/RankItems"
ITEMS = [f"i{i}" for i in range(40)]
REQUEST = ranking_pb2.RankItemsRequest(user_id="u1", item_ids=ITEMS)
Begin = Callable[..., Measured]


def test_the_request_id_is_the_callers_or_a_new_one_and_comes_back(measured: Begin) -> None:
    server = measured()
    bad = ranking_pb2.RankItemsRequest(user_id="", item_ids=ITEMS)

    def returned(given: str | None, request: ranking_pb2.RankItemsRequest = REQUEST) -> str:
        metadata = (("x-request-id", given),) if given is not None else ()
        _, call = stub.RankItems.with_call(request, metadata=metadata)
        return str(dict(call.trailing_metadata())["x-request-id"])

    with grpc.insecure_channel(server.address) as channel:
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        assert returned("shop-42/a.b") == "shop-42/a.b"
        made = {returned(None) for _ in range(20)}
        assert len(made) == 20
        assert all(len(request_id) == 16 for request_id in made)
        for evil in ('x" injected="1', "x" * 129, "é".encode().decode("latin-1"), ""):
            assert returned(evil if evil.isascii() else "a b") not in (evil, "a b")
        with pytest.raises(grpc.RpcError) as error:
            stub.RankItems(bad, metadata=(("x-request-id", "failed-1"),))
        failed: Any = error.value
        trailing: dict[str, Any] = dict(failed.trailing_metadata())
        assert trailing["x-request-id"] == "failed-1"
        assert "grpc-status-details-bin" in trailing, "the error's details are lost"


def test_a_failed_call_has_one_line_and_its_error_one_of_the_same_id(
    measured: Begin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = measured()

    def fail(*_: Any) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(server.running.ranker, "rank", fail)
    root = logging.getLogger()
    handlers = list(root.handlers)
    with (tmp_path / "log").open("w") as stream:
        logs.configure(Telemetry(log_format="json"), stream)
        try:
            with grpc.insecure_channel(server.address) as channel:
                stub = ranking_pb2_grpc.RankingServiceStub(channel)
                with pytest.raises(grpc.RpcError):
                    stub.RankItems(REQUEST, metadata=(("x-request-id", "id-7"),))
        finally:
            root.handlers[:] = handlers
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    ours = [line for line in lines if line.get("request_id") == "id-7"]
    (defect,) = [line for line in ours if "exception" in line and line["logger"] == "server.errors"]
    assert defect["exception"]["message"] == "a defect"
    (call,) = [line for line in ours if line["message"] == "call"]
    assert (call["code"], call["method"]) == ("INTERNAL", RANK)
    assert call["seconds"] > 0
