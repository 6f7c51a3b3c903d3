"""The health service, for services that are all known from the start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse


class Health(health.HealthServicer):
    """As grpcio's, which remembers every name that anybody ever watched; this one keeps none but its own.

    services: full names; "" is the server.
    """

    def __init__(self, services: Sequence[str]) -> None:
        super().__init__()
        self._known = frozenset(("", *services))

    def is_serving(self) -> bool:
        """Whether the server as a whole is."""
        with self._lock:
            return bool(self._server_status.get("") == HealthCheckResponse.SERVING)

    def Watch(  # type: ignore[override]  # grpcio's server always gives the callback
        self,
        request: HealthCheckRequest,
        context: grpc.ServicerContext,
        send_response_callback: Callable[[HealthCheckResponse | None], None],
    ) -> Any:
        if request.service in self._known:
            return super().Watch(request, context, send_response_callback)
        send_response_callback(HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN))
        context.add_callback(partial(send_response_callback, None))
        return None
