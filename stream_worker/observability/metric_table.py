"""The one table of metrics. Prometheus objects, the reference page and the checks of dashboards come from it. Pure.

Every metric here is fed by a running worker. All names get the prefix
`stream_worker_`; a label's values come from a closed list or from what the
configuration declares, never from an event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from stream_worker.errors import Code
from stream_worker.outcome import DeadLetterReason, FallbackReason, FinishReason, Outcome

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
    BYTES = "bytes"


class Stage(StrEnum):
    PARSE = "parse"
    UNDERSTAND = "understand"
    DIALOGUE = "dialogue"
    CALL = "call"
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


class Part(StrEnum):
    """What of a prompt was cached: what was said to the model, or what it had said itself."""

    PROMPT = "prompt"
    REPLY = "reply"


class Tier(StrEnum):
    """Where keys and values of conversations that wait are kept."""

    DEVICE = "device"
    HOST = "host"


class MemoryKind(StrEnum):
    USED = "used"
    TOTAL = "total"


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


class KafkaClient(StrEnum):
    """The clients whose statistics librdkafka gives us."""

    CONSUMER = "consumer"
    PRODUCER = "producer"
    DELTAS = "deltas"


class CallOutcome(StrEnum):
    """What came of a call to another machine."""

    ANSWERED = "answered"
    FAILED = "failed"


class Label(Enum):
    """A label's name, and its values where the program knows them.

    The values of the others are declared at the start, by bots, engine and topic; anything else counts as `other`.
    """

    OUTCOME = ("outcome", frozenset(Outcome))
    REASON = ("reason", frozenset(DeadLetterReason))
    FINISH_REASON = ("finish_reason", frozenset(FinishReason))
    STAGE = ("stage", frozenset(Stage))
    QUEUE = ("queue", frozenset(Queue))
    COMMIT = ("outcome", frozenset(CommitOutcome))
    REBALANCE = ("kind", frozenset(Rebalance))
    DIRECTION = ("direction", frozenset(Direction))
    LEVEL = ("level", frozenset(LogLevel))
    STATE = ("state", frozenset(TurnState))
    LOOP = ("loop", frozenset(Loop))
    MEMORY = ("kind", frozenset(MemoryKind))
    PART = ("part", frozenset(Part))
    TIER = ("tier", frozenset(Tier))
    FALLBACK = ("reason", frozenset(FallbackReason))
    CLIENT = ("client", frozenset(KafkaClient))
    CODE = ("code", frozenset(code.id for code in Code))
    MODEL = ("model", None)
    INTENT = ("intent", None)
    LANGUAGE = ("language", None)
    COMMAND = ("command", None)
    CALL = ("call", None)
    CALL_OUTCOME = ("outcome", frozenset(CallOutcome))
    TOPIC = ("topic", None)
    PARTITION = ("partition", None)

    def __init__(self, text: str, closed: frozenset[str] | None) -> None:
        self.text = text
        """The name that Prometheus sees."""
        self.closed = closed


OTHER = "other"


class Metric(StrEnum):
    EVENTS = "events_total"
    REPLIES = "replies_total"
    REPLIES_WITHIN_SLO = "replies_within_slo_total"
    DEAD_LETTERS = "dead_letters_total"
    COMMANDS = "commands_total"
    CALLS = "calls_total"
    BOT_RELOAD_SUCCESS = "last_bot_reload_success"
    HANDOFFS = "handoffs_total"
    UNDERSTOOD = "understood_total"
    LANGUAGES = "languages_total"
    PROMPT_TOKENS = "prompt_tokens_total"
    PROMPT_TOKENS_CACHED = "prompt_tokens_cached_total"
    ENGINE_FALLBACKS = "engine_fallbacks_total"
    KV_EVICTIONS = "kv_evictions_total"
    GENERATED_TOKENS = "generated_tokens_total"
    ATTEMPTS = "attempts_total"
    LATE_RESULTS = "late_results_total"
    DELTAS_DROPPED = "deltas_dropped_total"
    COMMITS = "commits_total"
    REBALANCES = "rebalances_total"
    CLIENTS_REPLACED = "clients_replaced_total"
    FATAL_ERRORS = "fatal_errors_total"
    LOG_MESSAGES = "log_messages_total"
    EVENT_TO_REPLY = "event_to_reply_seconds"
    EVENT_TO_FIRST_DELTA = "event_to_first_delta_seconds"
    TIME_TO_FIRST_TOKEN = "time_to_first_token_seconds"  # noqa: S105
    TIME_PER_OUTPUT_TOKEN = "time_per_output_token_seconds"  # noqa: S105
    STAGE = "stage_seconds"
    QUEUE = "queue_seconds"
    BATCH_SIZE = "batch_size"
    COMMIT = "commit_seconds"
    RESTORE = "restore_seconds"
    POLL_INTERVAL = "poll_interval_seconds"
    TRANSACTION_RECORDS = "transaction_records"
    INFLIGHT_TURNS = "inflight_turns"
    MAILBOX_EVENTS = "mailbox_events"
    UNCOMMITTED_SETTLEMENTS = "uncommitted_settlements"
    PARTITION_LAG = "partition_lag"
    OFFSET_AGE = "offset_age_seconds"
    BACKLOG_WORK = "backlog_work_seconds"
    TOPIC_PARTITIONS = "topic_partitions"
    ASSIGNED_PARTITIONS = "assigned_partitions"
    PAUSED_PARTITIONS = "paused_partitions"
    RESTORING_PARTITIONS = "restoring_partitions"
    REFUSED_PARTITIONS = "refused_partitions"
    CHANGELOG_LAG = "changelog_lag"
    STATE_BYTES = "state_bytes"
    ENGINE_BREAKER_OPEN = "engine_breaker_open"
    KV_CACHE_USAGE = "kv_cache_usage_ratio"
    DEVICE_MEMORY = "device_memory_bytes"
    REPLY_SLO = "reply_slo_seconds"
    MAX_POLL_INTERVAL = "max_poll_interval_seconds"
    LOOP_HEARTBEAT = "loop_heartbeat_timestamp_seconds"
    CERTIFICATE_EXPIRY = "certificate_expiry_timestamp_seconds"
    CLIENT_ROUND_TRIP = "kafka_client_round_trip_seconds"
    CLIENT_THROTTLE = "kafka_client_throttle_seconds"
    CLIENT_QUEUED = "kafka_client_queued_messages"
    CLIENT_CONNECTIONS = "kafka_client_connections_total"
    CLIENT_ERRORS = "kafka_client_errors_total"


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


_L = Label

TABLE: Mapping[Metric, Spec] = {
    Metric.EVENTS: _counter("Events that were settled, by how they ended.", _L.TOPIC, _L.OUTCOME, unit=Unit.EVENTS),
    Metric.REPLIES: _counter("Replies, those from templates and fallback texts too.", _L.MODEL, _L.FINISH_REASON),
    Metric.REPLIES_WITHIN_SLO: _counter("Replies that took at most slo.reply_seconds; a fallback text is none."),
    Metric.DEAD_LETTERS: _counter("Events that became dead letters.", _L.REASON),
    Metric.COMMANDS: _counter("Commands that left with replies.", _L.COMMAND),
    Metric.CALLS: _counter("Calls to other machines that were made during turns.", _L.CALL, _L.CALL_OUTCOME),
    Metric.BOT_RELOAD_SUCCESS: _gauge("1 unless a bot file changed and was refused; the one before it is in force."),
    Metric.HANDOFFS: _counter("Conversations handed to a human or back to the bot.", _L.DIRECTION),
    Metric.UNDERSTOOD: _counter("Replied turns by intent; out_of_scope where none was found.", _L.INTENT),
    Metric.LANGUAGES: _counter("Replied turns by the language of their text.", _L.LANGUAGE),
    Metric.PROMPT_TOKENS: _counter("Prompt tokens of generated replies, cached ones included.", unit=Unit.TOKENS),
    Metric.PROMPT_TOKENS_CACHED: _counter(
        "Those of them that were not computed again; `reply` are those sampled in the turn before.",
        Label.PART,
        unit=Unit.TOKENS,
    ),
    Metric.ENGINE_FALLBACKS: _counter("Faster ways to run the model that could not be taken.", Label.FALLBACK),
    Metric.KV_EVICTIONS: _counter("Conversations whose keys and values were given back, by tier.", Label.TIER),
    Metric.GENERATED_TOKENS: _counter("Sampled tokens of generated replies.", unit=Unit.TOKENS),
    Metric.ATTEMPTS: _counter("Attempts that failed and were counted against their events.", _L.REASON),
    Metric.LATE_RESULTS: _counter("Results of attempts that were no longer running; dropped."),
    Metric.DELTAS_DROPPED: _counter("Previews that could not be sent; the reply is not affected."),
    Metric.COMMITS: _counter("Transactions by how they ended.", _L.COMMIT),
    Metric.REBALANCES: _counter("Partitions taken, released and lost.", _L.REBALANCE),
    Metric.CLIENTS_REPLACED: _counter("How often the Kafka clients failed and were replaced."),
    Metric.FATAL_ERRORS: _counter("Errors that ended this worker's process; kept in the state folder.", _L.CODE),
    Metric.LOG_MESSAGES: _counter("Log lines that were written.", _L.LEVEL),
    Metric.EVENT_TO_REPLY: _seconds("From the event's record timestamp to its settling with a reply.", _WAITING),
    Metric.EVENT_TO_FIRST_DELTA: _seconds("From the event's record timestamp to the reply's first preview.", _WAITING),
    Metric.TIME_TO_FIRST_TOKEN: _seconds("From the engine's acceptance to the first token.", _WORKING, _L.MODEL),
    Metric.TIME_PER_OUTPUT_TOKEN: _seconds("Between tokens of one reply, on average.", _WORKING, _L.MODEL),
    Metric.STAGE: _seconds("Time that a replied turn spent in a stage.", _WORKING, _L.STAGE),
    Metric.QUEUE: _seconds("Time that a replied turn waited in a queue.", _WAITING, _L.QUEUE),
    Metric.BATCH_SIZE: Spec(
        Kind.HISTOGRAM,
        "Understand: texts in the pass of each replied turn. Generate: the running batch, looked at once a second.",
        Unit.NONE,
        (_L.STAGE,),
        (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    ),
    Metric.COMMIT: _seconds("Duration of a committed transaction.", one_two_five(0.001, 10)),
    Metric.RESTORE: _seconds("From the assignment of a partition until its records are read.", _WAITING),
    Metric.POLL_INTERVAL: _seconds("Between two polls of the input.", one_two_five(0.001, 100)),
    Metric.TRANSACTION_RECORDS: Spec(
        Kind.HISTOGRAM, "Records of a committed transaction.", Unit.RECORDS, (), one_two_five(1, 100_000)
    ),
    Metric.INFLIGHT_TURNS: _gauge(
        "Turns: running (resting ones too); in the engine's running batch (decoding); waiting for it (queued).",
        _L.STATE,
    ),
    Metric.MAILBOX_EVENTS: _gauge("Events in hand: in mailboxes and in running turns.", unit=Unit.EVENTS),
    Metric.UNCOMMITTED_SETTLEMENTS: _gauge("Finished turns and events that wait for the next transaction."),
    Metric.PARTITION_LAG: _gauge(
        "Records from the group offset to the partition's end.", _L.TOPIC, _L.PARTITION, unit=Unit.RECORDS
    ),
    Metric.OFFSET_AGE: _gauge(
        "How long the group offset has waited: since its record was written, or since nothing moved. 0 without lag.",
        _L.TOPIC,
        _L.PARTITION,
        unit=_S,
    ),
    Metric.BACKLOG_WORK: _gauge("Estimate: how long this worker needs for all the lag of its partitions.", unit=_S),
    Metric.TOPIC_PARTITIONS: _gauge("Partitions of the input topic.", _L.TOPIC),
    Metric.ASSIGNED_PARTITIONS: _gauge("Partitions of this worker."),
    Metric.PAUSED_PARTITIONS: _gauge("Partitions of which nothing is read, because enough is in hand."),
    Metric.RESTORING_PARTITIONS: _gauge("Partitions that are being taken."),
    Metric.REFUSED_PARTITIONS: _gauge("Partitions that wait for a person."),
    Metric.CHANGELOG_LAG: _gauge("Offsets between what restores have read and the changelog's ends."),
    Metric.STATE_BYTES: _gauge("Estimated size of the local state.", unit=Unit.BYTES),
    Metric.ENGINE_BREAKER_OPEN: _gauge("1 while the engine is away and turns are held."),
    Metric.KV_CACHE_USAGE: _gauge("Used share of the memory for keys and values.", unit=Unit.RATIO),
    Metric.DEVICE_MEMORY: _gauge(
        "Memory that the model runs in, used and in total: the GPU's, or what this process has and may have.",
        _L.MEMORY,
        unit=Unit.BYTES,
    ),
    Metric.REPLY_SLO: _gauge("The setting slo.reply_seconds.", unit=_S),
    Metric.MAX_POLL_INTERVAL: _gauge("The setting kafka.max_poll_interval_ms.", unit=_S),
    Metric.LOOP_HEARTBEAT: _gauge("Unix time of a thread's last sign of life, as of a second ago.", _L.LOOP, unit=_S),
    Metric.CERTIFICATE_EXPIRY: _gauge("Unix time at which our client certificate ends; none without one.", unit=_S),
    Metric.CLIENT_ROUND_TRIP: _gauge("librdkafka: the slowest broker's mean round trip.", _L.CLIENT, unit=_S),
    Metric.CLIENT_THROTTLE: _gauge("librdkafka: the most throttled broker's mean delay.", _L.CLIENT, unit=_S),
    Metric.CLIENT_QUEUED: _gauge("librdkafka: records that wait to be sent, or were fetched ahead.", _L.CLIENT),
    Metric.CLIENT_CONNECTIONS: _counter("librdkafka: connections made to brokers.", _L.CLIENT),
    Metric.CLIENT_ERRORS: _counter("librdkafka: requests that failed or timed out.", _L.CLIENT),
}

#: One series whose labels say what runs: worker, settings, bots and model.
BUILD_INFO = "build"
BUILD_INFO_HELP = "What runs here: version, settings_hash, bot and model."
