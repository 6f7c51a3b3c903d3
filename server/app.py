"""Builds the server from its settings and runs it until it is told to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from feature_repo.paths import DataPaths
from feature_repo.store import applied_store
from server.catalogue import Catalogue, Listing
from server.errors import translated
from server.features import OnlineFeatures
from server.inference import grpc_service_pb2
from server.inference.reflected import gathered
from server.inference.servicer import Inference
from server.items import Items
from server.many import Bounds as BatchBounds
from server.methods import Stage, method_of, register
from server.models.model import Model, require_own_shop
from server.models.processes import Processes
from server.models.repository import Repository
from server.models.servicer import ModelAdmin
from server.process.admission import Admission
from server.process.bounds import Bounds
from server.process.channel import options
from server.process.cores import available
from server.process.gate import Gate
from server.process.health import Health
from server.process.listener import stop_listening
from server.process.port import authority, reserve
from server.process.readiness import Readiness
from server.ranker import Ranker
from server.security.exposure import refuse_exposed
from server.security.guard import guard
from server.security.pseudonym import Pseudonyms, pseudonyms
from server.security.redaction import Redaction
from server.security.tls import reloaded, server_credentials
from server.servicers import Catalog, Ranking
from server.settings import Settings
from server.slates.recommender import Recommender
from server.slates.servicer import Recommendations
from server.telemetry.instruments import Instruments, Threads
from server.telemetry.recorder import Recorder
from shoprank.bundle import Manifest
from shoprank.errors import FeatureStoreError, UserError
from shoprank.v1 import catalog_pb2, model_pb2, ranking_pb2, recommendation_pb2

SERVICES = tuple(
    service.full_name
    for file in (ranking_pb2, recommendation_pb2, catalog_pb2, model_pb2, grpc_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)
BOUNDED = (
    *(
        method_of(method).path
        for file in (ranking_pb2, recommendation_pb2, catalog_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if not method.client_streaming and not method.server_streaming
    ),
    "/inference.GRPCInferenceService/ModelInfer",
)
"""Methods whose calls are bounded; those of others pass whatever the load."""
BRIEF = ("/shoprank.v1.RankingService/RankItems",)
"""Methods of which one thread answers several calls side by side; they step aside for what takes long."""
STREAMS = ("/shoprank.v1.RankingService/StreamRankItems",)
"""Methods of which requests are answered side by side with those of others."""

SETTLE_SECONDS = 0.05
"""Time for connections on their way to a socket that has stopped listening."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Running:
    """A started server: its address, its model, the number of items it knows, and what to stop."""

    address: str
    ranker: Ranker
    models: Repository
    manifest: Manifest
    items: int
    _server: grpc.Server
    instruments: Instruments
    _readiness: Readiness
    _settings: Settings
    _shared_port: bool

    def description(self) -> str:
        """What it serves, for people."""
        manifest = self.manifest
        return f"{manifest.model} version {manifest.version} with {manifest.feature_service} over {self.items:,} items"

    def stop(self) -> None:
        """Say NOT_SERVING, go on for the drain period, take no more calls, and end those in flight within the grace
        period. Returns when stopped."""
        self._readiness.stop()
        self.instruments.recorder.ready(False)
        time.sleep(self._settings.process.drain_seconds)
        if self._shared_port:
            stop_listening(self._settings.port)
            time.sleep(SETTLE_SECONDS)
        self._server.stop(self._settings.grace_seconds).wait()
        self.models.stop()
        self.instruments.stop()


def start(
    settings: Settings,
    shared_port: bool = False,
    place: tuple[str, int] | None = None,
    processes: Processes | None = None,
    pseudonym_key: bytes | None = None,
) -> Running:
    """Load the model, look whether the store answers, and listen; where the port is shared, beside other processes.

    place: block of telemetry and slot in it, of a worker whose supervisor serves the metrics. processes: where workers
    tell each other what they have loaded. pseudonym_key: that of all workers, where no file has one.

    Raises BundleError, FeatureStoreError or UserError where something is not in place, the port is taken included.
    """
    refuse_exposed(settings.host, settings.security)
    names = None if settings.security.log_user_ids else pseudonyms(settings.security, pseudonym_key)
    instruments = Instruments.start(settings, place, names.of if names else str)
    try:
        with nullcontext() if shared_port else reserve(settings.host, settings.port) as held:
            port = settings.port if held is None else held.getsockname()[1]
            return _start(settings, shared_port, port, instruments, names, processes)
    except BaseException:
        instruments.stop()
        raise


