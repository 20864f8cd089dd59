"""A preview that cannot be sent is dropped and counted; it never ends a worker."""

import pytest

from stream_worker.kafka.client_settings import delta_settings
from stream_worker.kafka.deltas import KafkaDeltas
from stream_worker.record import Outgoing
from tests.eventually import eventually
from tests.kafka.conftest import SettingsFor
from tests.kafka.topic_reader import TopicReader


@pytest.fixture
def nowhere() -> KafkaDeltas:
    """A producer without a broker, which soon gives up."""
    return KafkaDeltas(
        {
            "bootstrap.servers": "127.0.0.1:9",
            "log_level": 0,
            "message.max.bytes": 2_000,
            "message.timeout.ms": 50,
            "delivery.report.only.error": True,
        }
    )


def test_a_preview_that_the_client_refuses_is_dropped(nowhere: KafkaDeltas) -> None:
    assert not nowhere.send(Outgoing("deltas", b"c-1", b"x" * 3_000))
    assert nowhere.undelivered() == 0


def test_a_preview_that_is_not_delivered_is_counted_once(nowhere: KafkaDeltas) -> None:
    assert nowhere.send(Outgoing("deltas", b"c-1", b"x"))

    def counted() -> bool:
        nowhere.tend()
        return nowhere.undelivered() == 1

    eventually(counted)
    assert nowhere.undelivered() == 0


def test_a_preview_arrives_with_its_headers_and_nothing_is_counted(settings_for: SettingsFor) -> None:
    settings = settings_for()
    deltas = KafkaDeltas(delta_settings(settings, 1_000_000))
    topic = settings.output_topic(settings.topics.deltas)
    assert deltas.send(Outgoing(topic, b"c-1", b"{}", (("ce_id", b"d-1"),)))
    deltas.flush(10.0)
    assert deltas.undelivered() == 0
    reader = TopicReader(settings)
    try:
        (headers,) = reader.delta_headers
        assert headers["ce_id"] == b"d-1"
    finally:
        reader.close()
