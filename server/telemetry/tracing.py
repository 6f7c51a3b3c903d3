"""OpenTelemetry traces: a span a call, continued from the caller's, and one for each of its phases.

Needs the extra `tracing`; nothing else imports this module, and it is imported where traces are asked for alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextvars import Token
from time import perf_counter
from typing import Any

import grpc
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server.call import Call, Phase
from server.methods import Method
from server.telemetry.access import FAULTS

HEADERS = ("traceparent", "tracestate")
"""Metadata of https://www.w3.org/TR/trace-context/."""

EXPORT_SECONDS = 2
"""Time that sending spans may take; a server that stops waits no longer for it."""


class TracedCall(Call):
    """A call with its span, and when each of its phases began and ended, `perf_counter`.

    wall: when it began, nanoseconds since 1970.
    """

    __slots__ = ("marks", "span", "token", "wall")

    def __init__(self, call: Call, span: Span, token: Token[Context], wall: int) -> None:
        super().__init__(call.method, call.request_id)
        self.began = self.marked = call.began
        self.span = span
        self.token = token
        self.wall = wall
        self.marks: list[tuple[Phase, float, float]] = []

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hexadecimal digits; "" where it is not recorded."""
        return f"{self.span.get_span_context().trace_id:032x}" if self.span.is_recording() else ""

    def mark(self, phase: Phase) -> None:
        """As `Call.mark`."""
        began = self.marked
        super().mark(phase)
        self.marks.append((phase, began, self.marked))

    def at(self, moment: float) -> int:
        """A moment of `perf_counter` as nanoseconds since 1970."""
        return self.wall + int((moment - self.began) * 1e9)


class Tracing:
    """Makes the spans. A call whose caller decided whether it is traced is as the caller decided.

    endpoint: OTLP over gRPC; in the clear where it begins with http://. ratio: share of the other calls traced.
    exporter: another way for spans to go.
    """

    def __init__(self, endpoint: str, ratio: float, version: str, exporter: SpanExporter | None = None) -> None:
        resource = Resource.create(
            {"service.name": "shoprank", "service.version": version, "service.instance.id": str(os.getpid())}
        )
        self._provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)), resource=resource)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS))
        )
        self._tracer = self._provider.get_tracer("shoprank.server", version)
        self._propagator = TraceContextTextMapPropagator()

    def began(self, method: Method, metadata: Any, request_id: str) -> Call:
        """A call has arrived; its span is the current one from now on."""
        answering, wall = Call(method.path, request_id), time.time_ns()
        carrier: Mapping[str, str] = {k: v for k, v in metadata or () if k in HEADERS and isinstance(v, str)}
        parent = self._propagator.extract(carrier) if carrier else Context()
        span = self._tracer.start_span(method.path.removeprefix("/"), parent, SpanKind.SERVER, start_time=wall)
        if not span.is_recording():
            return answering
        span.set_attributes(
            {
                "rpc.system": "grpc",
                "rpc.service": method.service,
                "rpc.method": method.name,
                "shoprank.request_id": request_id,
            }
        )
        token = contexts.attach(trace.set_span_in_context(span))
        return TracedCall(answering, span, token, wall)

    def ended(self, answering: Call, code: grpc.StatusCode) -> None:
        """The call has ended: so have its phases and its span."""
        if not isinstance(answering, TracedCall):
            return
        span, end = answering.span, answering.at(perf_counter())
        within = trace.set_span_in_context(span)
        for phase, began, ended in answering.marks:
            part = self._tracer.start_span(phase, within, start_time=answering.at(began))
            part.end(answering.at(ended))
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code in FAULTS:
            span.set_status(Status(StatusCode.ERROR, code.name))
        span.end(end)
        contexts.detach(answering.token)

    def stop(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
