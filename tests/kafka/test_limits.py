"""What is too large, too much or too late has an outcome, on the real broker, and costs nobody else anything."""

from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from stream_worker.admission.pressure import Shares
from stream_worker.contracts.dead_letter import REASON, TRUNCATED
from stream_worker.contracts.internal import STATE_PREFIX
from stream_worker.conversation.state import load_state
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.topic_admin import describe
from stream_worker.kafka.topics import LEAST_MAX_BYTES
from stream_worker.outcome import DeadLetterReason
from stream_worker.settings import Settings
from tests.eventually import eventually
from tests.kafka.cluster import QUICK, Cluster, scripted
from tests.kafka.conftest import SettingsFor
from tests.kafka.processes import WorkerProcess
from tests.kafka.topic_reader import TopicReader

_TOPIC_TAKES = 1_048_588
_CALL_S = 10.0


def _producer(settings: Settings) -> Producer:
    return Producer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "partitioner": "murmur2_random",
            "message.max.bytes": 2 * _TOPIC_TAKES,
        }
    )


def _event(conversation: str, number: int, text: str) -> bytes:
    event: dict[str, Any] = {"conversation_id": conversation, "message_id": f"m-{number}", "sender": {"id": "u-1"}}
    return orjson.dumps(event | {"text": text})


def test_the_largest_event_that_its_topic_takes_is_kept_whole_and_a_larger_one_is_refused_to_who_sends_it(
    settings_for: SettingsFor,
) -> None:
    settings = settings_for(kafka=QUICK)
    producer, failures = _producer(settings), list[KafkaError | None]()
    whole = _event("c-1", 0, "x" * (_TOPIC_TAKES - 400))
    for value in (whole, whole + b" " * 1_000):
        producer.produce(settings.topics.events, value, "c-1", on_delivery=lambda error, _: failures.append(error))
        assert producer.flush(_CALL_S) == 0
    assert failures[0] is None
    assert failures[1] is not None
    assert failures[1].code() == KafkaError.MSG_SIZE_TOO_LARGE
    with Cluster(settings) as cluster:
        cluster.start()
        cluster.events.say("c-1")
        cluster.run_until_settled()
        (letter,) = cluster.outputs.dead_letter_values
        (headers,) = cluster.outputs.dead_letter_headers
    assert letter == whole
    assert headers[REASON] == DeadLetterReason.TOO_LARGE.value.encode()
    assert TRUNCATED not in headers


def test_a_state_too_large_for_the_changelog_loses_its_oldest_and_everybody_is_answered(
    settings_for: SettingsFor,
) -> None:
    settings = settings_for(kafka=QUICK)
    admin = AdminClient(admin_settings(settings))
    smaller = ConfigEntry("max.message.bytes", str(LEAST_MAX_BYTES), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, settings.changelog, incremental_configs=[smaller])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(_CALL_S)
    topic = settings.changelog
    eventually(lambda: describe(admin, [topic])[topic].number("max.message.bytes") == LEAST_MAX_BYTES)
    with Cluster(settings) as cluster:
        cluster.start()
        for number in range(12):
            cluster.events.say("c-1", f"{number} " + "word " * 1_500)
        cluster.run_until_settled()
        assert set(cluster.outputs.outcomes.values()) == {"replied"}
        states = [value for key, value in cluster.outputs.changelog if key.startswith(STATE_PREFIX) and value]
    assert max(map(len, states)) < LEAST_MAX_BYTES
    last = load_state(states[-1])
    assert last.turns == 12
    assert last.history[-2].text.startswith("11 ")
    assert not any(line.text.startswith("0 ") for line in last.history)


def test_under_more_than_it_can_answer_memory_stays_and_answers_come_in_time(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    age_ms, burst = 500, 6_000
    limits = {"max_event_age_ms": age_ms, "max_running_turns": 4, "upper_mark_events": 500, "lower_mark_events": 250}
    settings = settings_for(kafka=QUICK, admission=limits, outputs={"deltas": "off", "analysis": False})
    producer, reader, resident = _producer(settings), TopicReader(settings), list[float]()
    with WorkerProcess(settings, tmp_path, "w-0", seconds_per_token=0.01) as worker:
        eventually(lambda: len(reader.ledgers) == 2)
        for turn in range(4):
            for number in range(burst):
                name = f"c-{turn}-{number}"
                producer.produce(settings.topics.events, _event(name, number, "hello"), name)
                producer.poll(0)
            assert producer.flush(_CALL_S) == 0
            eventually(lambda: len(reader.metrics) == burst * (turn + 1), 60.0)  # noqa: B023  # called at once
            resident.append(worker.resident_megabytes)
        metrics = reader.metrics
        assert {metric["outcome"] for metric in metrics} == {"replied", "expired"}
        assert all(m["timings"]["total"] * 1_000 <= age_ms for m in metrics if m["outcome"] == "replied")
        # A worker that kept what it settled would grow by some 60 MB each time.
        assert resident[-1] - resident[1] < 15, resident
    reader.close()


def backlogs_are_read_side_by_side(settings: Settings) -> None:
    """The client fetches one partition after the other, and much at once."""
    partitions, each = range(settings.topics.partitions), 150
    producer = _producer(settings)
    for number in range(each):
        for partition in partitions:
            value = _event(f"c-{partition}-{number}", number, "hello")
            producer.produce(settings.topics.events, value, f"c-{partition}-{number}", partition)
        if number % 10 == 0:
            # Written side by side, so that their ages do not tell them apart.
            assert producer.flush(_CALL_S) == 0
    assert producer.flush(_CALL_S) == 0
    with Cluster(settings, scripted(seconds=lambda _: 0.002)) as cluster:
        answers = cluster.start().journal.finished
        cluster.run_until(lambda: len(answers) >= 2 * each, "a half was answered")
        answered = Counter(metric["partition"] for metric in cluster.outputs.metrics)
        assert min(answered[partition] for partition in partitions) >= each / 4, answered


_LITTLE_IN_HAND = {"upper_mark_events": 32, "lower_mark_events": 16, "max_running_turns": 4}


def test_a_backlog_in_one_partition_holds_up_no_other(settings_for: SettingsFor) -> None:
    backlogs_are_read_side_by_side(settings_for(partitions=4, kafka=QUICK, admission=_LITTLE_IN_HAND))


def test_without_shares_a_backlog_holds_up_the_others(settings_for: SettingsFor) -> None:
    settings = settings_for(partitions=4, kafka=QUICK, admission=_LITTLE_IN_HAND)
    with patch.object(Shares, "full", lambda *_: frozenset()), pytest.raises(AssertionError, match="Counter"):
        backlogs_are_read_side_by_side(settings)
