"""What the broker knows of our consumer group: its members, and where each partition stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_worker.kafka.faults import translated
from stream_worker.settings import Settings

_CALL_S = 5.0
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One input partition. `committed` is None where the group has no offset; `owner` where nobody has it."""

    partition: int
    owner: str | None
    committed: int | None
    end: int

    @property
    def lag(self) -> int | None:
        return None if self.committed is None else max(0, self.end - self.committed)


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """`state` is Kafka's name for it: stable, empty, dead (unknown), preparing_rebalancing, ..."""

    group: str
    state: str
    members: int
    partitions: tuple[PartitionStatus, ...]


def describe_group(admin: AdminClient, settings: Settings) -> GroupStatus:
    """Raises Missing when no broker answers or the input topic is not there, Fatal without the rights to look."""
    group, topic = settings.application_id, settings.topics.events
    try:
        numbers = _partitions(admin, topic)
        (described,) = admin.describe_consumer_groups([group], request_timeout=_CALL_S).values()
        description = described.result()
        committed = _committed(admin, group, topic, numbers)
        asked = {TopicPartition(topic, number): _LATEST for number in numbers}
        ends = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_CALL_S)
        end_of = {place.partition: future.result().offset for place, future in ends.items()}
    except KafkaException as error:
        raise translated(error.args[0]) from error
    owners = _owners(description.members, topic)
    return GroupStatus(
        group,
        description.state.name.lower(),
        len(description.members),
        tuple(PartitionStatus(number, owners.get(number), committed.get(number), end_of[number]) for number in numbers),
    )


def _partitions(admin: AdminClient, topic: str) -> list[int]:
    try:
        found = admin.list_topics(topic, timeout=_CALL_S).topics[topic]
    except KafkaException as error:
        raise translated(error.args[0]) from error
    if found.error is not None:
        raise translated(found.error, topic)
    return sorted(found.partitions)


def _committed(admin: AdminClient, group: str, topic: str, numbers: list[int]) -> dict[int, int]:
    request = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, number) for number in numbers])
    (future,) = admin.list_consumer_group_offsets([request], request_timeout=_CALL_S).values()
    places = future.result().topic_partitions
    return {place.partition: place.offset for place in places if place.error is None and place.offset >= 0}


def _owners(members: list[Any], topic: str) -> Mapping[int, str]:
    """A static member is known by its instance, which a person chose; a dynamic one by the broker's name for it."""
    return {
        place.partition: member.group_instance_id or member.member_id
        for member in members
        for place in member.assignment.topic_partitions
        if place.topic == topic
    }
