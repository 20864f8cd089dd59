"""One trace for each turn, with OpenTelemetry's SDK: from the event that came in to the reply that went out.

Spans are made when a turn is committed, of times that were taken anyway: a
turn that is taken back leaves none, a poll that brings nothing leaves none,
and while turns run tracing costs nothing. An event that ends otherwise ends
its trace with one span that says how. Texts are in no span unless
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says so, and then redacted.

Names are those of the semantic conventions 1.44; those of generative AI are
still unstable, so they stand here and not in a package.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from stream_worker import __version__
from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.event import Feedback
from stream_worker.observability.redaction import redacted
from stream_worker.orders import TurnRef
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome
from stream_worker.record import Record
from stream_worker.report import ReplyReport, Report
from stream_worker.settings import Settings
from stream_worker.trace_context import SEND, TraceContext, own_or_given, read_traceparent, span_id
from stream_worker.trace_export import PlannedIds, provider
from stream_worker.turn import Turn, seed_of

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_KEPT_CALLS = 1_024
_MOST_LINKS = 128
_NS = 1_000_000_000
_MS = 1_000_000
_ENDINGS = frozenset({Outcome.DEAD_LETTERED, Outcome.EXPIRED, Outcome.SHED, Outcome.WITHDRAWN})
"""Those of an event that somebody may look for by its trace; what was only heard or came twice is counted."""
Attributes = dict[str, Any]


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
        """`exporter` is the one that OTEL_TRACES_EXPORTER names, unless a test brings its own; `identity` names this
        process (`client_id`)."""
        self._settings = settings
        self._model = model
        self._identity = identity
        self._ids = PlannedIds()
        self._captures = os.environ.get(CAPTURE, "").lower() in ("true", "1", "span_only", "span_and_event")
        self._provider = provider(settings, self._ids, exporter)
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
        turn, first = reply.turn, reply.turn.first
        started = turn.started_ms * _MS
        ended = max(started, first.record.timestamp_ms * _MS + int(reply.timings.total * _NS))
        self._plan(span_id(turn, "process"))
        process = self._process(first.record, first, turn.ref.turn_id, started, merged=turn.arrivals[1:])
        agent = self._child(process, turn, f"invoke_agent {turn.bot.name}", started, self._agent(turn))
        self._stages(agent, reply, started, ended)
        agent.end(ended)
        self._plan(span_id(turn, SEND))
        send = self._send(process, self._settings.topics.replies, turn.reply_id, turn.conversation, ended)
        self._links.append(Link(send.get_span_context()))
        self._end(process, reply.outcome, reply.reason, ended)
        if reply.outcome is Outcome.REPLIED and reply.finish_reason is FinishReason.FALLBACK:
            _fail(process, reply.finish_reason.value)
        process.end(ended)

    def unanswered(self, records: Sequence[Record], arrivals: Sequence[Arrival], report: Report, now_ms: int) -> None:
        """Of each event that ends without a reply one span; of feedback what it says of the reply."""
        for number, (record, outcome) in enumerate(zip(records, report.outcomes, strict=True)):
            arrival = arrivals[number] if arrivals else None
            judges = arrival.event if arrival is not None and isinstance(arrival.event, Feedback) else None
            if outcome not in _ENDINGS and judges is None:
                continue
            ended = now_ms * _MS
            name = arrival.identity if arrival is not None else f"{record.topic}/{record.partition}/{record.offset}"
            span = self._process(record, arrival, name, min(record.timestamp_ms * _MS, ended))
            if judges is not None:
                span.add_event("gen_ai.evaluation.result", self._evaluation(judges), ended)
            self._end(span, outcome, report.reason, ended)
            span.end(ended)
            self._links.append(Link(span.get_span_context()))

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

    def _process(
        self, record: Record, arrival: Arrival | None, name: str, started: int, merged: Sequence[Arrival] = ()
    ) -> Span:
        """The span of one event, which has no `arrival` where it could not be decoded; `name` is hashed to a trace of
        its own where it brings none. Linked to the traces of what was `merged` into its turn."""
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self._settings.application_id,
        }
        if arrival is not None:
            attributes["messaging.message.id"] = arrival.event_id
            attributes["messaging.message.conversation_id"] = arrival.conversation
        if client_id := self._identity.get("client_id"):
            attributes["messaging.client.id"] = client_id
        given = read_traceparent(_traceparent(record) if arrival is None else arrival.headers.traceparent)
        context = own_or_given(given, name, links=self._links_only)
        parent: Span = trace.INVALID_SPAN
        if context.parent_id:
            parent = NonRecordingSpan(_remote(context))
        linked = [given if self._links_only else None, *(read_traceparent(each.headers.traceparent) for each in merged)]
        self._ids.trace_id = None if context.parent_id else int(context.trace_id, 16)
        return self._tracer.start_span(
            f"process {record.topic}",
            context=trace.set_span_in_context(parent),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[Link(_remote(each)) for each in linked[:_MOST_LINKS] if each is not None],
            start_time=started,
        )

    def _end(self, process: Span, outcome: Outcome, reason: DeadLetterReason | None, ended: int) -> None:
        """Says how the event ended; of a dead letter that it was sent."""
        process.set_attribute("stream_worker.outcome", outcome.value)
        if outcome is Outcome.DEAD_LETTERED:
            self._send(process, self._settings.topics.dead_letters, "", "", ended)
            _fail(process, reason.value if reason is not None else outcome.value)
        elif outcome in (Outcome.EXPIRED, Outcome.SHED):
            _fail(process, outcome.value)

    def _send(self, process: Span, topic: str, message_id: str, conversation: str, at: int) -> Span:
        """One record to one of our topics, done; in a transaction, so that only its place in time is known."""
        topic = self._settings.output_topic(topic)
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.destination.name": topic,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
        }
        if message_id:
            attributes["messaging.message.id"] = message_id
            attributes["messaging.message.conversation_id"] = conversation
        context = trace.set_span_in_context(process)
        span = self._tracer.start_span(
            f"send {topic}", context=context, kind=SpanKind.PRODUCER, attributes=attributes, start_time=at
        )
        span.end(at)
        return span

    def _evaluation(self, feedback: Feedback) -> Attributes:
        score = feedback.score
        attributes: Attributes = {
            "gen_ai.evaluation.name": "user_feedback",
            "gen_ai.evaluation.score.value": score,
            "gen_ai.evaluation.score.label": "good" if score > 0 else "bad" if score < 0 else "neutral",
            "gen_ai.response.id": feedback.reply_id,
            "gen_ai.conversation.id": feedback.conversation_id,
        }
        if self._captures and feedback.comment is not None:
            attributes["gen_ai.evaluation.explanation"] = redacted(feedback.comment)
        return attributes

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
        begin, at = at, at + int(timings.dialogue * _NS)
        self._child(agent, turn, "dialogue", begin, {"stream_worker.decision": reply.decision}).end(at)
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
        *,
        planned: str = "",
    ) -> Span:
        self._plan(span_id(turn, planned or name))
        context = trace.set_span_in_context(parent)
        return self._tracer.start_span(name, context=context, attributes=attributes, start_time=started)

    def _plan(self, span: str) -> None:
        self._ids.span_id = int(span, 16)


def _remote(context: TraceContext) -> SpanContext:
    flags = TraceFlags(int(context.flags, 16))
    return SpanContext(int(context.trace_id, 16), int(context.parent_id, 16), is_remote=True, trace_flags=flags)


def _traceparent(record: Record) -> str:
    """Of a record that is no event: whatever its headers hold."""
    return next(
        (value.decode("ascii", "replace") for name, value in record.headers if name == "traceparent" and value), ""
    )


def _fail(span: Span, kind: str) -> None:
    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", kind)


def _message(role: str, text: str) -> str:
    """In the conventions' form of messages, as JSON."""
    import orjson

    return orjson.dumps([{"role": role, "parts": [{"type": "text", "content": redacted(text)}]}]).decode()
