"""What the worker tells of itself, turned into metrics, logs and the health board.

Runs on the worker thread. Log lines carry ids and coordinates, never a text.
What happens thousands of times a second is gathered, and counted with the
next beat: once a tick instead of once a message.
"""

from collections import Counter
from logging import DEBUG
from operator import attrgetter

import structlog
from msgspec import Struct

from stream_worker.clock import Clock
from stream_worker.contracts.metric import Timings
from stream_worker.errors import StreamWorkerError
from stream_worker.inference.engine import Engine
from stream_worker.observability.health import HealthBoard
from stream_worker.observability.metric_table import (
    CommitOutcome,
    Direction,
    Loop,
    Metric,
    Queue,
    Rebalance,
    Stage,
    TurnState,
)
from stream_worker.observability.metrics import Metrics, trace_id
from stream_worker.observer import Snapshot
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome
from stream_worker.tokens import Usage
from stream_worker.turn import Turn

OUT_OF_SCOPE = "out_of_scope"
_BEING_TAKEN = frozenset({"asking", "restoring", "claiming"})
_REFUSED = "refused"


class _Reply(Struct, frozen=True):
    """What is counted of one reply."""

    intent: str
    finish: FinishReason
    timings: Timings
    usage: Usage | None
    trace_id: str


class Reporter:
    """The worker's observer in production."""

    def __init__(self, metrics: Metrics, board: HealthBoard, engine: Engine, clock: Clock) -> None:
        self._metrics = metrics
        self._board = board
        self._engine = engine
        self._clock = clock
        self._model = engine.capabilities.model
        self._settled: Counter[Outcome] = Counter()
        self._replies: list[_Reply] = []
        # Bound once, with the levels of the settings: an unbound one is configured anew at each call.
        self._log = structlog.get_logger().bind()

    def beat(self) -> None:
        self._board.beat(Loop.WORKER)
        if self._settled:
            self._count_gathered()

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
        put(Metric.PAUSED_PARTITIONS, len(phases) - restoring - refused if snapshot.paused else 0)
        put(Metric.ENGINE_BREAKER_OPEN, snapshot.engine_away)
        put(Metric.MAILBOX_EVENTS, snapshot.waiting_events)
        put(Metric.UNCOMMITTED_RECORDS, snapshot.uncommitted)
        put(Metric.INFLIGHT_TURNS, snapshot.running_turns, TurnState.RUNNING)
        put(Metric.LOOP_HEARTBEAT, self._clock.now_ms() / 1000, Loop.WORKER)
        self._beat_of_io()
        self._metrics.replace(Metric.PARTITION_LAG, {str(each): lag for each, lag in snapshot.lags.items()})
        self._metrics.replace(Metric.OFFSET_AGE, {str(each): age for each, age in snapshot.ages_s.items()})
        self._read_engine()

    def settled(self, outcome: Outcome, events: int) -> None:
        self._settled[outcome] += events

    def dead_lettered(self, reason: DeadLetterReason, partition: int, offset: int, detail: str) -> None:
        self._metrics.count(Metric.DEAD_LETTERS, reason)
        self._log.warning("dead letter", reason=reason, partition=partition, offset=offset, detail=detail)

    def replied(
        self, turn: Turn, intent: str | None, finish: FinishReason, timings: Timings, usage: Usage | None
    ) -> None:
        traceparent = turn.first.headers.traceparent
        trace = trace_id(traceparent) if traceparent else ""
        self._replies.append(_Reply(intent or OUT_OF_SCOPE, finish, timings, usage, trace))
        if self._log.is_enabled_for(DEBUG):
            seconds = round(timings.total, 3)
            self._log.debug("replied", **_ids(turn), intent=intent, finish_reason=finish, seconds=seconds)

    def first_delta(self, turn: Turn, seconds: float) -> None:  # noqa: ARG002
        self._metrics.observe(Metric.EVENT_TO_FIRST_DELTA, seconds)

    def attempt_failed(self, turn: Turn, reason: DeadLetterReason, message: str) -> None:
        self._metrics.count(Metric.ATTEMPTS, reason)
        self._log.warning("attempt failed", **_ids(turn), reason=reason, detail=message)

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

    def taken(self, partition: int, term: int, seconds: float, records: int) -> None:
        self._metrics.count(Metric.REBALANCES, Rebalance.TAKEN)
        self._metrics.observe(Metric.RESTORE, seconds)
        self._log.info("partition taken", partition=partition, term=term, seconds=round(seconds, 3), records=records)

    def released(self, partitions: int, lost: bool) -> None:
        kind = Rebalance.LOST if lost else Rebalance.RELEASED
        self._metrics.count(Metric.REBALANCES, kind, amount=partitions)
        self._log.info(f"partitions {kind}", partitions=partitions)

    def refused(self, error: StreamWorkerError) -> None:
        self._log.error("partition refused", code=error.code.id, detail=error.detail)

    def warned(self, message: str, partition: int) -> None:
        self._log.warning("warning", detail=message, partition=partition)

    def committed(self, seconds: float, records: int) -> None:
        self._metrics.count(Metric.COMMITS, CommitOutcome.COMMITTED)
        self._metrics.observe(Metric.COMMIT, seconds)
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
            metrics.count(Metric.EVENTS, outcome, amount=events)
        for finish, number in Counter(map(attrgetter("finish"), replies)).items():
            metrics.count(Metric.REPLIES, self._model, finish, amount=number)
        # The fallback's text is a reply, but nothing was understood or generated for it.
        replies = [reply for reply in replies if reply.finish is not FinishReason.FALLBACK]
        for intent, number in Counter(map(attrgetter("intent"), replies)).items():
            metrics.count(Metric.UNDERSTOOD, intent, amount=number)
        metrics.observe_all(Metric.EVENT_TO_REPLY, [(reply.timings.total, reply.trace_id) for reply in replies])
        metrics.observe_all(Metric.QUEUE, [(reply.timings.waiting, "") for reply in replies], Queue.MAILBOX)
        metrics.observe_all(Metric.STAGE, [(reply.timings.parse, "") for reply in replies], Stage.PARSE)
        for reply in replies:
            if reply.timings.understand:
                metrics.observe(Metric.STAGE, reply.timings.understand, Stage.UNDERSTAND)
            if reply.usage is not None:
                self._generated(reply.timings, reply.usage)

    def _generated(self, timings: Timings, usage: Usage) -> None:
        metrics = self._metrics
        metrics.count(Metric.PROMPT_TOKENS, amount=usage.prompt)
        metrics.count(Metric.PROMPT_TOKENS_CACHED, amount=usage.cached)
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

    def _read_engine(self) -> None:
        stats = self._engine.stats()
        self._board.beats[Loop.DEVICE] = stats.beat
        age = self._clock.monotonic() - stats.beat
        put = self._metrics.set
        put(Metric.LOOP_HEARTBEAT, self._clock.now_ms() / 1000 - age, Loop.DEVICE)
        put(Metric.INFLIGHT_TURNS, stats.running, TurnState.DECODING)
        put(Metric.INFLIGHT_TURNS, stats.waiting, TurnState.QUEUED)
        if stats.kv_capacity_tokens:
            put(Metric.KV_CACHE_USAGE, stats.kv_tokens / stats.kv_capacity_tokens)


def _ids(turn: Turn) -> dict[str, object]:
    return {
        "turn": turn.ref.turn_id,
        "conversation": turn.conversation,
        "partition": turn.ref.partition,
        "attempt": turn.ref.attempt,
    }
