"""What the worker tells of itself, turned into metrics, logs and the health board.

Runs on the worker thread. Log lines carry ids and coordinates, never a text.
What happens thousands of times a second is gathered, and counted with the
next beat: once a tick instead of once a message.
"""

from collections import Counter
from collections.abc import Sequence
from logging import DEBUG
from operator import attrgetter
from typing import TYPE_CHECKING

import structlog

from stream_worker.admission.backlog import Backlog
from stream_worker.clock import Clock
from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.metric import Timings
from stream_worker.errors import PartitionRefused, StreamWorkerError
from stream_worker.inference.engine import Engine, EngineStats
from stream_worker.observability.health import HealthBoard
from stream_worker.observability.metric_table import (
    CallOutcome,
    CommitOutcome,
    Direction,
    Loop,
    MemoryKind,
    Metric,
    Part,
    Queue,
    Rebalance,
    Stage,
    Tier,
    TurnState,
)
from stream_worker.observability.metrics import Metrics, trace_id
from stream_worker.observer import Snapshot
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome
from stream_worker.record import Record
from stream_worker.report import ReplyReport, Report
from stream_worker.settings import Settings
from stream_worker.tokens import Usage
from stream_worker.trace_context import context_of
from stream_worker.turn import Turn

if TYPE_CHECKING:
    from stream_worker.tracing import Tracing

OUT_OF_SCOPE = "out_of_scope"
_BEING_TAKEN = frozenset({"asking", "restoring", "claiming"})
_REFUSED = "refused"
_PROGRESS_EVERY_S = 5.0