def _start(
    settings: Settings,
    shared_port: bool,
    port: int,
    instruments: Instruments,
    names: Pseudonyms | None,
    processes: Processes | None,
) -> Running:
    credentials = None
    if (served := reloaded(settings.security)) is not None:
        credentials = server_credentials(served, settings.security.client_ca is not None)
        instruments.follow_certificate(served)
    recorder = instruments.recorder
    server = _server(settings, shared_port, recorder)
    paths = DataPaths(settings.data, settings.redis)
    features = OnlineFeatures(applied_store(paths))
    catalogue = Catalogue.read(paths.items)
    items = Items(features, max(settings.cached_items, len(catalogue.ids) * 5 // 4))
    listing = Listing(items, catalogue)
    count = len(listing.all(features.items_version()))
    models = _models(settings, features, listing, catalogue, names, processes)
    manifest = models.start().manifest
    answered = instruments.follow(models)
    ranker = Ranker(models.served.of, features, items, listing, _clock(settings, listing), answered)
    stages = [instruments.watch, *_stages(settings, names)]
    health_servicer = _register(server, settings, ranker, catalogue, models, stages, recorder.unknown_items)
    if settings.limits.gate:
        bounds = Bounds.of(settings.limits, settings.threads, settings.read_ahead)
        refused, awake = partial(recorder.shed, "queue"), settings.process.awake_seconds
        Gate(server, BOUNDED, bounds, refused, recorder.queued, BRIEF, STREAMS, awake)
    # Only now: the kernel hands connections to every process that listens, and gRPC's core ends the calls that come
    # before it is asked for them.
    listen(server, settings.host, port, credentials)
    server.start()
    checks = {"store": features.check, "model": lambda: models.served.of("")}
    readiness = Readiness(health_servicer, SERVICES, checks, settings.process.probe_seconds, recorder.ready)
    readiness.start()
    address = authority(settings.host, port)
    return Running(address, ranker, models, manifest, count, server, instruments, readiness, settings, shared_port)


def _models(
    settings: Settings,
    features: OnlineFeatures,
    listing: Listing,
    catalogue: Catalogue,
    names: Pseudonyms | None,
    processes: Processes | None,
) -> Repository:
    """The models of the repository, not loaded yet. names: of users in the shadow's log; None for their ids."""

    def prepare(model: Model) -> None:
        require_own_shop(model, catalogue.ids, settings.data)
        try:
            model.prepare(listing.all(features.items_version()))
        except FeatureStoreError as error:  # then the first calls compute it
            log.warning("version %s is made ready without the items' rows: %s", model.manifest.version, error)

    pseudonym = names.of if names else str
    threads = settings.model_threads or len(available())
    return Repository(
        settings.model_repository, settings.model, settings.models, threads, pseudonym, prepare, processes
    )


def _clock(settings: Settings, listing: Listing) -> Callable[[int], int]:
    if settings.clock == "wall":
        return lambda version: int(time.time())
    return listing.newest


def _server(settings: Settings, shared_port: bool, recorder: Recorder) -> grpc.Server:
    limits = settings.limits
    # Behind a gate these threads answer reflection alone, each call a thread for as long as it lasts.
    threads = Threads(limits.streaming if limits.gate else settings.threads, recorder)
    return grpc.server(threads, options=options(limits, shared_port))


def _register(
    server: grpc.Server,
    settings: Settings,
    ranker: Ranker,
    catalogue: Catalogue,
    models: Repository,
    stages: list[Stage],
    unknown: Callable[[int], None],
) -> Health:
    health_servicer = Health(SERVICES)
    for file, name, servicer in (
        (ranking_pb2, "RankingService", Ranking(ranker, settings.max_candidates, BatchBounds.of(settings))),
        (
            recommendation_pb2,
            "RecommendationService",
            Recommendations(Recommender(ranker, catalogue), settings.max_candidates),
        ),
        (catalog_pb2, "CatalogService", Catalog(catalogue, settings.max_candidates, unknown)),
        (model_pb2, "ModelService", ModelAdmin(models)),
        (
            grpc_service_pb2,
            "GRPCInferenceService",
            Inference(models, settings.models.max_rows, health_servicer.is_serving),
        ),
    ):
        register(server, file.DESCRIPTOR.services_by_name[name], servicer, stages)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
    ours = (ranking_pb2, recommendation_pb2, catalog_pb2, model_pb2)
    files = (*ours, grpc_service_pb2, health_pb2, reflection_pb2)
    described = reflection.ReflectionServicer(names, gathered(*(file.DESCRIPTOR for file in files)))
    register(server, reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"], described, stages)
    return health_servicer


def _stages(settings: Settings, names: Pseudonyms | None) -> list[Stage]:
    """What every call passes, outermost first. names: of users in what is logged; None for their ids."""
    admission = Admission.of(settings.limits)
    if names is None:
        return [translated, guard(settings.security, None), admission]
    return [Redaction(names), translated, guard(settings.security, names), admission]


def listen(server: grpc.Server, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
    """Listen on the address, with TLS where credentials are given, and return the port.

    Raises UserError where the address cannot be had.
    """
    address = authority(host, port)
    try:
        if credentials is not None:
            return server.add_secure_port(address, credentials)
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise UserError(f"{address}: cannot listen there; is the port taken? choose another with --port") from error
