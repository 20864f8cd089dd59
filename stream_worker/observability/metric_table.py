"""The one table of metrics. Prometheus objects, the reference page and the checks of dashboards come from it. Pure.

Every metric here is fed by a running worker. All names get the prefix
`stream_worker_`; a label's values come from a closed list or from what the
configuration declares, never from an event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome

PREFIX = "stream_worker"


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Unit(StrEnum):
    NONE = ""
    SECONDS = "seconds"
    RATIO = "ratio"
    EVENTS = "events"
    TOKENS = "tokens"
    RECORDS = "records"


class Stage(StrEnum):
    PARSE = "parse"
    UNDERSTAND = "understand"
    GENERATE = "generate"


class Queue(StrEnum):
    MAILBOX = "mailbox"
    ENGINE = "engine"


class CommitOutcome(StrEnum):
    COMMITTED = "committed"
    ABORTED = "aborted"


class Rebalance(StrEnum):
    TAKEN = "taken"
    RELEASED = "released"
    LOST = "lost"


class Direction(StrEnum):
    TO_HUMAN = "to_human"
    TO_BOT = "to_bot"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class TurnState(StrEnum):
    RUNNING = "running"
    DECODING = "decoding"
    QUEUED = "queued"


class Loop(StrEnum):
    """Threads that must show signs of life."""

    WORKER = "worker"
    DEVICE = "device"
    IO = "io"


class Label(StrEnum):
    OUTCOME = "outcome"
    REASON = "reason"
    FINISH_REASON = "finish_reason"
    STAGE = "stage"
    QUEUE = "queue"
    COMMIT = "result"
    REBALANCE = "kind"
    DIRECTION = "direction"
    LEVEL = "level"
    STATE = "state"
    LOOP = "loop"
    MODEL = "model"
    INTENT = "intent"
    COMMAND = "command"
    PARTITION = "partition"


#: Labels whose values are known to the program.
CLOSED_LABELS: Mapping[Label, type[StrEnum]] = {
    Label.OUTCOME: Outcome,
    Label.REASON: DeadLetterReason,
    Label.FINISH_REASON: FinishReason,
    Label.STAGE: Stage,
    Label.QUEUE: Queue,
    Label.COMMIT: CommitOutcome,
    Label.REBALANCE: Rebalance,
    Label.DIRECTION: Direction,
    Label.LEVEL: LogLevel,
    Label.STATE: TurnState,
    Label.LOOP: Loop,
}

#: Labels whose values bots, engine and topic declare at the start; anything else counts as `other`.
DECLARED_LABELS = frozenset({Label.MODEL, Label.INTENT, Label.COMMAND, Label.PARTITION})
OTHER = "other"


class Metric(StrEnum):
    EVENTS = "events_total"
    REPLIES = "replies_total"
    DEAD_LETTERS = "dead_letters_total"
    COMMANDS = "commands_total"
    HANDOFFS = "handoffs_total"
    UNDERSTOOD = "understood_total"
    PROMPT_TOKENS = "prompt_tokens_total"
    PROMPT_TOKENS_CACHED = "prompt_tokens_cached_total"
    GENERATED_TOKENS = "generated_tokens_total"
    ATTEMPTS = "attempts_total"
    LATE_RESULTS = "late_results_total"
    DELTAS_DROPPED = "deltas_dropped_total"
    COMMITS = "commits_total"
    REBALANCES = "rebalances_total"
    CLIENTS_REPLACED = "clients_replaced_total"
    LOG_MESSAGES = "log_messages_total"
    EVENT_TO_REPLY = "event_to_reply_seconds"
    EVENT_TO_FIRST_DELTA = "event_to_first_delta_seconds"
    TIME_TO_FIRST_TOKEN = "time_to_first_token_seconds"  # noqa: S105
    TIME_PER_OUTPUT_TOKEN = "time_per_output_token_seconds"  # noqa: S105
    STAGE = "stage_seconds"
    QUEUE = "queue_seconds"
    COMMIT = "commit_seconds"
    RESTORE = "restore_seconds"
    TRANSACTION_RECORDS = "transaction_records"
    INFLIGHT_TURNS = "inflight_turns"
    MAILBOX_EVENTS = "mailbox_events"
    UNCOMMITTED_RECORDS = "uncommitted_records"
    PARTITION_LAG = "partition_lag"
    OFFSET_AGE = "offset_age_seconds"
    ASSIGNED_PARTITIONS = "assigned_partitions"
    PAUSED_PARTITIONS = "paused_partitions"
    RESTORING_PARTITIONS = "restoring_partitions"
    REFUSED_PARTITIONS = "refused_partitions"
    ENGINE_BREAKER_OPEN = "engine_breaker_open"
    KV_CACHE_USAGE = "kv_cache_usage_ratio"
    LOOP_HEARTBEAT = "loop_heartbeat_timestamp_seconds"


@dataclass(frozen=True, slots=True)
class Spec:
    kind: Kind
    help: str
    unit: Unit = Unit.NONE
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()


def one_two_five(least: float, most: float) -> tuple[float, ...]:
    """1, 2, 5, 10, ... from `least` to `most`, both included."""
    steps = (digit * 10**power / 10_000 for power in range(12) for digit in (1, 2, 5))
    return tuple(step for step in steps if least <= step <= most)


_WAITING = one_two_five(0.01, 500)
_WORKING = one_two_five(0.0001, 50)
_S = Unit.SECONDS


def _counter(help_: str, *labels: Label, unit: Unit = Unit.NONE) -> Spec:
    return Spec(Kind.COUNTER, help_, unit, labels)


def _gauge(help_: str, *labels: Label, unit: Unit = Unit.NONE) -> Spec:
    return Spec(Kind.GAUGE, help_, unit, labels)


def _seconds(help_: str, buckets: tuple[float, ...], *labels: Label) -> Spec:
    return Spec(Kind.HISTOGRAM, help_, _S, labels, buckets)


TABLE: Mapping[Metric, Spec] = {
    Metric.EVENTS: _counter("Events that were settled.", Label.OUTCOME, unit=Unit.EVENTS),
    Metric.REPLIES: _counter("Replies.", Label.MODEL, Label.FINISH_REASON),
    Metric.DEAD_LETTERS: _counter("Events that could not be answered.", Label.REASON),
    Metric.COMMANDS: _counter("Commands emitted with replies.", Label.COMMAND),
    Metric.HANDOFFS: _counter("Conversations handed to a human or back to the bot.", Label.DIRECTION),
    Metric.UNDERSTOOD: _counter("Answered turns by intent; out_of_scope without one.", Label.INTENT),
    Metric.PROMPT_TOKENS: _counter("Tokens of prompts, cached ones included.", unit=Unit.TOKENS),
    Metric.PROMPT_TOKENS_CACHED: _counter("Tokens of prompts that were not computed again.", unit=Unit.TOKENS),
    Metric.GENERATED_TOKENS: _counter("Generated tokens.", unit=Unit.TOKENS),
    Metric.ATTEMPTS: _counter("Attempts of turns that failed for the event's sake.", Label.REASON),
    Metric.LATE_RESULTS: _counter("Results of attempts that were no longer running; dropped."),
    Metric.DELTAS_DROPPED: _counter("Previews that could not be sent; the reply is not affected."),
    Metric.COMMITS: _counter("Transactions by how they ended.", Label.COMMIT),
    Metric.REBALANCES: _counter("Partitions taken, released and lost.", Label.REBALANCE),
    Metric.CLIENTS_REPLACED: _counter("How often the Kafka clients failed and were replaced."),
    Metric.LOG_MESSAGES: _counter("Log messages.", Label.LEVEL),
    Metric.EVENT_TO_REPLY: _seconds("From the event's record timestamp to its settling with a reply.", _WAITING),
    Metric.EVENT_TO_FIRST_DELTA: _seconds("From the event's record timestamp to the reply's first preview.", _WAITING),
    Metric.TIME_TO_FIRST_TOKEN: _seconds("From the engine's acceptance to the first token.", _WORKING, Label.MODEL),
    Metric.TIME_PER_OUTPUT_TOKEN: _seconds("Between tokens of one reply, on average.", _WORKING, Label.MODEL),
    Metric.STAGE: _seconds("Time a turn spent in a stage.", _WORKING, Label.STAGE),
    Metric.QUEUE: _seconds("Time a turn waited in a queue.", _WAITING, Label.QUEUE),
    Metric.COMMIT: _seconds("Duration of a committed transaction.", one_two_five(0.001, 10)),
    Metric.RESTORE: _seconds("From the assignment of a partition to its first record.", _WAITING),
    Metric.TRANSACTION_RECORDS: Spec(
        Kind.HISTOGRAM, "Records of a committed transaction.", Unit.RECORDS, (), one_two_five(1, 100_000)
    ),
    Metric.INFLIGHT_TURNS: _gauge("Turns: running in all; of those decoding, or queued, in the engine.", Label.STATE),
    Metric.MAILBOX_EVENTS: _gauge("Events in hand that wait for their turn.", unit=Unit.EVENTS),
    Metric.UNCOMMITTED_RECORDS: _gauge("Records that wait for the next transaction.", unit=Unit.RECORDS),
    Metric.PARTITION_LAG: _gauge("Records not settled and committed.", Label.PARTITION, unit=Unit.RECORDS),
    Metric.OFFSET_AGE: _gauge("Age of the oldest event in hand.", Label.PARTITION, unit=_S),
    Metric.ASSIGNED_PARTITIONS: _gauge("Partitions of this worker."),
    Metric.PAUSED_PARTITIONS: _gauge("Partitions of which nothing is read, because enough is in hand."),
    Metric.RESTORING_PARTITIONS: _gauge("Partitions that are being taken."),
    Metric.REFUSED_PARTITIONS: _gauge("Partitions that wait for a person."),
    Metric.ENGINE_BREAKER_OPEN: _gauge("1 while the engine is away and turns are held."),
    Metric.KV_CACHE_USAGE: _gauge("Used share of the memory for keys and values.", unit=Unit.RATIO),
    Metric.LOOP_HEARTBEAT: _gauge("Unix time of a thread's last sign of life.", Label.LOOP, unit=_S),
}

#: One series whose labels say what runs: worker, settings, bots and model.
BUILD_INFO = "build"
BUILD_INFO_HELP = "What runs here: version, settings_hash, bot and model."
