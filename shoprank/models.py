"""A client of `shoprank.v1.ModelService`: which versions a running server has, and who is served by which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import PathLike
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from shoprank.client import DEFAULT_ADDRESS
from shoprank.connection import Connection, Token, checked_seconds
from shoprank.requests import build, typed
from shoprank.sources import CandidateSources
from shoprank.traffic import Share, Traffic, steps
from shoprank.v1 import model_pb2 as pb
from shoprank.v1 import model_pb2_grpc

DEFAULT_TIMEOUT = 30.0
"""Seconds: a version is verified, loaded and warmed up within a call."""

Reply = TypeVar("Reply")


@dataclass(frozen=True, slots=True)
class Version:
    """A version. state: available, loading, loaded, waiting or refused; of one on disk, good or bad. reason: why.

    roles: active, canary, shadow, previous. created_at: when it was exported, None where its manifest cannot be read.
    metrics: on the test set. sources: what those of its candidates know, None where its manifest does not say.
    """

    version: int
    state: str
    roles: tuple[str, ...] = ()
    reason: str = ""
    created_at: datetime | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    sources: CandidateSources | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the repository. current: version active in the repository; active: in the process that answered.

    previous: version that a rollback makes active. Each of the three is 0 for none. etag: of the traffic. reason: why
    the traffic on disk cannot be read; a server leaves it as it was, and without one it counts as none.
    """

    name: str
    kind: str
    served: bool
    current: int
    active: int
    previous: int
    traffic: Traffic
    etag: str
    versions: tuple[Version, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """One process that serves: its active version, 0 for none, and those it has loaded."""

    pid: int
    active: int
    loaded: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Activation:
    """The model after a change of its active version, and whether every process had followed within the time waited."""

    model: Model
    processes: tuple[Process, ...]
    everywhere: bool


class ModelClient:
    """Looks after the models of a server. Calls raise InvalidRequest, and ServerError with the gRPC code.

    timeout: seconds a call may take, a version's loading included, beside those that it is told to wait. The others are
    as of `shoprank.Client`.

    >>> with ModelClient("127.0.0.1:50051") as models:        # doctest: +SKIP
    ...     models.activate("purchase", 2, expected=1)
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        *,
        root_certificate: str | PathLike[str] | None = None,
        certificate: str | PathLike[str] | None = None,
        key: str | PathLike[str] | None = None,
        token: Token | None = None,
    ) -> None:
        self._timeout = checked_seconds(timeout)
        connection = Connection(address, root_certificate, certificate, key, token, credentials)
        self._channel = connection.channel(())
        self._stub = model_pb2_grpc.ModelServiceStub(connection.authorized(self._channel))

    def list(self, model: str = "") -> tuple[Model, ...]:
        """The model, or all of them."""
        reply = self._call(self._stub.ListModels, build(pb.ListModelsRequest, model=model))
        return tuple(map(_model, reply.models))

    def load(self, model: str, version: int) -> Model:
        """Verify a version, load it and keep it loaded."""
        return _model(self._call(self._stub.LoadModel, build(pb.LoadModelRequest, model=model, version=version)).model)

    def unload(self, model: str, version: int) -> Model:
        """Let go of a version that nobody is served by."""
        return _model(
            self._call(self._stub.UnloadModel, build(pb.UnloadModelRequest, model=model, version=version)).model
        )

    def activate(
        self,
        model: str,
        version: int,
        *,
        expected: int | None = None,
        validate_only: bool = False,
        wait: float | None = None,
    ) -> Activation:
        """Make a version active. expected: version that must be active now, 0 for none. wait: seconds for processes."""
        request = build(
            pb.ActivateModelRequest,
            model=model,
            version=version,
            expected_current_version=expected,
            validate_only=validate_only,
            wait_seconds=wait,
        )
        return _activation(self._call(self._stub.ActivateModel, request, wait))

    def rollback(self, model: str, *, expected: int | None = None, wait: float | None = None) -> Activation:
        """Make the version active again that was active before."""
        request = build(pb.RollbackModelRequest, model=model, expected_current_version=expected, wait_seconds=wait)
        return _activation(self._call(self._stub.RollbackModel, request, wait))

    def route(self, model: str, canary: Share | None, shadow: Share | None, *, etag: str = "") -> Model:
        """Replace canary and shadow. etag: of the traffic as it must be now; anything where it is empty."""
        traffic = pb.Traffic(canary=_share(canary), shadow=_share(shadow), etag=etag)
        return _model(self._call(self._stub.SetTraffic, pb.SetTrafficRequest(model=model, traffic=traffic)).model)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., Reply], request: Any, wait: float | None = None) -> Reply:
        try:
            return method(request, timeout=self._timeout + (wait or 0.0))
        except grpc.RpcError as error:
            raise typed(error) from error


def _model(message: pb.Model) -> Model:
    traffic = message.traffic
    return Model(
        name=message.name,
        kind=message.kind,
        served=message.served,
        current=message.current_version,
        active=message.active_version,
        previous=message.previous_version,
        traffic=Traffic(
            _read_share(traffic.canary) if traffic.HasField("canary") else None,
            _read_share(traffic.shadow) if traffic.HasField("shadow") else None,
            tuple(traffic.loaded_versions),
        ),
        etag=traffic.etag,
        versions=tuple(map(_version, message.versions)),
        reason=message.reason,
    )


def _version(message: pb.ModelVersion) -> Version:
    return Version(
        version=message.version,
        state=_word(pb.VersionState.Name(message.state)),
        roles=tuple(_word(pb.VersionRole.Name(role)) for role in message.roles),
        reason=message.reason,
        created_at=message.create_time.ToDatetime(UTC) if message.HasField("create_time") else None,
        metrics=dict(message.metrics),
        sources=_sources(message.sources) if message.HasField("sources") else None,
    )


def _sources(message: pb.CandidateSources) -> CandidateSources:
    before = message.purchases_before.ToDatetime(UTC)
    return CandidateSources(before, tuple(message.learned), message.network_version)


def _word(name: str) -> str:
    """The last word of an enum's name, in small letters."""
    return name.rpartition("_")[2].lower()


def _share(share: Share | None) -> pb.TrafficShare | None:
    return build(pb.TrafficShare, version=share.version, percent=share.percent) if share else None


def _read_share(message: pb.TrafficShare) -> Share:
    return Share(message.version, steps(message.percent))


def _activation(reply: pb.ActivateModelResponse | pb.RollbackModelResponse) -> Activation:
    processes = tuple(Process(p.pid, p.active_version, tuple(p.loaded_versions)) for p in reply.processes)
    return Activation(_model(reply.model), processes, reply.everywhere)
