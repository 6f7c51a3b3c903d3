"""The gRPC service `shoprank.v1.ModelService`: parse, one change of the registry, reply."""

from __future__ import annotations

import time
from datetime import datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from server.models.processes import ProcessState
from server.models.registry import Models
from server.models.repository import Repository
from server.models.status import ModelStatus, Role, State, VersionStatus, status
from shoprank.bad_fields import BadFields
from shoprank.errors import Conflict, UserError
from shoprank.sources import CandidateSources
from shoprank.traffic import Share, Traffic, steps
from shoprank.v1 import model_pb2 as pb

WAIT_SECONDS = 5.0
MAX_WAIT_SECONDS = 60.0
LEFT_SECONDS = 1.0
"""Of the caller's time, for the reply."""
LOOK_SECONDS = 0.02
STATES = {state: pb.VersionState.Value(f"VERSION_STATE_{state.name}") for state in State}
ROLES = {role: pb.VersionRole.Value(f"VERSION_ROLE_{role.name}") for role in Role}


class ModelAdmin:
    """`shoprank.v1.ModelService`."""

    def __init__(self, models: Repository) -> None:
        self._models = models

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        names = [request.model] if request.model else self._models.names()
        return pb.ListModelsResponse(models=[self._described(self._models.find(name)) for name in names])

    def LoadModel(self, request: pb.LoadModelRequest, context: grpc.ServicerContext) -> pb.LoadModelResponse:
        models = self._models.find(request.model)
        models.load(_checked_version(request))
        return pb.LoadModelResponse(model=self._described(models))

    def UnloadModel(self, request: pb.UnloadModelRequest, context: grpc.ServicerContext) -> pb.UnloadModelResponse:
        models = self._models.find(request.model)
        models.unload(_checked_version(request))
        return pb.UnloadModelResponse(model=self._described(models))

    def ActivateModel(
        self, request: pb.ActivateModelRequest, context: grpc.ServicerContext
    ) -> pb.ActivateModelResponse:
        models = self._models.find(request.model)
        bad, version = BadFields(), request.version
        _version(version, bad)
        wait = _wait(request, bad)
        bad.refuse(pb.ActivateModelRequest)
        if request.validate_only:
            models.check(version, _expected(request))
        else:
            models.activate(version, _expected(request))
        processes = _await(models, version, 0 if request.validate_only else wait, context)
        return pb.ActivateModelResponse(
            model=self._described(models),
            processes=map(_process, processes),
            everywhere=all(p.active == version for p in processes),
        )

    def RollbackModel(
        self, request: pb.RollbackModelRequest, context: grpc.ServicerContext
    ) -> pb.RollbackModelResponse:
        models = self._models.find(request.model)
        bad = BadFields()
        wait = _wait(request, bad)
        bad.refuse(pb.RollbackModelRequest)
        version = models.rollback(_expected(request))
        processes = _await(models, version, wait, context)
        return pb.RollbackModelResponse(
            model=self._described(models),
            processes=map(_process, processes),
            everywhere=all(p.active == version for p in processes),
        )

    def SetTraffic(self, request: pb.SetTrafficRequest, context: grpc.ServicerContext) -> pb.SetTrafficResponse:
        models = self._models.find(request.model)
        asked = request.traffic
        bad = BadFields()
        canary = _share(asked.canary, "traffic.canary", bad) if asked.HasField("canary") else None
        shadow = _share(asked.shadow, "traffic.shadow", bad) if asked.HasField("shadow") else None
        bad.refuse(pb.SetTrafficRequest)

        def change(now: Traffic) -> Traffic:
            if asked.etag and asked.etag != now.etag:
                raise Conflict(
                    f"model {models.name}: the traffic has changed: its etag is {now.etag}, not {asked.etag}"
                )
            return Traffic(canary, shadow, now.loaded)

        models.route(change)
        return pb.SetTrafficResponse(model=self._described(models))

    def _described(self, models: Models) -> pb.Model:
        return described(status(models), models is self._models.served)


def described(found: ModelStatus, served: bool) -> pb.Model:
    """The state of a model as a message."""
    kinds = [v.manifest.kind for v in found.versions if v.manifest]
    return pb.Model(
        name=found.name,
        kind=kinds[-1] if kinds else "",
        served=served,
        current_version=found.current,
        active_version=found.active,
        previous_version=found.previous,
        traffic=pb.Traffic(
            canary=_share_message(found.traffic.canary),
            shadow=_share_message(found.traffic.shadow),
            loaded_versions=found.traffic.loaded,
            etag=found.traffic.etag,
        ),
        versions=map(_version_message, found.versions),
        reason=found.reason,
    )


def _version_message(version: VersionStatus) -> pb.ModelVersion:
    message = pb.ModelVersion(
        version=version.version,
        state=STATES[version.state],
        roles=[ROLES[role] for role in version.roles],
        reason=version.reason,
    )
    if version.manifest:
        message.create_time.CopyFrom(_timestamp(version.manifest.created_at))
        message.metrics.update(version.manifest.metrics)
        message.schema_hash = version.manifest.schema_hash
        if sources := CandidateSources.of(version.manifest):
            message.sources.purchases_before.FromDatetime(sources.purchases_before)
            message.sources.learned.extend(sources.learned)
            message.sources.network_version = sources.network_version
    return message


def _timestamp(text: str) -> Timestamp:
    try:
        return Timestamp(seconds=int(datetime.fromisoformat(text).timestamp()))
    except ValueError:
        return Timestamp()


def _share_message(share: Share | None) -> pb.TrafficShare | None:
    return pb.TrafficShare(version=share.version, percent=share.percent) if share else None


def _process(state: ProcessState) -> pb.ProcessState:
    return pb.ProcessState(pid=state.pid, active_version=state.active or 0, loaded_versions=state.loaded)


def _checked_version(request: pb.LoadModelRequest | pb.UnloadModelRequest) -> int:
    bad = BadFields()
    _version(request.version, bad)
    bad.refuse(type(request))
    return request.version


def _version(version: int, bad: BadFields, field: str = "version") -> None:
    if version < 1:
        bad.add(field, f"is {version}; versions are whole numbers from 1")


def _share(share: pb.TrafficShare, field: str, bad: BadFields) -> Share | None:
    _version(share.version, bad, f"{field}.version")
    try:
        return Share(share.version, steps(share.percent))
    except UserError as error:
        bad.add(f"{field}.percent", str(error))
        return None


def _expected(request: pb.ActivateModelRequest | pb.RollbackModelRequest) -> int | None:
    return request.expected_current_version if request.HasField("expected_current_version") else None


def _wait(request: pb.ActivateModelRequest | pb.RollbackModelRequest, bad: BadFields) -> float:
    wait = request.wait_seconds if request.HasField("wait_seconds") else WAIT_SECONDS
    if not 0 <= wait <= MAX_WAIT_SECONDS:
        bad.add("wait_seconds", f"is {wait:g}, not 0 to {MAX_WAIT_SECONDS:g}")
    return wait


def _await(models: Models, version: int, wait: float, context: grpc.ServicerContext) -> list[ProcessState]:
    """The state of every process, once all have the version active, or the time to wait or the caller's is over."""
    remaining = context.time_remaining()
    left = wait if remaining is None else max(remaining - LEFT_SECONDS, remaining / 2)
    end = time.monotonic() + min(wait, left)
    while True:
        states = list(models.processes.states(models.name))
        if all(s.active == version for s in states) or time.monotonic() >= end:
            return states
        time.sleep(LOOK_SECONDS)
