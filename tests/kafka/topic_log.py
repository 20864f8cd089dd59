"""Everything that stands in a topic, read anew from its beginning each time: for what is too much to keep."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_worker.contracts.dead_letter import OFFSET, PARTITION
from stream_worker.kafka.client_settings import admin_settings, restore_settings
from stream_worker.kafka.topic_lookup import partitions_of
from stream_worker.kafka.topics import Role, topic_table
from stream_worker.settings import Settings
from tests.eventually import eventually
from tests.replay import Place

T = TypeVar("T")

_CALL_S = 10.0
_READ_S = 120.0
"""A hang guard: between two records no more than this."""
_POLL_S = 0.2
_NOT_YET = (
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._NOENT,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
)
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
Isolation = Literal["read_committed", "read_uncommitted"]
_ISOLATION: dict[Isolation, IsolationLevel] = {
    "read_committed": IsolationLevel.READ_COMMITTED,
    "read_uncommitted": IsolationLevel.READ_UNCOMMITTED,
}


@dataclass(frozen=True, slots=True)
class TopicLog(Generic[T]):
    """What `of` makes of each committed record, in the order of each partition, up to the end of that moment."""

    settings: Settings
    role: Role
    of: Callable[[Message], T]

    def __iter__(self) -> Iterator[T]:
        admin = AdminClient(admin_settings(self.settings))
        places = places_of(admin, [names_of(self.settings)[self.role]])
        ends = eventually(lambda: ends_of(admin, places, "read_committed"))
        consumer = reader(self.settings, places, "read_committed")
        heard = time.monotonic()
        try:
            while not has_passed(consumer, ends):
                for message in consumer.consume(10_000, _POLL_S):
                    assert message.error() is None, message.error()
                    yield self.of(message)
                    heard = time.monotonic()
                assert time.monotonic() < heard + _READ_S, f"{self.role} cannot be read to its end"
        finally:
            consumer.close()


class Counted:
    """How many records of a topic have been committed, counted as they come."""

    def __init__(self, settings: Settings, role: Role) -> None:
        places = places_of(AdminClient(admin_settings(settings)), [names_of(settings)[role]])
        self._consumer = reader(settings, places, "read_committed")
        self._count = 0

    def close(self) -> None:
        self._consumer.close()

    def so_far(self) -> int:
        while messages := self._consumer.consume(10_000, _POLL_S):
            errors = [message.error() for message in messages if message.error() is not None]
            assert not errors, errors
            self._count += len(messages)
        return self._count


def names_of(settings: Settings) -> dict[Role, str]:
    """The topics of an application."""
    return {spec.role: spec.name for spec in topic_table(settings)}


def place_of(message: Message) -> Place:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def buried_place(letter: Message) -> Place:
    """Where the event stands that this is the dead letter of."""
    headers = dict(letter.headers() or ())
    return _number(headers[PARTITION]), _number(headers[OFFSET])


def places_of(admin: AdminClient, topics: Iterable[str]) -> list[TopicPartition]:
    """The beginning of every partition of these topics."""
    return [TopicPartition(name, number, OFFSET_BEGINNING) for name in topics for number in partitions_of(admin, name)]


def reader(settings: Settings, places: Sequence[TopicPartition], isolation: Isolation) -> Consumer:
    """One that reads on from there, a member of no group."""
    consumer = Consumer(restore_settings(settings) | {"isolation.level": isolation, "enable.partition.eof": False})
    consumer.assign(list(places))
    return consumer


def ends_of(admin: AdminClient, places: Sequence[TopicPartition], isolation: Isolation) -> dict[tuple[str, int], int]:
    """Empty while the broker cannot say, as with topics that were just made, or after its restart."""
    asked = {TopicPartition(place.topic, place.partition): _LATEST for place in places}
    found = admin.list_offsets(asked, isolation_level=_ISOLATION[isolation], request_timeout=_CALL_S)
    try:
        return {(place.topic, place.partition): future.result().offset for place, future in found.items()}
    except KafkaException as error:
        if error.args[0].code() not in _NOT_YET:
            raise
        # The answer stays what it was until the client has looked at the topics anew.
        for name in {place.topic for place in places}:
            admin.list_topics(name, timeout=_CALL_S)
        return {}


def has_passed(consumer: Consumer, ends: dict[tuple[str, int], int]) -> bool:
    """Whether it has read all that stands before these ends, markers passed."""
    positions = consumer.position([TopicPartition(topic, number) for topic, number in ends])
    return all(max(place.offset, 0) >= ends[place.topic, place.partition] for place in positions)


def _number(header: object) -> int:
    assert isinstance(header, bytes)
    return int(header)
