"""One trace for each turn, with OpenTelemetry's SDK: from the event that came in to the reply that went out.

Spans are made when a turn is committed, of times that were taken anyway: a
turn that is taken back leaves none, a poll that brings nothing leaves none,
and while turns run tracing costs nothing. Texts are in no span unless
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says so, and then redacted.

Names are those of the semantic conventions 1.44; those of generative AI are
still unstable, so they stand here and not in a package.
"""

import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from stream_worker import __version__
from stream_worker.observability.redaction import redacted
from stream_worker.orders import TurnRef
from stream_worker.outcome import FinishReason
from stream_worker.report import ReplyReport
from stream_worker.settings import Settings
from stream_worker.trace_context import SEND, TraceContext, context_of, read_traceparent, span_id
from stream_worker.turn import Turn, seed_of

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_KEPT_CALLS = 1_024
_MOST_LINKS = 128
_NS = 1_000_000_000
Attributes = dict[str, Any]


class PlannedIds(IdGenerator):
    """Gives the ids that were planned for the next span; random ones where none were."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.trace_id: int | None = None
        self.span_id: int | None = None

    def generate_trace_id(self) -> int:
        planned, self.trace_id = self.trace_id, None
        return self._random.generate_trace_id() if planned is None else planned

    def generate_span_id(self) -> int:
        planned, self.span_id = self.span_id, None
        return self._random.generate_span_id() if planned is None else planned


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    seconds: float
    failed: bool


@dataclass(frozen=True, slots=True)
class _Transaction:
    seconds: float
    records: int


class Tracing:
    """Told what the reporter is told; on the worker thread. Exporting is done by the SDK, on a thread of its own."""

    def __init__(self, settings: Settings, model: str, exporter: SpanExporter | None = None, **identity: str) -> None:
        """`exporter` is OTLP over HTTP unless a test brings its own; `identity` names this process (`client_id`)."""
        self._settings = settings
        self._model = model
        self._identity = identity
        self._ids = PlannedIds()
        self._captures = os.environ.get(CAPTURE, "").lower() in ("true", "1", "span_only", "span_and_event")
        attributes = {"service.name": settings.application_id, "service.version": __version__}
        if settings.instance is not None:
            attributes["service.instance.id"] = settings.instance
        # What the variables say of a name wins over ours.
        resource = Resource.create(attributes).merge(Resource.create())
        if os.environ.get("OTEL_SERVICE_NAME") is None:
            resource = resource.merge(Resource({"service.name": settings.application_id}))
        self._provider = TracerProvider(id_generator=self._ids, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _otlp()))
        self._tracer = self._provider.get_tracer("stream_worker", __version__)
        self._calls: OrderedDict[TurnRef, list[_Call]] = OrderedDict()
        self._links: list[Link] = []
        self._transactions: list[_Transaction] = []

    def called(self, turn: Turn, name: str, seconds: float, failed: bool) -> None:
        self._calls.setdefault(turn.ref, []).append(_Call(name, seconds, failed))
        if len(self._calls) > _KEPT_CALLS:
            self._calls.popitem(last=False)

    def replied(self, reply: ReplyReport) -> None:
        """All spans of one turn."""
        turn = reply.turn
        context = context_of(turn, links=self._links_only)
        started = turn.started_ms * 1_000_000
        ended = max(started, turn.first.record.timestamp_ms * 1_000_000 + int(reply.timings.total * _NS))
        process = self._process(reply, context, started)
        agent = self._child(process, turn, f"invoke_agent {turn.bot.name}", started, self._agent(turn))
        self._stages(agent, reply, started, ended)
        agent.end(ended)
        topics = self._settings
        replies = topics.output_topic(topics.topics.replies)
        destination = {"messaging.system": "kafka", "messaging.destination.name": replies}
        sent = {**destination, "messaging.operation.name": "send", "messaging.operation.type": "send"}
        sent["messaging.message.id"] = turn.reply_id
        sent["messaging.message.conversation_id"] = turn.conversation
        send = self._child(process, turn, f"send {replies}", ended, sent, SpanKind.PRODUCER, planned=SEND)
        send.end(ended)
        self._links.append(Link(send.get_span_context()))
        if reply.finish_reason is FinishReason.FALLBACK:
            process.set_status(Status(StatusCode.ERROR))
            process.set_attribute("error.type", reply.finish_reason.value)
        process.end(ended)

    def committed(self, seconds: float, records: int) -> None:
        self._transactions.append(_Transaction(seconds, records))

    def beat(self, now_ms: int) -> None:
        """The turns of a transaction are told after it: with the next beat all of them are known."""
        if not self._transactions:
            return
        links, self._links = self._links, []
        transactions, self._transactions = self._transactions, []
        if not links:
            return
        topic = self._settings.topics.events
        last = transactions[-1]
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "commit",
            "messaging.operation.type": "settle",
            "messaging.destination.name": topic,
            "messaging.consumer.group.name": self._settings.application_id,
            "messaging.batch.message_count": len(links),
        }
        ended = now_ms * 1_000_000
        self._tracer.start_span(
            f"commit {topic}",
            context=trace.set_span_in_context(trace.INVALID_SPAN),
            kind=SpanKind.CLIENT,
            links=links[:_MOST_LINKS],
            attributes=attributes,
            start_time=ended - int(last.seconds * _NS),
        ).end(ended)

    def close(self) -> None:
        """Sends what is left, for as long as the SDK's variables allow."""
        self._provider.shutdown()

    @property
    def _links_only(self) -> bool:
        return self._settings.traces.parenting == "link"

    def _process(self, reply: ReplyReport, context: TraceContext, started: int) -> Span:
        turn = reply.turn
        first = turn.first
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": first.record.topic,
            "messaging.destination.partition.id": str(first.record.partition),
            "messaging.kafka.offset": first.offset,
            "messaging.consumer.group.name": self._settings.application_id,
            "messaging.message.id": first.event_id,
            "messaging.message.conversation_id": turn.conversation,
        }
        if client_id := self._identity.get("client_id"):
            attributes["messaging.client.id"] = client_id
        parent: Span = trace.INVALID_SPAN
        if context.parent_id:
            parent = NonRecordingSpan(_context(context.trace_id, context.parent_id, context.flags))
        given = read_traceparent(first.headers.traceparent) if self._links_only else None
        links = [Link(_context(given.trace_id, given.parent_id, given.flags))] if given is not None else []
        self._plan(span_id(turn, "process"), context.trace_id)
        return self._tracer.start_span(
            f"process {first.record.topic}",
            context=trace.set_span_in_context(parent),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=links,
            start_time=started,
        )

    def _agent(self, turn: Turn) -> Attributes:
        return {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": turn.bot.name,
            "gen_ai.agent.version": turn.bot.version,
            "gen_ai.conversation.id": turn.conversation,
            "session.id": turn.conversation,
            "gen_ai.provider.name": self._provider_name,
        }

    @property
    def _provider_name(self) -> str:
        return f"stream_worker.{self._settings.engine.kind}"

    def _stages(self, agent: Span, reply: ReplyReport, started: int, ended: int) -> None:
        """In the order in which they ran; what an engine did ends where the turn ended."""
        turn, timings = reply.turn, reply.timings
        at = started + int(timings.parse * _NS)
        self._child(agent, turn, "parse", started, {}).end(at)
        if reply.texts:
            understood: Attributes = {"stream_worker.batch.size": reply.texts}
            if reply.intent is not None:
                understood["stream_worker.intent"] = reply.intent
            if reply.intent_score is not None:
                understood["stream_worker.intent.score"] = reply.intent_score
            begin, at = at, at + int(timings.understand * _NS)
            self._child(agent, turn, "understand", begin, understood).end(at)
        self._child(agent, turn, "dialogue", at, {"stream_worker.decision": reply.decision}).end(at)
        for number, call in enumerate(self._calls.pop(turn.ref, ()), start=1):
            tool: Attributes = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": call.name,
                "gen_ai.tool.call.id": f"{turn.ref.turn_id}/{number}",
                "gen_ai.tool.type": "function",
            }
            if call.failed:
                tool["error.type"] = "call_failed"
            span = self._child(agent, turn, f"execute_tool {call.name}", at, tool, planned=f"call {number}")
            span.end(at + int(call.seconds * _NS))
        if reply.usage is not None:
            self._child(agent, turn, f"chat {self._model}", ended - int(timings.generate * _NS), self._chat(reply)).end(
                ended
            )

    def _chat(self, reply: ReplyReport) -> Attributes:
        turn, usage = reply.turn, reply.usage
        assert usage is not None
        sampling = turn.bot.sampling
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self._provider_name,
            "gen_ai.request.model": self._settings.engine.model,
            "gen_ai.request.max_tokens": sampling.max_new_tokens,
            "gen_ai.request.temperature": sampling.temperature,
            "gen_ai.request.top_p": sampling.top_p,
            "gen_ai.request.seed": seed_of(turn.ref.turn_id),
            "gen_ai.request.stream": self._settings.outputs.deltas != "off",
            "gen_ai.response.id": turn.reply_id,
            "gen_ai.response.model": self._model,
            "gen_ai.response.finish_reasons": (reply.finish_reason.value,),
            "gen_ai.response.time_to_first_chunk": reply.timings.first_token,
            "gen_ai.usage.input_tokens": usage.prompt,
            "gen_ai.usage.cache_read.input_tokens": usage.cached,
            "gen_ai.usage.output_tokens": usage.generated,
        }
        if self._captures:
            attributes["gen_ai.input.messages"] = _message("user", turn.text)
            attributes["gen_ai.output.messages"] = _message("assistant", reply.text)
        return attributes

    def _child(
        self,
        parent: Span,
        turn: Turn,
        name: str,
        started: int,
        attributes: Attributes,
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        planned: str = "",
    ) -> Span:
        self._plan(span_id(turn, planned or name))
        return self._tracer.start_span(
            name, context=trace.set_span_in_context(parent), kind=kind, attributes=attributes, start_time=started
        )

    def _plan(self, span: str, trace_id: str | None = None) -> None:
        self._ids.span_id = int(span, 16)
        self._ids.trace_id = None if trace_id is None else int(trace_id, 16)


def _context(trace_id: str, parent_id: str, flags: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(parent_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _message(role: str, text: str) -> str:
    """In the conventions' form of messages, as JSON."""
    import orjson

    return orjson.dumps([{"role": role, "parts": [{"type": "text", "content": redacted(text)}]}]).decode()


def _otlp() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
