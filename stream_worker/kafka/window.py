"""Everything that an application reads and publishes, from a bounded window on: for who looks on.

It belongs to no group and commits nothing, so it disturbs nobody. One thread
uses it. What it may hold in memory is bounded by the client's queue.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import IsolationLevel, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.clients import make_admin, make_consumer
from stream_worker.kafka.faults import beyond_repair, translated
from stream_worker.kafka.subscription import headers_of
from stream_worker.kafka.topic_lookup import partitions_of
from stream_worker.kafka.topics import Role, TopicSpec, topic_table
from stream_worker.record import Record
from stream_worker.settings import Settings

_CALL_S = 10.0
_QUEUE_KBYTES = 16_384
_READ_AT_ONCE = 500
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Seen:
    """A record, and what its topic is for."""

    role: Role
    record: Record


@dataclass(frozen=True, slots=True)
class Marks:
    """Where a partition's log begins, and ends for readers of committed records, and ends. Offsets."""

    start: int
    stable: int
    end: int


class Window:
    """Raises Missing when no broker answers or a topic is not there, Fatal without the rights to read."""

    def __init__(self, settings: Settings) -> None:
        self._specs = topic_table(settings)
        self._roles: Mapping[str, Role] = {spec.name: spec.role for spec in self._specs}
        self._admin = make_admin(admin_settings(settings))
        self._consumer = make_consumer(
            {
                **admin_settings(settings),
                "group.id": f"{settings.application_id}-console",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                "queued.min.messages": 1_000,
                "queued.max.messages.kbytes": _QUEUE_KBYTES,
            }
        )

    def open(self, since_ms: int, most_records: int) -> None:
        """From now on `read` gives what was written since then, but at most so many of each partition's last."""
        places = [place for spec in self._specs for place in self._places(spec)]
        # The ends come first: where nothing was written since then, what is written between the two answers is read.
        ends = _offsets(self._admin, dict.fromkeys(places, _LATEST), IsolationLevel.READ_UNCOMMITTED)
        asked = {place: OffsetSpec.for_timestamp(since_ms) for place in places}
        first = _offsets(self._admin, asked, IsolationLevel.READ_UNCOMMITTED)
        for place in places:
            end = ends[place.topic, place.partition]
            # Nothing written since then is -1: its end.
            since = first[place.topic, place.partition]
            # A ledger is the last record of its commit, and stands for all before it.
            is_changelog = self._roles[place.topic] is Role.CHANGELOG
            earliest = end - most_records if is_changelog else max(end if since < 0 else since, end - most_records)
            place.offset = max(0, earliest)
        self._consumer.assign(places)

    def read(self, wait_s: float) -> list[Seen]:
        """The next records, in the order of each partition; none when none came within `wait_s`."""
        return list(self._seen(self._consumer.consume(_READ_AT_ONCE, wait_s)))

    def close(self) -> None:
        self._consumer.close()

    def _seen(self, messages: Sequence[Message]) -> Iterator[Seen]:
        for message in messages:
            if (error := message.error()) is not None:
                if (fault := beyond_repair(error)) is not None:
                    raise fault
                continue
            yield Seen(self._roles[message.topic() or ""], _record(message))

    def _places(self, spec: TopicSpec) -> list[TopicPartition]:
        return [TopicPartition(spec.name, number) for number in partitions_of(self._admin, spec.name)]


def marks(admin: AdminClient, topic: str, numbers: Sequence[int]) -> Mapping[int, Marks]:
    """Of each partition. Raises Missing when no broker answers."""
    places = [TopicPartition(topic, number) for number in numbers]
    starts = _offsets(admin, dict.fromkeys(places, _EARLIEST), IsolationLevel.READ_UNCOMMITTED)
    stable = _offsets(admin, dict.fromkeys(places, _LATEST), IsolationLevel.READ_COMMITTED)
    ends = _offsets(admin, dict.fromkeys(places, _LATEST), IsolationLevel.READ_UNCOMMITTED)
    return {n: Marks(starts[topic, n], stable[topic, n], ends[topic, n]) for n in numbers}


def _offsets(
    admin: AdminClient, asked: dict[TopicPartition, OffsetSpec], isolation: IsolationLevel
) -> dict[tuple[str, int], int]:
    if not asked:
        return {}
    try:
        # After a broker's restart the answer would be FENCED_LEADER_EPOCH for ever without this.
        admin.list_topics(next(iter(asked)).topic, timeout=_CALL_S)
        found = admin.list_offsets(asked, isolation_level=isolation, request_timeout=_CALL_S)
        return {(place.topic, place.partition): future.result().offset for place, future in found.items()}
    except KafkaException as error:
        raise translated(error.args[0]) from error


def _record(message: Message) -> Record:
    headers = headers_of(message)
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=headers or (),
        headers_readable=headers is not None,
    )
