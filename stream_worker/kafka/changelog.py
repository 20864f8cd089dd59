"""Reads changelog partitions up to a known end, committed records only."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from stream_worker.errors import ClientsBroken, Code, Fatal
from stream_worker.kafka.client_settings import ClientSettings
from stream_worker.kafka.clients import make_consumer
from stream_worker.kafka.faults import beyond_repair
from stream_worker.kafka.protocols import ChangelogRecord
from stream_worker.kafka.topic_lookup import ask_for_leaders
from stream_worker.kafka.unreadable import UnreadableBatches

_LEADERS_S = 0.5


class KafkaChangelog:
    """One consumer for all partitions that are being restored; it joins no group.

    Opening and reading raise ClientsBroken where the consumer failed, Fatal without the rights or the topic. Closing
    does not: what was to be read is read no more, and a consumer that failed says so when it is read next.
    """

    def __init__(self, settings: ClientSettings, topic: str) -> None:
        self._consumer = make_consumer(settings)
        self._topic = topic
        self._unreadable = UnreadableBatches(topic)
        self._ends: dict[int, int] = {}
        self._seen_end: dict[int, int] = {}

    def open(self, partition: int, end: int, start: int = 0) -> None:
        if not self._ends:
            ask_for_leaders(self._consumer, self._topic, _LEADERS_S)
        self._ends[partition] = end
        self._seen_end[partition] = 0
        if end > 0:
            with _client_errors():
                self._consumer.incremental_assign([TopicPartition(self._topic, partition, start or OFFSET_BEGINNING)])

    def read(self, limit: int) -> list[ChangelogRecord]:
        records = []
        with _client_errors():
            messages = self._consumer.consume(limit, 0)
        for message in messages:
            partition, offset = message.partition(), message.offset()
            if (fault := message.error()) is not None:
                self._judge(fault)
                self._unreadable.note(message, fault)
                if fault.code() == KafkaError._PARTITION_EOF and partition in self._ends and offset is not None:
                    self._seen_end[partition] = offset
            elif partition in self._ends and offset is not None:
                records.append(ChangelogRecord(partition, offset, message.key() or b"", message.value()))
        return records

    def reached_end(self, partition: int) -> bool:
        """The end-of-partition event comes only past every marker, and so does the position."""
        end = self._ends[partition]
        if end == 0 or self._seen_end[partition] >= end:
            return True
        with _client_errors():
            position: int = self._consumer.position([TopicPartition(self._topic, partition)])[0].offset
        return position >= end

    def unreadable(self) -> dict[int, str]:
        return self._unreadable.take()

    def close(self, partition: int) -> None:
        end = self._ends.pop(partition, None)
        self._seen_end.pop(partition, None)
        if end:
            with suppress(ClientsBroken, Fatal), _client_errors():
                self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])

    def close_all(self) -> None:
        with suppress(ClientsBroken, Fatal), _client_errors():
            self._consumer.close()

    def _judge(self, error: KafkaError) -> None:
        if (ours := beyond_repair(error)) is not None:
            raise ours
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise ClientsBroken(Code.CLIENTS_BROKEN, f"the changelog cannot be read: {error.str()}")


@contextmanager
def _client_errors() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        raise beyond_repair(cause) or ClientsBroken(
            Code.CLIENTS_BROKEN, f"the changelog's consumer failed ({cause.name()}): {cause.str()}"
        ) from error
    except RuntimeError as error:
        # All that the client says once it is closed.
        raise ClientsBroken(Code.CLIENTS_BROKEN, f"the changelog's consumer failed: {error}") from error