class Reporter:
    """The worker's observer in production."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        board: HealthBoard,
        engine: Engine,
        clock: Clock,
        tracing: "Tracing | None" = None,
    ) -> None:
        self._tracing = tracing
        self._links_only = settings.traces.parenting == "link"
        self._topic = settings.topics.events
        self._slo_s = settings.slo.reply_seconds
        self._backlog = Backlog(settings.admission.max_running_turns)
        self._metrics = metrics
        self._board = board
        self._engine = engine
        self._clock = clock
        self._model = engine.capabilities.model
        self._progress_due = 0.0
        self._seen = EngineStats(running=0, waiting=0, kv_tokens=0, kv_capacity_tokens=0, steps=0, beat=0.0)
        self._settled: Counter[Outcome] = Counter()
        self._replies: list[ReplyReport] = []
        # Bound once, with the levels of the settings: an unbound one is configured anew at each call.
        self._log = structlog.get_logger().bind()

    def beat(self) -> None:
        self._board.beat(Loop.WORKER)
        if self._settled:
            self._count_gathered()
        if self._tracing is not None:
            self._tracing.beat(self._clock.now_ms())

    def snapshot(self, snapshot: Snapshot) -> None:
        phases = list(snapshot.phases.values())
        restoring = sum(phase in _BEING_TAKEN for phase in phases)
        refused = phases.count(_REFUSED)
        board = self._board
        board.restoring_partitions, board.refused_partitions = restoring, refused
        board.engine_away, board.joined = snapshot.engine_away, True
        put = self._metrics.set
        put(Metric.ASSIGNED_PARTITIONS, len(phases))
        put(Metric.RESTORING_PARTITIONS, restoring)
        put(Metric.REFUSED_PARTITIONS, refused)
        put(Metric.PAUSED_PARTITIONS, snapshot.paused)
        put(Metric.ENGINE_BREAKER_OPEN, snapshot.engine_away)
        put(Metric.MAILBOX_EVENTS, snapshot.waiting_events)
        put(Metric.UNCOMMITTED_SETTLEMENTS, snapshot.uncommitted)
        # What waits in a refused partition no worker can do.
        doable = sum(lag for each, lag in snapshot.lags.items() if snapshot.phases.get(each) != _REFUSED)
        put(Metric.BACKLOG_WORK, self._backlog.seconds(doable))
        put(Metric.CHANGELOG_LAG, snapshot.changelog_lag)
        self._tell_progress(restoring, snapshot.changelog_lag)
        put(Metric.STATE_BYTES, snapshot.state_bytes)
        put(Metric.INFLIGHT_TURNS, snapshot.running_turns, TurnState.RUNNING)
        put(Metric.LOOP_HEARTBEAT, self._clock.now_ms() / 1000, Loop.WORKER)
        self._beat_of_io()
        replace, topic = self._metrics.replace, self._topic
        replace(Metric.PARTITION_LAG, {str(each): lag for each, lag in snapshot.lags.items()}, topic)
        replace(Metric.OFFSET_AGE, {str(each): age for each, age in snapshot.ages_s.items()}, topic)
        self._read_engine()

    def settled(self, outcome: Outcome, events: int) -> None:
        self._settled[outcome] += events
        self._backlog.settled(events)

    def dead_lettered(self, reason: DeadLetterReason, partition: int, offset: int, detail: str) -> None:
        self._metrics.count(Metric.DEAD_LETTERS, reason)
        self._log.warning("dead letter", reason=reason, partition=partition, offset=offset, detail=detail)

    def polled(self, seconds: float) -> None:
        self._metrics.observe(Metric.POLL_INTERVAL, seconds)

    def replied(self, reply: ReplyReport) -> None:
        self._replies.append(reply)
        if self._tracing is not None:
            self._tracing.replied(reply)
        self._backlog.ran(_worked(reply.timings))
        if self._log.is_enabled_for(DEBUG):
            seconds = round(reply.timings.total, 3)
            ids = self._ids(reply.turn)
            self._log.debug("replied", **ids, intent=reply.intent, finish_reason=reply.finish_reason, seconds=seconds)

    def unanswered(self, records: Sequence[Record], arrivals: Sequence[Arrival], report: Report) -> None:
        if self._tracing is not None:
            self._tracing.unanswered(records, arrivals, report, self._clock.now_ms())

    def first_delta(self, turn: Turn, seconds: float) -> None:  # noqa: ARG002
        self._metrics.observe(Metric.EVENT_TO_FIRST_DELTA, seconds)

    def attempt_failed(self, turn: Turn, reason: DeadLetterReason, message: str) -> None:
        self._metrics.count(Metric.ATTEMPTS, reason)
        self._log.warning("attempt failed", **self._ids(turn), reason=reason, detail=message)

    def engine_away(self, message: str) -> None:
        self._log.error("engine away", detail=message)

    def handed_over(self, to_human: bool) -> None:
        self._metrics.count(Metric.HANDOFFS, Direction.TO_HUMAN if to_human else Direction.TO_BOT)

    def late_result(self) -> None:
        self._metrics.count(Metric.LATE_RESULTS)

    def delta_dropped(self) -> None:
        self._metrics.count(Metric.DELTAS_DROPPED)

    def command_emitted(self, name: str) -> None:
        self._metrics.count(Metric.COMMANDS, name)

    def called(self, turn: Turn, name: str, seconds: float, failure: str | None) -> None:
        self._metrics.count(Metric.CALLS, name, CallOutcome.ANSWERED if failure is None else CallOutcome.FAILED)
        self._metrics.observe(Metric.STAGE, seconds, Stage.CALL)
        if self._tracing is not None:
            self._tracing.called(turn, name, seconds, failure is not None)
        if failure is not None:
            self._log.warning("call failed", **self._ids(turn), call=name, detail=failure)

    def taken(self, partition: int, term: int, seconds: float, records: int) -> None:
        self._metrics.count(Metric.REBALANCES, Rebalance.TAKEN)
        self._metrics.observe(Metric.RESTORE, seconds)
        self._log.info("partition taken", partition=partition, term=term, seconds=round(seconds, 3), records=records)

    def released(self, partitions: int, lost: bool) -> None:
        kind = Rebalance.LOST if lost else Rebalance.RELEASED
        self._metrics.count(Metric.REBALANCES, kind, amount=partitions)
        self._log.info(f"partitions {kind}", partitions=partitions)

    def refused(self, error: PartitionRefused) -> None:
        self._log.error("partition refused", partition=error.partition, code=error.code.id, detail=error.detail)

    def warned(self, message: str, partition: int) -> None:
        self._log.warning("warning", detail=message, partition=partition)

    def committed(self, seconds: float, records: int) -> None:
        self._metrics.count(Metric.COMMITS, CommitOutcome.COMMITTED)
        self._metrics.observe(Metric.COMMIT, seconds)
        if self._tracing is not None:
            self._tracing.committed(seconds, records)
        self._metrics.observe(Metric.TRANSACTION_RECORDS, records)

    def aborted(self, cause: str) -> None:
        self._metrics.count(Metric.COMMITS, CommitOutcome.ABORTED)
        self._log.warning("transaction aborted", cause=cause)

    def clients_replaced(self, error: StreamWorkerError) -> None:
        self._metrics.count(Metric.CLIENTS_REPLACED)
        self._log.error("clients replaced", code=error.code.id, detail=error.detail)

    def _count_gathered(self) -> None:
        settled, self._settled = self._settled, Counter()
        replies, self._replies = self._replies, []
        metrics = self._metrics
        for outcome, events in settled.items():
            metrics.count(Metric.EVENTS, self._topic, outcome, amount=events)
        for finish, number in Counter(map(attrgetter("finish_reason"), replies)).items():
            metrics.count(Metric.REPLIES, self._model, finish, amount=number)
        for intent, number in Counter(map(attrgetter("intent"), replies)).items():
            metrics.count(Metric.UNDERSTOOD, intent or OUT_OF_SCOPE, amount=number)
        for language, number in Counter(map(attrgetter("turn.parsed.language"), replies)).items():
            metrics.count(Metric.LANGUAGES, language, amount=number)
        metrics.count(Metric.REPLIES_WITHIN_SLO, amount=sum(map(self._kept_promise, replies)))
        metrics.observe_all(
            Metric.EVENT_TO_REPLY, [(reply.timings.total, self._trace(reply.turn)) for reply in replies]
        )
        metrics.observe_all(Metric.QUEUE, [(reply.timings.waiting, "") for reply in replies], Queue.MAILBOX)
        metrics.observe_all(Metric.STAGE, [(reply.timings.parse, "") for reply in replies], Stage.PARSE)
        metrics.observe_all(Metric.STAGE, [(reply.timings.dialogue, "") for reply in replies], Stage.DIALOGUE)
        for reply in replies:
            if reply.texts:
                metrics.observe(Metric.STAGE, reply.timings.understand, Stage.UNDERSTAND)
                metrics.observe(Metric.BATCH_SIZE, reply.texts, Stage.UNDERSTAND)
            if reply.usage is not None:
                self._generated(reply.timings, reply.usage)

    def _ids(self, turn: Turn) -> dict[str, object]:
        ids: dict[str, object] = {
            "turn": turn.ref.turn_id,
            "conversation": turn.conversation,
            "partition": turn.ref.partition,
            "attempt": turn.ref.attempt,
        }
        if trace := self._trace(turn):
            ids["trace_id"] = trace
        return ids

    def _trace(self, turn: Turn) -> str:
        """The id of the trace that a turn belongs to: its event's, or where turns are traced its own. Else empty."""
        if self._tracing is not None:
            return context_of(turn, links=self._links_only).trace_id
        traceparent = turn.first.headers.traceparent
        return trace_id(traceparent) if traceparent else ""

    def _kept_promise(self, reply: ReplyReport) -> bool:
        return reply.timings.total <= self._slo_s and reply.finish_reason is not FinishReason.FALLBACK

    def _generated(self, timings: Timings, usage: Usage) -> None:
        metrics = self._metrics
        metrics.count(Metric.PROMPT_TOKENS, amount=usage.prompt)
        metrics.count(Metric.PROMPT_TOKENS_CACHED, Part.PROMPT, amount=usage.cached - usage.cached_replied)
        metrics.count(Metric.PROMPT_TOKENS_CACHED, Part.REPLY, amount=usage.cached_replied)
        metrics.count(Metric.GENERATED_TOKENS, amount=usage.generated)
        metrics.observe(Metric.STAGE, timings.generate, Stage.GENERATE)
        metrics.observe(Metric.QUEUE, timings.queued, Queue.ENGINE)
        metrics.observe(Metric.TIME_TO_FIRST_TOKEN, timings.first_token, self._model)
        if usage.generated > 1:
            spent = max(0.0, timings.generate - timings.first_token)
            metrics.observe(Metric.TIME_PER_OUTPUT_TOKEN, spent / (usage.generated - 1), self._model)

    def _beat_of_io(self) -> None:
        """The I/O thread writes its beat on the board itself; a process without that thread has no series for it."""
        if (beat := self._board.beats.get(Loop.IO)) is not None:
            age = self._clock.monotonic() - beat
            self._metrics.set(Metric.LOOP_HEARTBEAT, self._clock.now_ms() / 1000 - age, Loop.IO)

    def _tell_progress(self, restoring: int, remaining: int) -> None:
        """A restore that takes long says how far it is."""
        now = self._clock.monotonic()
        if not remaining:
            self._progress_due = now + _PROGRESS_EVERY_S
        elif now >= self._progress_due:
            self._progress_due = now + _PROGRESS_EVERY_S
            self._log.info("restoring", partitions=restoring, offsets_to_read=remaining)

    def _read_engine(self) -> None:
        stats = self._engine.stats()
        self._board.beats[Loop.DEVICE] = stats.beat
        age = self._clock.monotonic() - stats.beat
        put = self._metrics.set
        put(Metric.LOOP_HEARTBEAT, self._clock.now_ms() / 1000 - age, Loop.DEVICE)
        put(Metric.INFLIGHT_TURNS, stats.running, TurnState.DECODING)
        put(Metric.INFLIGHT_TURNS, stats.waiting, TurnState.QUEUED)
        if stats.running:
            self._metrics.observe(Metric.BATCH_SIZE, stats.running, Stage.GENERATE)
        before, self._seen = self._seen, stats
        count = self._metrics.count
        count(Metric.KV_EVICTIONS, Tier.DEVICE, amount=stats.device_evictions - before.device_evictions)
        count(Metric.KV_EVICTIONS, Tier.HOST, amount=stats.host_evictions - before.host_evictions)
        for fallback in stats.fallbacks[len(before.fallbacks) :]:
            count(Metric.ENGINE_FALLBACKS, fallback)
        if stats.kv_capacity_tokens:
            put(Metric.KV_CACHE_USAGE, stats.kv_tokens / stats.kv_capacity_tokens)
        if stats.memory is not None:
            put(Metric.DEVICE_MEMORY, stats.memory.used, MemoryKind.USED)
            put(Metric.DEVICE_MEMORY, stats.memory.total, MemoryKind.TOTAL)


def _worked(timings: Timings) -> float:
    """Seconds that a turn was worked on."""
    return timings.parse + timings.understand + timings.generate
