"""The dead-letter topic, read from its beginning; and letters sent back, each with its mark in one transaction."""

import time
from collections.abc import Sequence

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from stream_worker.errors import Code, Missing
from stream_worker.kafka.client_settings import (
    LARGEST_BATCH_BYTES,
    admin_settings,
    restore_settings,
    transaction_settings,
)
from stream_worker.kafka.clients import make_admin, make_consumer, make_producer
from stream_worker.kafka.faults import beyond_repair, translated
from stream_worker.kafka.letters import Edit, Fate, Letter, Letters, batches, mark, redriven
from stream_worker.kafka.topic_admin import describe
from stream_worker.kafka.topic_lookup import ask_for_leaders, missing_topic
from stream_worker.record import Outgoing, Record
from stream_worker.settings import Settings

_SILENCE_S = 15.0
_CALL_S = 30.0
_BATCH = 500


def read_letters(settings: Settings) -> Letters:
    """Every letter and mark that is committed by now. Raises Missing when no broker answers, or there is no topic."""
    topic = settings.output_topic(settings.topics.dead_letters)
    admin = make_admin(admin_settings(settings))
    facts = describe(admin, [topic]).get(topic)
    if facts is None:
        raise missing_topic(admin, topic)
    consumer = make_consumer(restore_settings(settings) | {"group.id": f"{settings.application_id}-dlq"})
    letters, unread = Letters(), set(range(facts.partitions))
    heard = time.monotonic()
    try:
        ask_for_leaders(consumer, topic)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
        while unread:
            for message in consumer.consume(1_000, 0.2):
                heard = time.monotonic()
                partition, offset = message.partition(), message.offset()
                if (error := message.error()) is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        unread.discard(-1 if partition is None else partition)
                    elif (fault := beyond_repair(error)) is not None:
                        raise fault
                elif partition is not None and offset is not None:
                    headers = tuple(message.headers() or ())
                    at = message.timestamp()[1]
                    letters.add(Record(topic, partition, offset, at, message.key(), message.value(), headers))  # type: ignore[arg-type]
            if time.monotonic() - heard > _SILENCE_S:
                raise Missing(Code.BROKER_UNREACHABLE, f"the topic {topic} could not be read to its end")
    finally:
        consumer.close()
    return letters


class LetterDesk:
    """Sends letters back, or puts them aside. Exactly once: an event and the mark of its letter are one transaction."""

    def __init__(self, settings: Settings) -> None:
        self._events = settings.topics.events
        self._letters = settings.output_topic(settings.topics.dead_letters)
        transactional_id = f"{settings.application_id}-dlq"
        self._producer = make_producer(transaction_settings(settings, transactional_id, LARGEST_BATCH_BYTES))
        self._failed: KafkaError | None = None
        try:
            self._producer.init_transactions(_CALL_S)
        except KafkaException as error:
            raise translated(error.args[0]) from error

    def redrive(self, letters: Sequence[Letter], *, by: str = "") -> None:
        """In this order; a conversation's events stay in theirs. The marks say who it was."""
        for batch in batches(letters, _BATCH):
            self._send([record for letter in batch for record in self._both(letter, by)])

    def redrive_edited(self, letter: Letter, edit: Edit, *, by: str = "") -> None:
        """With another key and value; the letter stays as it is, and its mark says that it was edited."""
        done = mark(letter, self._letters, Fate.REDRIVEN, by, edited=True)
        self._send([redriven(letter, self._events, edit), done])

    def drop(self, letters: Sequence[Letter]) -> None:
        for batch in batches(letters, _BATCH):
            self._send([mark(letter, self._letters, Fate.DROPPED) for letter in batch])

    def _both(self, letter: Letter, by: str) -> tuple[Outgoing, Outgoing]:
        return redriven(letter, self._events), mark(letter, self._letters, Fate.REDRIVEN, by)

    def _send(self, records: Sequence[Outgoing]) -> None:
        try:
            self._producer.begin_transaction()
            for record in records:
                headers: list[tuple[str, str | bytes | None]] = list(record.headers)
                self._producer.produce(
                    record.topic, record.value, record.key, headers=headers, on_delivery=self._keep_failure
                )
                self._producer.poll(0)
            self._producer.flush(_CALL_S)
            self._producer.commit_transaction(_CALL_S)
        except KafkaException as error:
            raise translated(self._failed or error.args[0]) from error

    def _keep_failure(self, error: KafkaError | None, _: object) -> None:
        self._failed = self._failed or error
