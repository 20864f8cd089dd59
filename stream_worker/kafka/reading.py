"""Reads parts of topics for commands: committed records of partitions, between two offsets, in no group."""

import time
from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_worker.errors import Code, Missing, UnsafeChange
from stream_worker.kafka.client_settings import restore_settings
from stream_worker.kafka.clients import make_consumer
from stream_worker.kafka.faults import beyond_repair, translated
from stream_worker.kafka.subscription import headers_of
from stream_worker.record import Record
from stream_worker.settings import Settings

_CALL_S = 5.0
_SILENT_S = 10.0
_RETRY_S = 0.2
_BATCH = 1_000
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


def ends(admin: AdminClient, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Start and committed end of each partition. Raises Missing or Fatal."""
    first = offsets_at(admin, topic, partitions, _EARLIEST, IsolationLevel.READ_COMMITTED)
    last = offsets_at(admin, topic, partitions, _LATEST, IsolationLevel.READ_COMMITTED)
    return {number: (first[number], last[number]) for number in partitions}


def true_ends(admin: AdminClient, topic: str, partitions: Sequence[int], within_s: float) -> dict[int, tuple[int, int]]:
    """Start and end of each partition, once every transaction that is open now has ended.

    Raises Missing, Fatal, or UnsafeChange for a transaction that is open for longer than `within_s`.
    """
    last = offsets_at(admin, topic, partitions, _LATEST, IsolationLevel.READ_UNCOMMITTED)
    deadline = time.monotonic() + within_s
    while held := [number for number, (_, stable) in ends(admin, topic, partitions).items() if stable < last[number]]:
        if time.monotonic() > deadline:
            raise UnsafeChange(
                Code.OFFSET_UNSTABLE,
                f"{topic} partition {held[0]}: a transaction is open for more than {within_s:.0f} s; find it with "
                f"`kafka-transactions.sh find-hanging --topic {topic} --partition {held[0]}`, and abort it",
            )
        time.sleep(_RETRY_S)
    first = offsets_at(admin, topic, partitions, _EARLIEST, IsolationLevel.READ_UNCOMMITTED)
    return {number: (first[number], last[number]) for number in partitions}


def offsets_at(
    admin: AdminClient,
    topic: str,
    partitions: Sequence[int],
    which: OffsetSpec,
    isolation: IsolationLevel,
    within_s: float = _CALL_S,
) -> dict[int, int]:
    """By partition. Raises Missing or Fatal."""
    asked = {TopicPartition(topic, number): which for number in partitions}
    found = admin.list_offsets(asked, isolation_level=isolation, request_timeout=within_s)
    try:
        return {place.partition: future.result().offset for place, future in found.items()}
    except KafkaException as error:
        raise translated(error.args[0], topic) from error


def records(settings: Settings, topic: str, ranges: Mapping[int, tuple[int, int]]) -> Iterator[Record]:
    """Every committed record of these partitions from the first offset of a range up to its second one.

    Raises Missing when the broker falls silent, Fatal without the rights.
    """
    open_ranges = {number: bounds for number, bounds in ranges.items() if bounds[0] < bounds[1]}
    consumer = make_consumer(restore_settings(settings))
    try:
        consumer.assign([TopicPartition(topic, number, bounds[0]) for number, bounds in open_ranges.items()])
        heard = time.monotonic()
        while open_ranges:
            for message in consumer.consume(_BATCH, 0.2):
                heard = time.monotonic()
                number, offset, error = message.partition(), message.offset(), message.error()
                if number is None or offset is None or number not in open_ranges:
                    continue
                if error is not None:
                    if (fault := beyond_repair(error)) is not None:
                        raise fault
                    if error.code() == KafkaError._PARTITION_EOF:
                        del open_ranges[number]
                    continue
                if offset < open_ranges[number][1]:
                    headers = headers_of(message)
                    yield Record(
                        topic,
                        number,
                        offset,
                        message.timestamp()[1],
                        message.key(),
                        message.value(),
                        headers or (),
                        headers_readable=headers is not None,
                    )
                if offset + 1 >= open_ranges[number][1]:
                    del open_ranges[number]
            if time.monotonic() - heard > _SILENT_S:
                raise Missing(Code.BROKER_UNREACHABLE, f"{topic} could not be read to its end: the broker fell silent")
    finally:
        consumer.close()
