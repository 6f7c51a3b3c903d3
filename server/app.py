"""Builds the server from its settings and runs it until it is told to stop."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

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
from server.many import Bounds
from server.methods import Stage, register
from server.models.model import Model
from server.models.repository import Repository
from server.models.servicer import ModelAdmin
from server.ranker import Ranker
from server.security.exposure import refuse_exposed
from server.security.guard import guard
from server.security.pseudonym import Pseudonyms, pseudonyms
from server.security.redaction import Redaction
from server.security.tls import server_credentials
from server.servicers import Catalog, Ranking
from server.settings import Settings
from server.telemetry.instruments import Instruments, Threads
from shoprank.bundle import Manifest
from shoprank.errors import FeatureStoreError, UserError
from shoprank.v1 import catalog_pb2, model_pb2, ranking_pb2

SERVICES = tuple(
    service.full_name
    for file in (ranking_pb2, catalog_pb2, model_pb2, grpc_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)
MAX_REQUEST_BYTES = 4 * 1024 * 1024
MAX_REPLY_BYTES = 64 * 1024 * 1024

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
    _health: health.HealthServicer
    _grace: float
    instruments: Instruments

    def stop(self) -> None:
        """Say NOT_SERVING, let requests in flight end within the grace period, then stop. Returns when stopped."""
        self._health.enter_graceful_shutdown()
        self.instruments.recorder.ready(False)
        self._server.stop(self._grace).wait()
        self.models.stop()
        self.instruments.stop()


def start(settings: Settings, place: tuple[str, int] | None = None) -> Running:
    """Load the model, look whether the store answers, and listen.

    place: block of telemetry and slot in it, of a worker whose supervisor serves the metrics. Raises BundleError,
    FeatureStoreError or UserError where something is not in place, the port is taken included.
    """
    refuse_exposed(settings.host, settings.security)
    names = None if settings.security.log_user_ids else pseudonyms(settings.security)
    instruments = Instruments.start(settings, place, names.of if names else str)
    try:
        return _start(settings, instruments, names)
    except BaseException:
        instruments.stop()
        raise


def _start(settings: Settings, instruments: Instruments, names: Pseudonyms | None) -> Running:
    server = _server(settings.threads, instruments)
    port = listen(server, settings.host, settings.port, server_credentials(settings.security))
    paths = DataPaths(settings.data, settings.redis)
    features = OnlineFeatures(applied_store(paths))
    catalogue = Catalogue.read(paths.items)
    items = Items(features, max(settings.cached_items, len(catalogue.ids) * 5 // 4))
    listing = Listing(items, catalogue)
    count = len(listing.all(features.items_version()))
    models = _models(settings, features, listing, names)
    manifest = models.start().manifest
    answered = instruments.follow(models, features.ttl)
    ranker = Ranker(models.served.of, features, items, listing, _clock(settings, listing), answered)
    stages = [instruments.watch, *_stages(settings, names)]
    health_servicer = _register(server, settings, ranker, catalogue, models, stages)
    server.start()
    instruments.recorder.ready(True)
    for name in ("", *SERVICES):
        health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    address = f"{settings.host}:{port}"
    grace = settings.grace_seconds
    return Running(address, ranker, models, manifest, count, server, health_servicer, grace, instruments)


def _models(settings: Settings, features: OnlineFeatures, listing: Listing, names: Pseudonyms | None) -> Repository:
    """The models of the repository, not loaded yet. names: of users in the shadow's log; None for their ids."""

    def prepare(model: Model) -> None:
        try:
            model.prepare(listing.all(features.items_version()))
        except FeatureStoreError as error:  # then the first calls compute it
            log.warning("version %s is made ready without the items' rows: %s", model.manifest.version, error)

    pseudonym = names.of if names else str
    return Repository(
        settings.model_repository, settings.model, settings.models, settings.model_threads, pseudonym, prepare
    )


def _clock(settings: Settings, listing: Listing) -> Callable[[int], int]:
    if settings.clock == "wall":
        return lambda version: int(time.time())
    return listing.newest


def _server(threads: int, instruments: Instruments) -> grpc.Server:
    return grpc.server(
        Threads(threads, instruments.recorder),
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
            ("grpc.max_send_message_length", MAX_REPLY_BYTES),
        ],
    )


def _register(
    server: grpc.Server,
    settings: Settings,
    ranker: Ranker,
    catalogue: Catalogue,
    models: Repository,
    stages: list[Stage],
) -> health.HealthServicer:
    for file, name, servicer in (
        (ranking_pb2, "RankingService", Ranking(ranker, settings.max_candidates, Bounds.of(settings))),
        (catalog_pb2, "CatalogService", Catalog(catalogue, settings.max_candidates)),
        (model_pb2, "ModelService", ModelAdmin(models)),
        (grpc_service_pb2, "GRPCInferenceService", Inference(models, settings.models.max_rows)),
    ):
        register(server, file.DESCRIPTOR.services_by_name[name], servicer, stages)
    health_servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
    files = (ranking_pb2, catalog_pb2, model_pb2, grpc_service_pb2, health_pb2, reflection_pb2)
    described = reflection.ReflectionServicer(names, gathered(*(file.DESCRIPTOR for file in files)))
    register(server, reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"], described, stages)
    return health_servicer


def _stages(settings: Settings, names: Pseudonyms | None) -> list[Stage]:
    """What every call passes, outermost first. names: of users in what is logged; None for their ids."""
    if names is None:
        return [translated, guard(settings.security, None)]
    return [Redaction(names), translated, guard(settings.security, names)]


def listen(server: grpc.Server, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
    """Listen on the address, with TLS where credentials are given, and return the port.

    Raises UserError where the address cannot be had.
    """
    try:
        if credentials is not None:
            return server.add_secure_port(f"{host}:{port}", credentials)
        return server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise UserError(f"{host}:{port}: cannot listen there; is the port taken? choose another with --port") from error


def serve(running: Running) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully."""
    told_to_stop = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        told_to_stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    told_to_stop.wait()
    log.info("stopping")
    running.stop()
