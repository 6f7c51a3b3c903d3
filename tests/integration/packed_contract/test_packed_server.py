"""Feast's own feature server above a packed store."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from feast.feature_server import get_app

from tests.integration.packed_contract.test_packed_writes import push, pushed
from tests.integration.packed_world import process
from tests.packed_feast import NOW, Pair, feature_store, plain
from tests.redis_server import free_port


class Client:
    """Asks Feast's feature server over HTTP."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"

    def post(self, path: str, **body: Any) -> Any:
        """The answer to a request."""
        content = json.dumps(body, default=str).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._address}/{path}", content, headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def features(self, *names: str, **entities: list[Any]) -> dict[str, list[Any]]:
        """Values of features, a list each."""
        answer = self.post("get-online-features", features=names, entities=entities)
        columns = zip(answer["metadata"]["feature_names"], answer["results"], strict=True)
        return {name: column["values"] for name, column in columns}


@pytest.fixture
def client(filled: Pair) -> Iterator[Client]:
    """A client of Feast's feature server on a store of its own with the shop's rows."""
    config = uvicorn.Config(get_app(feature_store(filled.config)), port=free_port(), log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    for _ in range(400):
        if server.started:
            break
        time.sleep(0.02)
    assert server.started
    yield Client(config.port)
    server.should_exit = True
    thread.join(20)


def test_the_feature_server_answers_what_the_store_does(client: Client, filled: Pair) -> None:
    asked = ["profile:city", "profile:trail", "totals:orders"]
    entities = {"user_id": ["u0", "u4", "nobody"]}
    answer = client.features(*asked, **entities)
    assert plain(dict(sorted(answer.items()))) == plain(
        dict(sorted(filled.packed.get_online_features(asked, entities).to_dict().items()))
    )


def test_a_feature_service_is_asked_by_name(client: Client) -> None:
    entities = {"user_id": ["u0", "u1"], "item_id": [0, 1]}
    answer = client.post("get-online-features", feature_service="some", entities=entities)
    city = answer["results"][answer["metadata"]["feature_names"].index("city")]
    assert city["values"] == ["Tromsø", ""]
    assert city["statuses"] == ["PRESENT", "OUTSIDE_MAX_AGE"]


def test_what_is_pushed_to_the_server_is_in_its_next_answer_and_in_ours(client: Client, filled: Pair) -> None:
    for number in range(1, 6):
        rows = pushed(number, NOW + timedelta(seconds=number)).assign(joined=number)  # Feast takes no text for a time
        client.post("push", push_source_name="profile_push", df=rows.to_dict("list"), to="online")
        assert client.features("profile:clicks", user_id=["u0"])["clicks"] == [number]
        answer = filled.packed.get_online_features(["profile:clicks"], {"user_id": ["u0"]})
        assert answer.to_dict()["clicks"] == [number]


def test_the_server_sees_what_another_process_pushes(client: Client, filled: Pair) -> None:
    with process(push, filled.config) as (_, other):
        assert other.recv() == "ready"
        for number in range(1, 10):
            other.send(number)
            assert other.recv() == number
            assert client.features("profile:clicks", user_id=["u0"])["clicks"] == [number]
        other.send(None)


def test_a_view_that_is_not_there_is_an_error_of_the_request(client: Client, tmp_path: Path) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        client.features("nowhere:clicks", user_id=["u0"])
    assert 400 <= refused.value.code < 500
