"""Health keeps no name that is not its own."""

from __future__ import annotations

from typing import Any

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from server.process.health import Health
from server.process.readiness import Readiness
from tests.serving import eventually


class Watching:
    """A call that watches: what it was told, and what is called at its end."""

    def __init__(self, health: Health, service: str) -> None:
        self.told: list[Any] = []
        self.ended: list[Any] = []
        health.Watch(HealthCheckRequest(service=service), self, self.told.append)  # type: ignore[arg-type]

    def add_callback(self, callback: Any) -> bool:
        self.ended.append(callback)
        return True

    def end(self) -> None:
        for callback in self.ended:
            callback()


def test_who_watches_an_unknown_service_is_told_so_and_forgotten() -> None:
    health = Health(["a.B"])
    watching = [Watching(health, f"x{i}" * 1000) for i in range(100)]
    for one in watching:
        assert [reply.status for reply in one.told] == [HealthCheckResponse.SERVICE_UNKNOWN]
        one.end()
        assert one.told[-1] is None
    assert set(health._send_response_callbacks) <= {"", "a.B"}


def test_who_watches_a_known_service_hears_of_changes() -> None:
    health = Health(["a.B"])
    watching = Watching(health, "a.B")
    health.set("a.B", HealthCheckResponse.SERVING)
    assert [reply.status for reply in watching.told] == [
        HealthCheckResponse.SERVICE_UNKNOWN,
        HealthCheckResponse.SERVING,
    ]


def test_the_server_serves_until_it_is_said_otherwise() -> None:
    health = Health(["a.B"])
    assert health.is_serving()
    health.enter_graceful_shutdown()
    assert not health.is_serving()


def test_a_check_that_fails_in_any_way_says_that_nothing_is_served() -> None:
    wrong = [True]

    def check() -> None:
        if wrong:
            raise ValueError("a foreign value")

    health = Health(["a.B"])
    told: list[bool] = []
    readiness = Readiness(health, ["a.B"], {"store": check}, 0.01, told.append)
    readiness.start()
    assert not health.is_serving()
    wrong.clear()
    eventually(health.is_serving)
    assert told == [False, True]
    readiness.stop()
