"""What a cluster says of itself, and of our group, without writing anything."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from stream_worker.errors import StreamWorkerError
from stream_worker.kafka.client_settings import longest_transaction_s, restore_settings
from stream_worker.kafka.clients import make_consumer
from stream_worker.kafka.faults import translated
from stream_worker.kafka.group_admin import GroupStatus, describe_group, description
from stream_worker.kafka.reading import offsets_at
from stream_worker.settings import Settings

_CALL_S = 3.0
_TRIPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """`problem` is why nothing else is known. `max_transaction_ms` is None where the broker does not say.

    `session_ms` is the one that it gives members of groups of KIP-848; None where it has none, or does not say.
    """

    problem: StreamWorkerError | None = None
    brokers: int = 0
    round_trip_s: float = 0.0
    max_transaction_ms: int | None = None
    session_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hanging:
    """A partition whose readers are held up by a transaction that nobody ended, since its first record was written."""

    topic: str
    partition: int
    offset: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    status: GroupStatus
    foreign_topics: tuple[str, ...]
    """Topics that members of the group have beside our input: it is used by another application, too."""
    instances: tuple[str, ...]
    starts: Mapping[int, int]
    """The log start of each input partition."""
    hanging: tuple[Hanging, ...]
    ahead_s: float
    """How far the newest event's timestamp lies in our future; 0 when it does not."""


def cluster_facts(admin: AdminClient) -> ClusterFacts:
    try:
        # The first answer takes a connection, too; of the others the quickest tells of the way.
        found = admin.describe_cluster(request_timeout=_CALL_S).result()
        round_trip_s = min(_timed(admin) for _ in range(_TRIPS))
        resource = ConfigResource(ResourceType.BROKER, str(found.nodes[0].id))
        (future,) = admin.describe_configs([resource], request_timeout=_CALL_S).values()
        config = _allowed(future)
    except KafkaException as error:
        return ClusterFacts(problem=translated(error.args[0]))
    limit, session = config.get("transaction.max.timeout.ms"), config.get("group.consumer.session.timeout.ms")
    return ClusterFacts(
        brokers=len(found.nodes),
        round_trip_s=round_trip_s,
        max_transaction_ms=int(limit.value) if limit is not None else None,
        session_ms=int(session.value) if session is not None else None,
    )


def _timed(admin: AdminClient) -> float:
    started = time.monotonic()
    admin.describe_cluster(request_timeout=_CALL_S).result()
    return time.monotonic() - started


def _allowed(future: Any) -> Mapping[str, Any]:
    """The configuration, empty for a user who may not see it."""
    try:
        found: Mapping[str, Any] = future.result()
        return found
    except KafkaException as error:
        if error.args[0].code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED:
            return {}
        raise


def group_facts(admin: AdminClient, settings: Settings) -> GroupFacts:
    """Raises what `describe_group` raises."""
    status = describe_group(admin, settings)
    topic, group = settings.topics.events, settings.application_id
    numbers = [each.partition for each in status.partitions]
    try:
        members = description(admin, group).members
        starts = offsets_at(admin, topic, numbers, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED, _CALL_S)  # type: ignore[no-untyped-call]
        hanging = [*_hanging(admin, settings, topic, numbers), *_hanging(admin, settings, settings.changelog, numbers)]
        newest = _newest_ms(admin, topic, numbers)
    except KafkaException as error:
        raise translated(error.args[0]) from error
    taken = {place.topic for member in members for place in member.assignment.topic_partitions}
    return GroupFacts(
        status=status,
        foreign_topics=tuple(sorted(taken - {topic})),
        instances=tuple(member.group_instance_id for member in members if member.group_instance_id),
        starts=starts,
        hanging=tuple(hanging),
        ahead_s=max(0.0, newest / 1000 - time.time()),
    )


def _newest_ms(admin: AdminClient, topic: str, numbers: Sequence[int]) -> int:
    asked = {TopicPartition(topic, number): OffsetSpec.max_timestamp() for number in numbers}  # type: ignore[no-untyped-call]
    found = admin.list_offsets(asked, request_timeout=_CALL_S)
    return max((future.result().timestamp for future in found.values()), default=0)


def _hanging(admin: AdminClient, settings: Settings, topic: str, numbers: Sequence[int]) -> list[Hanging]:
    """Partitions whose last stable offset lies before their end, at a record that is older than any transaction."""
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    ends = offsets_at(admin, topic, numbers, latest, IsolationLevel.READ_UNCOMMITTED, _CALL_S)
    stable = offsets_at(admin, topic, numbers, latest, IsolationLevel.READ_COMMITTED, _CALL_S)
    waiting = {number: stable[number] for number in numbers if stable[number] < ends[number]}
    found = []
    for number, offset in waiting.items():
        seconds = time.time() - _written_ms(settings, topic, number, offset) / 1000
        if seconds > longest_transaction_s(settings):
            found.append(Hanging(topic=topic, partition=number, offset=offset, seconds=seconds))
    return found


def _written_ms(settings: Settings, topic: str, partition: int, offset: int) -> float:
    """When the record at an offset, of an open transaction, was written; now, where it cannot be read in time."""
    consumer = make_consumer({**restore_settings(settings), "isolation.level": "read_uncommitted"})
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        message = consumer.poll(_CALL_S)
        return message.timestamp()[1] if message is not None and message.error() is None else time.time() * 1000
    finally:
        consumer.close()
