"""Reads parts of topics for commands: committed records of partitions, between two offsets, in no group."""

import time
from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_worker.errors import Code, Missing
from stream_worker.kafka.client_settings import restore_settings
from stream_worker.kafka.clients import make_consumer
from stream_worker.kafka.faults import beyond_repair, translated
from stream_worker.record import Record
from stream_worker.settings import Settings

_CALL_S = 5.0
_SILENT_S = 10.0
_BATCH = 1_000


def ends(admin: AdminClient, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Start and committed end of each partition. Raises Missing or Fatal."""
    bounds = []
    for which in (OffsetSpec.earliest(), OffsetSpec.latest()):  # type: ignore[no-untyped-call]
        asked = {TopicPartition(topic, number): which for number in partitions}
        found = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_CALL_S)
        try:
            bounds.append({place.partition: future.result().offset for place, future in found.items()})
        except KafkaException as error:
            raise translated(error.args[0], topic) from error
    first, last = bounds
    return {number: (first[number], last[number]) for number in partitions}


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
                    headers = message.headers()
                    yield Record(
                        topic,
                        number,
                        offset,
                        message.timestamp()[1],
                        message.key(),
                        message.value(),
                        tuple(headers) if headers else (),  # type: ignore[arg-type]  # read as pairs of bytes, always
                    )
                if offset + 1 >= open_ranges[number][1]:
                    del open_ranges[number]
            if time.monotonic() - heard > _SILENT_S:
                raise Missing(Code.BROKER_UNREACHABLE, f"{topic} could not be read to its end: the broker fell silent")
    finally:
        consumer.close()
