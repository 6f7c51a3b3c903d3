"""ModelService, its client and the `models` commands, over a real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from server.models.processes import OneProcess, ProcessState
from shoprank import InvalidRequest, ServerError, bundle, traffic
from shoprank.models import ModelClient
from shoprank.traffic import Share
from shoprank.v1 import model_pb2, model_pb2_grpc
from tests.integration.models.conftest import Served


def test_models_are_listed_with_states_roles_metrics_and_traffic(
    serve: Callable[..., Served], repository: Path
) -> None:
    served = serve()
    served.admin.activate("purchase", 2)
    served.admin.route("purchase", Share(3, 1_250), None)
    (model,) = served.admin.list()
    assert (model.name, model.kind, model.served) == ("purchase", "ranking", True)
    assert (model.current, model.active, model.previous) == (2, 2, 1)
    assert model.traffic.canary == Share(3, 1_250)
    assert {v.version: (v.state, v.roles) for v in model.versions} == {
        1: ("loaded", ("previous",)),
        2: ("loaded", ("active",)),
        3: ("loaded", ("canary",)),
    }
    manifest = json.loads((repository / "purchase" / "2" / "manifest.json").read_text())
    assert model.versions[1].metrics == manifest["metrics"]
    assert model.versions[1].created_at is not None
    assert model.versions[1].created_at.isoformat() == manifest["created_at"]


def test_an_activation_says_which_processes_have_it(serve: Callable[..., Served]) -> None:
    served = serve()
    done = served.admin.activate("purchase", 2)
    assert done.everywhere
    assert [(p.pid, p.active, p.loaded) for p in done.processes] == [(os.getpid(), 2, (1, 2))]


def test_an_activation_waits_for_other_processes_and_says_who_is_behind(serve: Callable[..., Served]) -> None:
    class Two(OneProcess):
        other = ProcessState(4242, 1, (1,))

        def states(self, model: str) -> tuple[ProcessState, ...]:
            return (*super().states(model), self.other)

    served = serve()
    processes = Two()
    served.running.models.served.processes = processes
    behind = served.admin.activate("purchase", 2, wait=0.2)
    assert (behind.everywhere, [p.active for p in behind.processes]) == (False, [2, 1])
    timer = threading.Timer(0.3, lambda: setattr(processes, "other", ProcessState(4242, 3, (1, 3))))
    timer.start()
    followed = served.admin.activate("purchase", 3, wait=10)
    timer.join()
    assert (followed.everywhere, [p.active for p in followed.processes]) == (True, [3, 3])


def test_an_activation_waits_until_a_moment_before_the_callers_time_is_over(serve: Callable[..., Served]) -> None:
    class Two(OneProcess):
        def states(self, model: str) -> tuple[ProcessState, ...]:
            return (*super().states(model), ProcessState(4242, 1, (1,)))

    served = serve()
    served.running.models.served.processes = Two()
    began = time.monotonic()
    with grpc.insecure_channel(served.address) as channel:
        request = model_pb2.ActivateModelRequest(model="purchase", version=2, wait_seconds=60)
        reply = model_pb2_grpc.ModelServiceStub(channel).ActivateModel(request, timeout=4)
    assert not reply.everywhere
    assert 2.5 < time.monotonic() - began < 4


def test_the_version_expected_must_be_active(serve: Callable[..., Served]) -> None:
    served = serve()
    with pytest.raises(ServerError, match="version 1 is active, not 2") as error:
        served.admin.activate("purchase", 3, expected=2)
    assert error.value.code == "FAILED_PRECONDITION"
    assert served.admin.activate("purchase", 3, expected=1).model.current == 3
    with pytest.raises(ServerError, match="version 3 is active, not 1"):
        served.admin.rollback("purchase", expected=1)


def test_of_many_activations_that_expect_the_same_version_one_wins(serve: Callable[..., Served]) -> None:
    served = serve()
    won: list[int] = []
    lost: list[str] = []

    def activate(version: int) -> None:
        with ModelClient(served.address) as client:
            try:
                client.activate("purchase", version, expected=1)
                won.append(version)
            except ServerError as error:
                lost.append(error.code)

    threads = [threading.Thread(target=activate, args=(2 + n % 2,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [bundle.linked(served.repository, "purchase")]
    assert lost == ["FAILED_PRECONDITION"] * 7


def test_validate_only_changes_nothing(serve: Callable[..., Served]) -> None:
    served = serve()
    done = served.admin.activate("purchase", 2, validate_only=True)
    assert (done.model.current, done.everywhere) == (1, False)
    assert [(p.active, p.loaded) for p in done.processes] == [(1, (1, 2))]
    assert bundle.linked(served.repository, "purchase") == 1


def test_a_rollback_without_a_version_before_is_refused(serve: Callable[..., Served]) -> None:
    with pytest.raises(ServerError, match="no version was active before") as error:
        serve().admin.rollback("purchase")
    assert error.value.code == "FAILED_PRECONDITION"


def test_versions_are_loaded_and_unloaded(serve: Callable[..., Served]) -> None:
    served = serve()
    assert served.admin.load("purchase", 3).traffic.loaded == (3,)
    assert served.admin.list("purchase")[0].versions[2].state == "loaded"
    after = served.admin.unload("purchase", 3)
    assert (after.traffic.loaded, after.versions[2].state) == ((), "available")
    assert served.admin.unload("purchase", 3) == after  # the answer to the first may have been lost
    for version, code in ((1, "FAILED_PRECONDITION"), (9, "NOT_FOUND")):
        with pytest.raises(ServerError) as error:
            served.admin.unload("purchase", version)
        assert error.value.code == code


def test_a_version_that_was_kept_can_be_let_go_of_once_its_files_are_gone(
    serve: Callable[..., Served], repository: Path
) -> None:
    traffic.write(repository / "purchase", traffic.Traffic(loaded=(3, 4)))
    assert run("unload", "4", "--model-repository", str(repository)).returncode == 0
    shutil.rmtree(repository / "purchase" / "3")
    served = serve()
    assert served.admin.unload("purchase", 3).traffic.loaded == ()
    gone = run("unload", "4", "--address", served.address)
    assert (gone.returncode, "no version 4 in" in gone.stderr) == (2, True)


def test_traffic_that_changed_meanwhile_is_not_written_over(serve: Callable[..., Served]) -> None:
    served = serve()
    (seen,) = served.admin.list("purchase")
    served.admin.route("purchase", Share(2, 100), None, etag=seen.etag)
    with pytest.raises(ServerError, match="the traffic has changed") as error:
        served.admin.route("purchase", None, None, etag=seen.etag)
    assert error.value.code == "FAILED_PRECONDITION"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (model_pb2.ActivateModelRequest(model="purchase"), "version"),
        (model_pb2.ActivateModelRequest(model="purchase", version=2, wait_seconds=61), "wait_seconds"),
        (model_pb2.LoadModelRequest(model="purchase", version=-1), "version"),
        (model_pb2.SetTrafficRequest(
            model="purchase", traffic=model_pb2.Traffic(canary=model_pb2.TrafficShare(version=2, percent=0.001))
        ), "traffic.canary.percent"),
        (model_pb2.SetTrafficRequest(
            model="purchase", traffic=model_pb2.Traffic(shadow=model_pb2.TrafficShare(percent=5))
        ), "traffic.shadow.version"),
        (model_pb2.ActivateModelRequest(model="purchase", wait_seconds=-1), "version wait_seconds"),
        (model_pb2.SetTrafficRequest(
            model="purchase", traffic=model_pb2.Traffic(
                canary=model_pb2.TrafficShare(percent=400), shadow=model_pb2.TrafficShare(version=-3, percent=400)
            )
        ), "traffic.canary.version traffic.canary.percent traffic.shadow.version traffic.shadow.percent"),
    ],
)  # fmt: skip
def test_every_bad_field_is_named(serve: Callable[..., Served], request_: object, field: str) -> None:
    from shoprank.requests import typed

    with grpc.insecure_channel(serve().address) as channel:
        stub = model_pb2_grpc.ModelServiceStub(channel)
        method = getattr(stub, type(request_).__name__.removesuffix("Request"))
        with pytest.raises(grpc.RpcError) as error:
            method(request_)
    wrong = typed(error.value)
    assert isinstance(wrong, InvalidRequest)
    assert [v.field for v in wrong.violations] == field.split()


@pytest.mark.parametrize("model", ["nothing", "", "../purchase"])
def test_an_unknown_model_is_not_found(serve: Callable[..., Served], model: str) -> None:
    served = serve()
    with pytest.raises(ServerError) as error:
        served.admin.activate(model, 1)
    assert error.value.code == "NOT_FOUND"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shoprank", "models", *arguments]
    environment = {**os.environ, "COLUMNS": "160"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("through_a_server", [False, True])
def test_the_commands_work_on_the_disk_and_through_a_server(
    serve: Callable[..., Served], repository: Path, through_a_server: bool
) -> None:
    where = ["--address", serve().address] if through_a_server else ["--model-repository", str(repository)]

    def said(*arguments: str) -> str:
        done = run(*arguments, *where)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "version 2 is active" in said("activate", "2", "--if-current", "1")
    assert "version 1 is active again" in said("rollback")
    assert "version 3, 12.5 %" in said("traffic", "--canary", "3", "--canary-percent", "12.5")
    assert "shadow: version 2, 1 %" in said("traffic", "--shadow", "2", "--shadow-percent", "1")
    assert "canary: version 3, 20 %" in said("traffic", "--canary-percent", "20")
    assert "version 3 is good" in said("activate", "3", "--validate-only")
    other = run("activate", "3", "--validate-only", "--if-current", "2", *where)
    assert (other.returncode, "version 1 is active, not 2" in other.stderr) == (1, True)
    assert "version 2" in said("load", "2")
    listed = said("list")
    assert "canary 20 %" in listed
    assert "shadow 1 %" in listed
    assert "canary: none" in said("traffic", "--canary", "0")
    serves = run("unload", "2", *where)
    assert (serves.returncode, "version 2 serves; activate another" in serves.stderr) == (1, True)
    assert "shadow: none" in said("traffic", "--shadow", "0")
    assert "version 2" in said("unload", "2")
    assert traffic.read(repository / "purchase") == traffic.Traffic()
    assert bundle.linked(repository, "purchase") == 1
    refused = run("activate", "2", "--if-current", "3", *where)
    assert refused.returncode == 1
    assert "version 1 is active, not 3" in refused.stderr
    unknown = run("activate", "9", *where)
    assert unknown.returncode == 2
    assert "no version 9" in unknown.stderr
    if through_a_server:
        for wrong in (["load", "99999999999"], ["activate", "1", "--if-current", "99999999999"],
                      ["traffic", "--canary", "99999999999", "--canary-percent", "1"]):  # fmt: skip
            refused = run(*wrong, *where)
            assert refused.returncode == 2
            assert "does not fit: 99999999999" in refused.stderr
