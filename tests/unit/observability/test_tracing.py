"""One event is one trace with exactly these spans, and the reply carries it on. No text unless it is asked for."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from stream_worker.observability.metric_table import Metric
from stream_worker.record import Record
from stream_worker.settings import Settings
from stream_worker.tracing import CAPTURE
from tests.unit.observability.traced import CANARY, PARENT, TRACE, Traced


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    return Traced(tmp_path)


def _parents(spans: dict[str, ReadableSpan]) -> dict[str, str | None]:
    names = {span.context.span_id: name for name, span in spans.items() if span.context is not None}
    return {
        name: None if span.parent is None else names.get(span.parent.span_id, f"{span.parent.span_id:016x}")
        for name, span in spans.items()
    }


def _traceparent(record: Record) -> str:
    return (dict(record.headers)["traceparent"] or b"").decode()


def test_one_event_is_one_trace_with_exactly_these_spans(traced: Traced) -> None:
    spans = traced.say()
    assert _parents(spans) == {
        "process chat.events": PARENT,
        "invoke_agent shop": "process chat.events",
        "parse": "invoke_agent shop",
        "understand": "invoke_agent shop",
        "dialogue": "invoke_agent shop",
        "execute_tool sky": "invoke_agent shop",
        "chat tiny": "invoke_agent shop",
        "send chat.replies": "process chat.events",
        "commit chat.events": None,
    }
    commit = spans.pop("commit chat.events")
    assert {f"{span.context.trace_id:032x}" for span in spans.values() if span.context} == {TRACE}
    assert [link.context for link in commit.links] == [spans["send chat.replies"].context]
    kinds = {name: span.kind for name, span in spans.items() if span.kind is not SpanKind.INTERNAL}
    assert kinds == {"process chat.events": SpanKind.CONSUMER, "send chat.replies": SpanKind.PRODUCER}
    assert commit.kind is SpanKind.CLIENT


def test_the_attributes_are_those_of_the_conventions(traced: Traced) -> None:
    spans = traced.say()
    process = dict(spans["process chat.events"].attributes or {})
    partition = process.pop("messaging.destination.partition.id")
    assert isinstance(partition, str)
    assert process == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "chat.events",
        "messaging.kafka.offset": 0,
        "messaging.consumer.group.name": "test",
        "messaging.client.id": "shop-0-cpu",
        "messaging.message.id": "m-1",
        "messaging.message.conversation_id": "c-1",
        "stream_worker.outcome": "replied",
    }
    agent = dict(spans["invoke_agent shop"].attributes or {})
    assert (agent["gen_ai.agent.name"], agent["gen_ai.agent.version"], agent["session.id"]) == ("shop", "7", "c-1")
    understood = dict(spans["understand"].attributes or {})
    assert understood == {
        "stream_worker.intent": "weather",
        "stream_worker.intent.score": 0.75,
        "stream_worker.batch.size": 1,
    }
    chat = dict(spans["chat tiny"].attributes or {})
    assert chat["gen_ai.request.max_tokens"] == 20
    assert chat["gen_ai.request.temperature"] == 0.5
    assert chat["gen_ai.response.finish_reasons"] == ("stop",)
    assert chat["gen_ai.usage.output_tokens"] == chat["gen_ai.usage.output_tokens"] > 0  # type: ignore[operator]
    tool = dict(spans["execute_tool sky"].attributes or {})
    assert (tool["gen_ai.tool.name"], tool["gen_ai.tool.type"]) == ("sky", "function")
    assert dict(spans["commit chat.events"].attributes or {})["messaging.batch.message_count"] == 1
    retired = {"gen_ai.system", "gen_ai.usage.prompt_tokens", "messaging.kafka.message.offset"}
    assert not retired & {name for span in spans.values() for name in span.attributes or ()}


def test_children_lie_within_their_parents(traced: Traced) -> None:
    spans = traced.say()
    for name, parent in _parents(spans).items():
        if parent in spans:
            inner, outer = spans[name], spans[parent]
            assert outer.start_time is not None
            assert inner.start_time is not None
            assert inner.end_time is not None
            assert outer.start_time <= inner.start_time <= inner.end_time


def test_the_reply_carries_the_trace_on_and_so_does_the_exemplar(traced: Traced) -> None:
    spans = traced.say()
    context = spans["send chat.replies"].context
    assert context is not None
    (record,) = traced.rig.broker.read_committed("chat.replies")
    assert _traceparent(record) == f"00-{TRACE}-{context.span_id:016x}-01"
    assert traced.metrics.registry.get_sample_value(f"stream_worker_{Metric.EVENT_TO_REPLY}_count") == 1


def test_a_trace_begins_here_where_the_event_brings_none(traced: Traced) -> None:
    spans = traced.say("")
    process = spans["process chat.events"]
    assert process.parent is None
    assert process.context is not None
    (record,) = traced.rig.broker.read_committed("chat.replies")
    assert _traceparent(record).split("-")[1] == f"{process.context.trace_id:032x}"


def test_a_linked_trace_is_its_own(tmp_path: Path) -> None:
    spans = Traced(tmp_path, parenting="link").say()
    process = spans["process chat.events"]
    assert process.parent is None
    assert [f"{link.context.trace_id:032x}" for link in process.links] == [TRACE]
    assert process.context is not None
    assert f"{process.context.trace_id:032x}" != TRACE


def test_what_the_sender_did_not_sample_leaves_no_span(traced: Traced) -> None:
    spans = traced.say(f"00-{TRACE}-{PARENT}-00")
    assert set(spans) <= {"commit chat.events"}
    (record,) = traced.rig.broker.read_committed("chat.replies")
    assert _traceparent(record).endswith("-00")


def test_a_poll_that_brings_nothing_leaves_no_span(traced: Traced) -> None:
    traced.rig.run(5.0)
    traced.tracing.close()
    assert traced.memory.get_finished_spans() == ()


def _everything_in(spans: dict[str, ReadableSpan]) -> str:
    return "".join(span.to_json() for span in spans.values())


def test_no_text_is_in_any_span(traced: Traced) -> None:
    spans = traced.say()
    reply = traced.rig.replies[0]["text"]
    assert CANARY not in _everything_in(spans)
    assert reply not in _everything_in(spans)


def test_texts_that_are_asked_for_are_redacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CAPTURE, "true")
    spans = Traced(tmp_path).say(text=f"weather {CANARY} for ann@example.org, +44 20 7946 0958")
    found = _everything_in(spans)
    assert CANARY in found
    assert "[email]" in found
    assert "ann@example.org" not in found
    assert "7946" not in found


class _Collector(BaseHTTPRequestHandler):
    received: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        import gzip

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ExportTraceServiceRequest]]:
    """Stands in for an OTLP collector, at the address that the SDK's own variable names."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(_Collector):
        pass

    Handler.received = received
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-the-variable")
    yield received
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_collector_gets_the_whole_tree(tmp_path: Path, collector: list[ExportTraceServiceRequest]) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    Traced(tmp_path, OTLPSpanExporter()).say()
    resources = [each for request in collector for each in request.resource_spans]
    spans = [span for each in resources for scope in each.scope_spans for span in scope.spans]
    assert len(spans) == 9
    names = {
        attribute.value.string_value
        for each in resources
        for attribute in each.resource.attributes
        if attribute.key == "service.name"
    }
    assert names == {"from-the-variable"}


def test_nothing_of_opentelemetry_is_imported_while_it_is_off() -> None:
    script = (
        "import sys; import stream_worker.process, stream_worker.cli.app; "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    assert not Settings().traces.enabled
