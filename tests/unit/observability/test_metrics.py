"""Every metric comes from the table, is fed by the worker, and has a bounded number of series."""

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from stream_worker.clock import ManualClock
from stream_worker.contracts.decode import Arrival, DecodeRules, decode
from stream_worker.contracts.metric import Timings
from stream_worker.conversation.pending import PendingTurn
from stream_worker.errors import Code, Fatal
from stream_worker.inference.engine import Capabilities, EngineStats, Forgetting, Takes
from stream_worker.observability.health import HealthBoard
from stream_worker.observability.metric_table import PREFIX, TABLE, Kind, Label, LogLevel, Metric, one_two_five
from stream_worker.observability.metrics import Metrics, trace_id
from stream_worker.observer import Snapshot
from stream_worker.orders import Order, TurnRef
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome
from stream_worker.record import Record
from stream_worker.reporter import OUT_OF_SCOPE, Reporter
from stream_worker.stages.parsing import Parser
from stream_worker.tokens import Usage
from stream_worker.turn import Turn
from tests.unit.observability.bots import BOT

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARTITIONS = 100


class IdleEngine:
    capabilities = Capabilities(
        takes=Takes.IDS,
        deterministic=True,
        forgetting=Forgetting.NONE,
        model="tiny",
        max_context_tokens=128,
        features=frozenset(),
    )

    def submit(self, order: Order) -> None:
        raise AssertionError("a reporter orders nothing")

    def stats(self) -> EngineStats:
        return EngineStats(running=1, waiting=2, kv_tokens=3, kv_capacity_tokens=6, steps=9, beat=0.0)

    def close(self, deadline_s: float) -> None:
        raise AssertionError("a reporter closes nothing")


def new_metrics() -> Metrics:
    return Metrics(
        {
            Label.MODEL: ["tiny"],
            Label.INTENT: ["weather", OUT_OF_SCOPE],
            Label.COMMAND: ["lamp.switch"],
            Label.PARTITION: [str(each) for each in range(PARTITIONS)],
        }
    )


def new_turn(number: int) -> Turn:
    conversation = f"c-{number}"
    record = Record(
        "chat.events",
        number % PARTITIONS,
        number,
        0,
        conversation.encode(),
        b'{"conversation_id":"%s","sender":{"id":"u-%d"},"text":"hello"}' % (conversation.encode(), number),
        (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode()),),
    )
    arrival = decode(record, DecodeRules())
    assert isinstance(arrival, Arrival)
    return Turn(
        ref=TurnRef(record.partition, 1, f"t-{number}", 1),
        conversation=conversation,
        pending=PendingTurn((arrival,)),
        reply_id=f"t-{number}",
        bot=BOT,
        text="hello",
        started=0.0,
        started_ms=0,
        deadline=0.0,
        parsed=Parser(("en",)).parse("hello"),
        parse_seconds=0.0,
        failures=0,
    )


def snapshot(partitions: range) -> Snapshot:
    return Snapshot(
        phases=dict.fromkeys(partitions, "serving"),
        lags=dict.fromkeys(partitions, 3),
        ages_s=dict.fromkeys(partitions, 0.5),
        running_turns=1,
        waiting_events=2,
        uncommitted=3,
        paused=False,
        engine_away=False,
    )


def live_through(reporter: Reporter, number: int) -> None:
    """Everything that can happen to a worker, once."""
    turn = new_turn(number)
    spent = Timings(waiting=0.1, parse=0.1, understand=0.1, queued=0.1, first_token=0.1, generate=0.4, total=0.8)
    reporter.settled(Outcome.REPLIED, 1)
    reporter.dead_lettered(DeadLetterReason.INVALID_JSON, 0, number, "not JSON")
    reporter.replied(turn, "weather", FinishReason.STOP, spent, Usage(prompt=5, cached=2, generated=4))
    reporter.replied(turn, f"never declared {number}", FinishReason.STOP, spent, None)
    reporter.first_delta(turn, 0.2)
    reporter.attempt_failed(turn, DeadLetterReason.TURN_TIMEOUT, "too slow")
    reporter.engine_away("gone")
    reporter.handed_over(True)
    reporter.late_result()
    reporter.delta_dropped()
    reporter.command_emitted("lamp.switch")
    reporter.taken(0, 1, 0.2, 10)
    reporter.released(1, lost=False)
    reporter.refused(Fatal(Code.FENCED, "fenced"))
    reporter.warned("odd", 1)
    reporter.committed(0.02, 12)
    reporter.aborted("fenced")
    reporter.clients_replaced(Fatal(Code.CLIENTS_BROKEN, "broken"))
    reporter.snapshot(snapshot(range(PARTITIONS)))
    reporter.beat()


