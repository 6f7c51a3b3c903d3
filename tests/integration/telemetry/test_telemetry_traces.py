"""Traces reach a collector over OTLP, continued from the caller's."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from server.methods import register
from server.telemetry.access import AccessLog
from server.telemetry.recorder import Recorder
from server.telemetry.references import References
from server.telemetry.sampler import Sampler
from server.telemetry.settings import Telemetry
from server.telemetry.slot import Slot
from server.telemetry.tracing import Tracing
from server.telemetry.watch import Watch
from shoprank.v1 import ranking_pb2, ranking_pb2_grpc
from tests.integration.telemetry.conftest import Measured

ITEMS = [f"i{i}" for i in range(10)]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
REQUEST = ranking_pb2.RankItemsRequest(user_id="u1", item_ids=ITEMS)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans it is sent."""

    def __init__(self) -> None:
        self.spans: list[trace_pb2.Span] = []
        self.attributes: dict[str, str] = {}
        self._server = grpc.server(ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            self.attributes |= {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def collector() -> Iterator[Collector]:
    started = Collector()
    yield started
    started.stop()


def ask(server: Measured, *requests: ranking_pb2.RankItemsRequest, **metadata: str) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        for request in requests:
            with contextlib.suppress(grpc.RpcError):
                stub.RankItems(request, metadata=tuple(metadata.items()))


def attributes(span: trace_pb2.Span) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_a_call_is_a_span_of_its_callers_trace_with_one_of_each_phase(
    measured: Callable[..., Measured], collector: Collector
) -> None:
    server = measured(traces=collector.endpoint, trace_ratio=0)
    ask(server, REQUEST, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="shop=1")
    server.running.stop()
    (call,) = [span for span in collector.spans if span.kind == trace_pb2.Span.SPAN_KIND_SERVER]
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT)
    assert call.name == "shoprank.v1.RankingService/RankItems"
    found = attributes(call)
    assert (found["rpc.system"], found["rpc.method"], found["rpc.grpc.status_code"]) == ("grpc", "RankItems", 0)
    assert "u1" not in str(call), "a user id is in the trace"
    phases = {span.name: span for span in collector.spans if span is not call}
    assert set(phases) == {"parse", "features", "inference", "reply"}
    ordered = [phases[name] for name in ("parse", "features", "inference", "reply")]
    assert ordered[0].start_time_unix_nano == call.start_time_unix_nano
    for span, after in zip(ordered, [*ordered[1:], None], strict=True):
        assert span.parent_span_id == call.span_id
        assert span.end_time_unix_nano >= span.start_time_unix_nano
        if after is not None:
            assert span.end_time_unix_nano == after.start_time_unix_nano
        assert span.end_time_unix_nano <= call.end_time_unix_nano
    assert collector.attributes["service.name"] == "shoprank"


def test_the_callers_decision_beats_the_ratio(measured: Callable[..., Measured], collector: Collector) -> None:
    server = measured(traces=collector.endpoint, trace_ratio=1)
    ask(server, REQUEST, traceparent=f"00-{TRACE}-{PARENT}-00")
    ask(server, REQUEST)
    server.running.stop()
    traces = {span.trace_id.hex() for span in collector.spans}
    assert len(traces) == 1
    assert TRACE not in traces


def test_a_share_of_calls_is_traced(measured: Callable[..., Measured], collector: Collector) -> None:
    server = measured(traces=collector.endpoint, trace_ratio=0.5)
    ask(server, *[REQUEST] * 60)
    server.running.stop()
    assert 10 <= len({span.trace_id for span in collector.spans}) <= 50


def test_a_bad_traceparent_is_no_parent_and_no_error(measured: Callable[..., Measured], collector: Collector) -> None:
    server = measured(traces=collector.endpoint, trace_ratio=1)
    ask(server, REQUEST, traceparent="00-zz-zz-01")
    server.running.stop()
    calls = [span for span in collector.spans if span.kind == trace_pb2.Span.SPAN_KIND_SERVER]
    assert [span.parent_span_id for span in calls] == [b""]


def test_a_request_that_is_refused_is_traced_and_is_no_error_of_the_server(
    measured: Callable[..., Measured], collector: Collector
) -> None:
    server = measured(traces=collector.endpoint, trace_ratio=1)
    ask(server, ranking_pb2.RankItemsRequest(user_id=""))
    server.running.stop()
    (call,) = collector.spans
    assert attributes(call)["rpc.grpc.status_code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert call.status.code == trace_pb2.Status.STATUS_CODE_UNSET


def test_a_stream_is_one_span_and_one_call(
    collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No method of ours streams today: reflection's does, through the same stages."""
    from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

    slot = Slot.private()
    recorder = Recorder(slot, Sampler(slot, References(tmp_path), 0, 3600))
    tracing = Tracing(collector.endpoint, 1.0, "0")
    watch = Watch(recorder, AccessLog(Telemetry(), recorder, str), tracing)
    server = grpc.server(ThreadPoolExecutor(2))
    service = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
    register(server, service, reflection.ReflectionServicer(["a.b"]), [watch])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")] * 3
        call = stub.ServerReflectionInfo(iter(asked), metadata=[("x-request-id", "stream-1")])
        assert len(list(call)) == 3
        assert dict(call.trailing_metadata())["x-request-id"] == "stream-1"
    server.stop(None).wait()
    tracing.stop()
    assert [span.name for span in collector.spans] == ["grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]
    assert not caplog.records, "the context was not put back"


def test_traces_without_their_packages_are_refused_naming_the_extra() -> None:
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
from server.settings import Settings
from server.telemetry.instruments import Instruments
Instruments.start(Settings(telemetry={"traces": "http://127.0.0.1:1"}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UserError: telemetry.traces=http://127.0.0.1:1: opentelemetry" in done.stderr
    assert "install shoprank[server,tracing]" in done.stderr


def test_the_packages_are_not_asked_for_where_traces_are_off() -> None:
    """Whether others import the SDK where it is installed is their affair: redis does."""
    code = (
        "import sys, server.app; from server.settings import Settings;"
        "from server.telemetry.instruments import Instruments; Instruments.start(Settings());"
        "print([m for m in sys.modules if m.startswith(('opentelemetry.exporter', 'server.telemetry.tracing'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_calls_are_answered_while_no_collector_listens(measured: Callable[..., Measured]) -> None:
    server = measured(traces="http://127.0.0.1:1", trace_ratio=1)
    ask(server, *[REQUEST] * 5)
    assert server.value("shoprank_requests_total", method="shoprank.v1.RankingService/RankItems", code="OK") == 5
