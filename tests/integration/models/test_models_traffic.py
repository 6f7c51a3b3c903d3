"""Canary and shadow of a running server: who is answered by what, and what nobody sees."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from typer.testing import CliRunner

from server.models.model import Model
from shoprank import Client, ServerError, traffic
from shoprank.cli.app import app
from shoprank.traffic import Share
from tests.integration.models.conftest import Served

USERS = [f"u{n}" for n in range(60)]
ITEMS = ["i1", "i2", "i3"]


def versions(served: Served, users: list[str]) -> dict[str, int]:
    """The version that answers each user."""
    with Client(served.address, timeout=10) as client:
        return {user: client.score(user, ITEMS).served_by.model_version for user in users}


def test_a_canary_answers_its_share_and_more_percent_only_adds_users(serve: Callable[..., Served]) -> None:
    served = serve()
    many = [f"visitor {n}" for n in range(400)]
    chosen = []
    for steps in (500, 2_000, 10_000):
        served.admin.route("purchase", Share(2, steps), None)
        answered = versions(served, many)
        assert answered == versions(served, many)
        chosen.append({user for user, version in answered.items() if version == 2})
    assert chosen[0] < chosen[1] < chosen[2]
    assert len(chosen[0]) == pytest.approx(20, abs=16)
    assert len(chosen[1]) == pytest.approx(80, abs=32)
    assert chosen[2] == set(many)
    served.admin.route("purchase", None, None)
    assert set(versions(served, many[:20]).values()) == {1}


def test_a_canary_answers_its_share_of_similar_items(serve: Callable[..., Served]) -> None:
    """Version 2 has no sources to answer by, and says so."""
    served = serve()
    served.admin.route("purchase", Share(2, 3_000), None)
    refused = []
    with Client(served.address, timeout=10) as client:
        for n in range(1, 61):
            try:
                client.similar(f"i{n}")
            except ServerError as error:
                refused.append(str(error))
    assert all("model purchase version 2 was trained without sources" in error for error in refused)
    assert len(refused) == pytest.approx(18, abs=12)


def test_the_same_users_get_the_canary_from_every_process(serve: Callable[..., Served]) -> None:
    one, other = serve(), serve()
    one.admin.route("purchase", Share(2, 3_000), None)
    _until(lambda: other.running.models.served.canary is not None)
    assert versions(one, USERS) == versions(other, USERS)
    assert set(versions(one, USERS).values()) == {1, 2}


def test_a_traffic_file_written_by_hand_is_followed_and_a_garbled_one_is_not(
    serve: Callable[..., Served], repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = serve()
    file = repository / "purchase" / traffic.TRAFFIC
    file.write_text('{"format": 1, "canary": {"version": 2, "percent": 100}}')
    _until(lambda: versions(served, ["u1"]) == {"u1": 2})
    file.write_text('{"format": 1, "canary": {"version": 3, "percent": ')
    _until(lambda: served.running.models.served.counts.garbled == 1)
    assert versions(served, ["u1"]) == {"u1": 2}
    assert any("the traffic stays as it was" in r.getMessage() for r in caplog.records)
    (model,) = served.admin.list("purchase")
    assert model.traffic.canary == Share(2, 10_000)
    assert "traffic.json" in model.reason
    shown = CliRunner().invoke(app, ["models", "traffic", "--address", served.address])
    assert shown.exit_code == 1
    assert "canary: version 2, 100 %" in shown.output
    assert str(shown.exception) == f"{served.address} leaves the traffic as it was: {model.reason}"
    served.admin.route("purchase", None, None)
    assert served.admin.list("purchase")[0].reason == ""


def test_a_shadow_scores_every_call_as_its_graph_does_and_is_never_served(
    serve: Callable[..., Served], repository: Path, tmp_path: Path
) -> None:
    served = serve()
    with Client(served.address, timeout=10) as client:
        before = {user: client.rank(user, ITEMS) for user in USERS}
        served.admin.route("purchase", None, Share(2, 10_000))
        after = {user: client.rank(user, ITEMS) for user in USERS}
        _until(lambda: served.running.models.served.counts.shadowed == len(USERS))
        served.admin.route("purchase", None, None)
        served.admin.activate("purchase", 2)
        challenger = {user: {r.item_id: r.logit for r in client.rank(user, ITEMS)} for user in USERS}
    assert after == before
    lines = [json.loads(line) for line in (tmp_path / "shadow.jsonl").read_text().splitlines()]
    assert len(lines) == len({line["user"] for line in lines}) == len(USERS)
    assert not {line["user"] for line in lines} & set(USERS)
    for user, line in zip(USERS, lines, strict=True):
        assert (line["served_version"], line["shadow_version"], line["item_ids"]) == (1, 2, ITEMS)
        champion = {r.item_id: r.logit for r in before[user]}
        np.testing.assert_allclose(line["served_logits"], [champion[i] for i in ITEMS], atol=1e-5)
        np.testing.assert_allclose(line["shadow_logits"], [challenger[user][i] for i in ITEMS], atol=1e-5)


def test_a_slow_shadow_drops_calls_and_delays_none(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(shadow_calls=5)
    served.admin.route("purchase", None, Share(2, 10_000))
    scored, score = threading.Event(), Model.score

    def slow(self: Model, asked: Any) -> Any:
        if self.manifest.version == 2:
            scored.wait(30)
        return score(self, asked)

    monkeypatch.setattr(Model, "score", slow)
    with Client(served.address, timeout=5) as client:
        for n in range(100):
            assert client.rank(f"u{n}", ITEMS).served_by.model_version == 1
    counts = served.running.models.served.counts
    assert counts.shadow_dropped == 94
    scored.set()
    _until(lambda: counts.shadowed == 6)


def test_a_canary_or_shadow_that_is_not_there_or_bad_is_refused_and_nothing_changes(
    serve: Callable[..., Served], repository: Path
) -> None:
    served = serve()
    (repository / "purchase" / "3" / "model.onnx").write_bytes(b"other")
    for share, code in ((Share(9, 100), "NOT_FOUND"), (Share(3, 100), "FAILED_PRECONDITION")):
        for wanted in ((share, None), (None, share)):
            with pytest.raises(ServerError) as error:
                served.admin.route("purchase", *wanted)
            assert error.value.code == code
    assert not (repository / "purchase" / traffic.TRAFFIC).exists()
    assert set(versions(served, USERS).values()) == {1}


def test_the_memory_of_released_versions_comes_back(serve: Callable[..., Served]) -> None:
    import weakref

    served = serve(keep=0)
    sessions: list[weakref.ref[ort.InferenceSession]] = []
    for version in (2, 3, 1):
        model = served.running.models.served.active
        assert model is not None
        sessions.append(weakref.ref(model.session))
        del model
        served.admin.activate("purchase", version)
    _until(lambda: all(session() is None for session in sessions))


def _until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