@pytest.fixture
def metrics() -> Metrics:
    return new_metrics()


@pytest.fixture
def reporter(metrics: Metrics) -> Reporter:
    return Reporter(metrics, HealthBoard(ManualClock()), IdleEngine(), ManualClock())


def series(metrics: Metrics) -> list[str]:
    return [line for line in generate_latest(metrics.registry).decode().splitlines() if not line.startswith("#")]


def test_every_metric_of_the_table_is_fed_by_a_worker(metrics: Metrics, reporter: Reporter) -> None:
    live_through(reporter, 1)
    metrics.count(Metric.LOG_MESSAGES, LogLevel.INFO)
    moved = {line.rpartition(" ")[0].partition("{")[0] for line in series(metrics) if not line.endswith(" 0.0")}
    silent_when_well = {Metric.PAUSED_PARTITIONS, Metric.RESTORING_PARTITIONS, Metric.REFUSED_PARTITIONS}
    silent_when_well |= {Metric.ENGINE_BREAKER_OPEN}
    for name, spec in TABLE.items():
        suffix = "_count" if spec.kind is Kind.HISTOGRAM else ""
        assert (f"{PREFIX}_{name}{suffix}" in moved) != (name in silent_when_well), name


def test_ten_thousand_conversations_add_no_series(metrics: Metrics, reporter: Reporter) -> None:
    live_through(reporter, 0)
    before = len(series(metrics))
    spent = Timings(total=0.8)
    for number in range(1, 10_000):
        reporter.replied(
            new_turn(number) if number % 1000 == 0 else new_turn(1), f"i{number}", FinishReason.STOP, spent, None
        )
    live_through(reporter, 10_000)
    assert len(series(metrics)) == before
    assert before < 2_000


def test_a_partition_that_is_gone_leaves_no_series(metrics: Metrics, reporter: Reporter) -> None:
    reporter.snapshot(snapshot(range(3)))
    reporter.snapshot(snapshot(range(1, 2)))
    lags = [line for line in series(metrics) if line.startswith(f"{PREFIX}_{Metric.PARTITION_LAG}")]
    assert lags == ['stream_worker_partition_lag{partition="1"} 3.0']


def test_the_time_to_the_reply_carries_the_trace_id(metrics: Metrics, reporter: Reporter) -> None:
    live_through(reporter, 1)
    text = generate_openmetrics(metrics.registry).decode()  # type: ignore[no-untyped-call]
    assert f'# {{trace_id="{TRACE}"}} 0.8' in text
    assert text.endswith("# EOF\n")


def test_a_value_outside_a_closed_list_is_a_bug(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="outcome"):
        metrics.count(Metric.EVENTS, "vanished")


def test_an_intent_nobody_declared_counts_as_other(metrics: Metrics) -> None:
    metrics.count(Metric.UNDERSTOOD, "never heard of")
    assert metrics.registry.get_sample_value("stream_worker_understood_total", {"intent": "other"}) == 1


def test_many_events_are_one_addition(metrics: Metrics) -> None:
    metrics.count(Metric.EVENTS, Outcome.REPLIED, amount=1_000)
    assert metrics.registry.get_sample_value("stream_worker_events_total", {"outcome": "replied"}) == 1_000


def test_names_follow_the_rules_of_prometheus() -> None:
    for name, spec in TABLE.items():
        assert name.endswith("_total") == (spec.kind is Kind.COUNTER)
        assert spec.help.endswith(".")
        if spec.unit.value in ("seconds", "ratio"):
            assert name.endswith(spec.unit)


def test_the_slo_is_a_bucket_bound() -> None:
    metrics = Metrics({}, reply_slo_seconds=7.5)
    metrics.observe(Metric.EVENT_TO_REPLY, 7.0)
    assert metrics.registry.get_sample_value("stream_worker_event_to_reply_seconds_bucket", {"le": "7.5"}) == 1


def test_buckets_are_one_two_five() -> None:
    assert one_two_five(0.01, 1) == (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        ("", ""),
        ("00-short-b7-01", ""),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", ""),
        (f"00-{'z' * 32}-b7ad6b7169203331-01", ""),
    ],
)
def test_only_a_valid_traceparent_has_a_trace_id(traceparent: str, expected: str) -> None:
    assert trace_id(traceparent) == expected
