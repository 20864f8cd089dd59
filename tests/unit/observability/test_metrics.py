"""Metrics on a registry, by the table: names, labels, buckets, exemplars."""

import pytest

from stream_worker.observability.metric_table import TABLE, CommitOutcome, Kind, Label, Metric, one_two_five
from stream_worker.observability.metrics import Metrics, trace_id

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics({Label.INTENT: ["weather"]})


def test_a_value_outside_a_closed_list_is_a_bug(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="outcome"):
        metrics.count(Metric.EVENTS, "chat.events", "vanished")


def test_an_intent_nobody_declared_counts_as_other(metrics: Metrics) -> None:
    metrics.count(Metric.UNDERSTOOD, "never heard of")
    assert metrics.registry.get_sample_value("stream_worker_understood_total", {"intent": "other"}) == 1


def test_many_events_are_one_addition(metrics: Metrics) -> None:
    metrics.count(Metric.COMMITS, CommitOutcome.COMMITTED, amount=1_000)
    assert metrics.registry.get_sample_value("stream_worker_commits_total", {"outcome": "committed"}) == 1_000


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
