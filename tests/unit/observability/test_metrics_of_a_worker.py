"""What a worker's metrics say of what it did."""

import pytest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from stream_worker.observability.metric_table import PREFIX, TABLE, Kind, Metric
from tests.unit.observability.watched import TRACE, Watched, everything_happens, limits
from tests.unit.worker.rig import settings

#: Fed by what surrounds the worker in its process; `tests/kafka/test_scrape.py` sees them there.
OF_THE_PROCESS = frozenset(
    {
        Metric.BOT_RELOAD_SUCCESS,
        Metric.FATAL_ERRORS,
        Metric.LOG_MESSAGES,
        Metric.TOPIC_PARTITIONS,
        Metric.REPLY_SLO,
        Metric.MAX_POLL_INTERVAL,
        Metric.CERTIFICATE_EXPIRY,
        Metric.CLIENT_ROUND_TRIP,
        Metric.CLIENT_THROTTLE,
        Metric.CLIENT_QUEUED,
        Metric.CLIENT_CONNECTIONS,
        Metric.CLIENT_ERRORS,
    }
)


@pytest.fixture(scope="module")
def lived() -> Watched:
    return everything_happens()


@pytest.mark.parametrize("name", [name for name in TABLE if name not in OF_THE_PROCESS])
def test_every_metric_of_the_table_is_fed_by_a_worker(name: Metric, lived: Watched) -> None:
    suffix = "_count" if TABLE[name].kind is Kind.HISTOGRAM else ""
    values = [
        value for series, value in lived.greatest.items() if series.partition("{")[0] == f"{PREFIX}_{name}{suffix}"
    ]
    assert values
    assert max(values) > 0


def test_the_time_to_the_reply_carries_the_trace_id(lived: Watched) -> None:
    text = generate_openmetrics(lived.metrics.registry).decode()  # type: ignore[no-untyped-call]
    found = [line for line in text.splitlines() if line.startswith(f"{PREFIX}_{Metric.EVENT_TO_REPLY}_bucket")]
    assert sum(f'# {{trace_id="{TRACE}"}}' in line for line in found) == 1
    assert text.endswith("# EOF\n")


def test_every_event_and_reply_is_counted_once(lived: Watched) -> None:
    """Also those that were settled again because an abort or new clients took them back."""
    topic = lived.settings.topics.events
    settled = {each["event_id"]: each["outcome"] for each in lived.rig.metrics}
    for outcome in ("replied", "silent", "dead_lettered"):
        published = sum(found == outcome for found in settled.values())
        counted = lived.value(Metric.EVENTS, topic=topic, outcome=outcome)
        assert counted is not None
        assert counted >= published
    assert lived.value(Metric.REPLIES, model="scripted", finish_reason="fallback") == 1


def test_what_the_engine_counts_is_counted_once_by_its_kind(lived: Watched) -> None:
    engines = len(lived.engines)
    assert lived.value(Metric.ENGINE_FALLBACKS, reason="cpu") == engines
    assert lived.value(Metric.KV_EVICTIONS, tier="device") == 4 * engines
    assert lived.value(Metric.KV_EVICTIONS, tier="host") == engines
    prompt, reply = (lived.value(Metric.PROMPT_TOKENS_CACHED, part=part) for part in ("prompt", "reply"))
    assert reply
    assert prompt == 2 * reply


def _answered(conversations: int) -> Watched:
    watched = Watched(settings(topics={"partitions": 100}), seconds_per_word=0.0)
    watched.rig.start()
    watched.rig.run(0.5)
    for number in range(conversations):
        watched.rig.send(f"c-{number}", message_id=f"m-{number}", text=f"hello {number}", sender={"id": f"u-{number}"})
    watched.rig.run(conversations / 500 + 1.0, step=0.05)
    assert len(watched.rig.replies) == conversations
    return watched


def test_ten_thousand_conversations_have_the_series_of_a_hundred() -> None:
    few, many = _answered(100), _answered(10_000)
    assert few.series().keys() == many.series().keys()
    assert len(many.series()) < 2_000, "with 100 partitions"


def test_a_partition_that_is_gone_leaves_no_series() -> None:
    watched = Watched(limits())
    watched.rig.start("w0")
    watched.rig.run(2.0)
    of_lag = f"{PREFIX}_{Metric.PARTITION_LAG}{{"
    assert sum(name.startswith(of_lag) for name in watched.series()) == 4
    # The next worker reports to nobody here: what is left are the partitions that stayed.
    watched.rig.start("w1", heard=False)
    watched.rig.run(10.0)
    assert sum(name.startswith(of_lag) for name in watched.series()) == 2
