"""A reader of everything an application reads and publishes: events, outputs, previews and changelog."""

from collections.abc import Collection
from typing import Any, Literal

import orjson
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
from stream_worker.contracts.headers import REDRIVE
from stream_worker.contracts.internal import LEDGER_PREFIX, LedgerRecord, load_ledger
from stream_worker.kafka.client_settings import admin_settings, restore_settings
from stream_worker.kafka.topic_lookup import partitions_of
from stream_worker.kafka.topics import Role, topic_table
from stream_worker.settings import Settings
from tests.delivery import Delivery
from tests.eventually import eventually

_CALL_S = 10.0
_READ_S = 120.0
"""A long run is much to read."""
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


class TopicReader:
    """Reads up to the present end each time it is asked; keeps what it has read.

    `read_committed` is what every consumer of the outputs must use; `read_uncommitted` shows aborted records, too.
    """

    def __init__(self, settings: Settings, isolation: Isolation = "read_committed") -> None:
        topics = {spec.role: spec for spec in topic_table(settings)}
        self._names: dict[Role, str] = {role: spec.name for role, spec in topics.items()}
        self._isolation = isolation
        self._admin = AdminClient(admin_settings(settings))
        self._places = [
            TopicPartition(name, number, OFFSET_BEGINNING)
            for name in self._names.values()
            for number in partitions_of(self._admin, name)
        ]
        client = restore_settings(settings) | {"isolation.level": isolation, "enable.partition.eof": False}
        self._consumer = Consumer(client)
        self._consumer.assign(self._places)
        self._messages: dict[str, list[Message]] = {name: [] for name in self._names.values()}

    def close(self) -> None:
        self._consumer.close()

    def delivery(self, *, poison: Collection[str] = (), is_whole: bool = True) -> Delivery:
        """All that is there now, to be checked."""
        return Delivery(
            events=self.events,
            metrics=self.metrics,
            replies=self.replies,
            commands=self.commands,
            deltas=self.deltas,
            buried=self.buried,
            changelog=self.changelog,
            poison=poison,
            is_whole=is_whole,
        )

    @property
    def replies(self) -> list[dict[str, Any]]:
        return self._values(Role.REPLIES)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return self._values(Role.METRICS)

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return self._values(Role.DELTAS)

    @property
    def delta_headers(self) -> list[dict[str, object]]:
        return [dict(message.headers() or ()) for message in self._read(Role.DELTAS)]

    @property
    def commands(self) -> list[dict[str, Any]]:
        return self._values(Role.ACTIONS)

    @property
    def redriven(self) -> list[tuple[bytes | None, bytes | None, dict[str, str | bytes | None]]]:
        """Keys, values and headers of events that were sent back, in the order of each partition."""
        records = [(each.key(), each.value(), dict(each.headers() or ())) for each in self._read(Role.EVENTS)]
        return [record for record in records if REDRIVE in record[2]]

    @property
    def events(self) -> dict[tuple[int, int], dict[str, Any]]:
        """By partition and offset, in their order."""
        found = {_place(message): orjson.loads(message.value() or b"null") for message in self._read(Role.EVENTS)}
        return dict(sorted(found.items()))

    @property
    def buried(self) -> list[tuple[int, int]]:
        """Partition and offset of each event that has a dead letter, a letter each."""
        return [(_number(letter[PARTITION]), _number(letter[OFFSET])) for letter in self.dead_letter_headers]

    @property
    def dead_letter_values(self) -> list[bytes | None]:
        return [message.value() for message in self._read(Role.DEAD_LETTERS)]

    @property
    def dead_letter_headers(self) -> list[dict[str, object]]:
        return [dict(message.headers() or ()) for message in self._read(Role.DEAD_LETTERS)]

    @property
    def arrived_at(self) -> dict[tuple[int, int], int]:
        """When the broker took each event, in milliseconds since the epoch, by its place."""
        return {_place(message): message.timestamp()[1] for message in self._read(Role.EVENTS)}

    @property
    def settled_at(self) -> dict[tuple[int, int], int]:
        """When the outcome of each event was written, by the event's place."""
        found = zip(self.metrics, self._messages[self._names[Role.METRICS]], strict=True)
        return {(metric["partition"], metric["offset"]): message.timestamp()[1] for metric, message in found}

    @property
    def settled(self) -> int:
        """How many events have an outcome."""
        return len(self._read(Role.METRICS))

    @property
    def outcomes(self) -> dict[str, str]:
        """The last outcome of each event."""
        return {metric["event_id"]: metric["outcome"] for metric in self.metrics}

    @property
    def reply_texts(self) -> dict[str, str]:
        """The text that answers each event."""
        return {event_id: reply["text"] for reply in self.replies for event_id in reply["in_reply_to"]}

    @property
    def changelog(self) -> list[tuple[bytes, bytes | None]]:
        """Keys and values, in the order of each partition."""
        return [(message.key() or b"", message.value()) for message in self._read(Role.CHANGELOG)]

    @property
    def ledgers(self) -> dict[int, LedgerRecord]:
        """The last committed ledger of each partition."""
        found = [
            load_ledger(value, int(key.removeprefix(LEDGER_PREFIX)))
            for key, value in self.changelog
            if value and key.startswith(LEDGER_PREFIX)
        ]
        return {ledger.partition: ledger for ledger in found}

    def _values(self, role: Role) -> list[dict[str, Any]]:
        return [orjson.loads(message.value() or b"null") for message in self._read(role)]

    def _read(self, role: Role) -> list[Message]:
        self._catch_up()
        return self._messages[self._names[role]]

    def _catch_up(self) -> None:
        """Takes all that stands before the ends of this moment, markers passed."""
        ends = eventually(self._ends)
        eventually(lambda: self._has_passed(ends), _READ_S)

    def _ends(self) -> dict[tuple[str, int], int]:
        """Empty while the broker cannot say, as with topics that were just made, or after its restart."""
        asked = {TopicPartition(place.topic, place.partition): _LATEST for place in self._places}
        found = self._admin.list_offsets(asked, isolation_level=_ISOLATION[self._isolation], request_timeout=_CALL_S)
        try:
            return {(place.topic, place.partition): future.result().offset for place, future in found.items()}
        except KafkaException as error:
            if error.args[0].code() not in _NOT_YET:
                raise
            # The answer stays what it was until the client has looked at the topics anew.
            for name in self._names.values():
                self._admin.list_topics(name, timeout=_CALL_S)
            return {}

    def _has_passed(self, ends: dict[tuple[str, int], int]) -> bool:
        while messages := self._consumer.consume(10_000, 0):
            for message in messages:
                topic = message.topic()
                assert topic is not None
                assert message.error() is None, message.error()
                self._messages[topic].append(message)
        places = self._consumer.position([TopicPartition(topic, number) for topic, number in ends])
        return all(max(place.offset, 0) >= ends[place.topic, place.partition] for place in places)


def _place(message: Message) -> tuple[int, int]:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def _number(header: object) -> int:
    assert isinstance(header, bytes)
    return int(header)
