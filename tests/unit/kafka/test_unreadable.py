"""Errors that stand in the place of records: a person is told of damage, once a minute, and of nothing else."""

from unittest.mock import patch

from confluent_kafka import KafkaError, Message

from stream_worker.kafka.unreadable import UnreadableBatches


class _Place(Message):
    """A message that is an error: the client makes one with topic, partition and offset."""

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 70


def test_a_damaged_batch_is_told_once_a_minute() -> None:
    batches, now = UnreadableBatches("chat.events"), 100.0
    with patch("stream_worker.kafka.unreadable.time.monotonic", lambda: now):
        for _ in range(5):
            batches.note(_Place(), KafkaError(KafkaError._BAD_MSG))
        told = batches.take()
        assert list(told) == [3]
        assert "chat.events from offset 70 on cannot be read (_BAD_MSG)" in told[3]
        batches.note(_Place(), KafkaError(KafkaError._BAD_COMPRESSION))
        assert batches.take() == {}
        now = 161.0
        batches.note(_Place(), KafkaError(KafkaError._BAD_COMPRESSION))
        assert list(batches.take()) == [3]


def test_the_end_of_a_partition_is_no_damage() -> None:
    batches = UnreadableBatches("chat.events")
    batches.note(_Place(), KafkaError(KafkaError._PARTITION_EOF))
    assert batches.take() == {}
