"""What the broker knows of our consumer group: its members, and where each partition stands."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription, OffsetSpec

from stream_worker.errors import Code, Misconfigured
from stream_worker.kafka.calls import answered
from stream_worker.kafka.faults import translated
from stream_worker.kafka.topic_lookup import partitions_of
from stream_worker.settings import Settings

T = TypeVar("T")

_CALL_S = 5.0
_REQUEST_S = 3_600.0
"""The client's own limit on a request to a group's coordinator: the most it takes, and not when we stop waiting.

Where it is over before the coordinator can be reached, librdkafka (2.16) aborts the process as soon as it can: what
waited to be sent (`rd_kafka_admin_coord_request`) gives the request back twice.
"""
_COORDINATOR_S = 60.0
_RETRY_S = 0.2
_WAITS = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
)
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
        numbers = partitions_of(admin, topic)
        described = description(admin, group)
        committed = _committed(admin, group, topic, numbers)
        asked = {TopicPartition(topic, number): _LATEST for number in numbers}
        ends = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_CALL_S)
        end_of = {place.partition: future.result().offset for place, future in ends.items()}
    except KafkaException as error:
        raise translated(error.args[0]) from error
    owners = _owners(described.members, topic)
    return GroupStatus(
        group,
        described.state.name.lower(),
        len(described.members),
        tuple(PartitionStatus(number, owners.get(number), committed.get(number), end_of[number]) for number in numbers),
    )


def descriptions(
    admin: AdminClient, groups: Sequence[str], *, with_rights: bool = False
) -> "dict[str, Future[ConsumerGroupDescription]]":
    """What is asked of each group's coordinator; the answer is to be waited for with a limit (`answered`)."""
    return admin.describe_consumer_groups(
        list(groups), include_authorized_operations=with_rights, request_timeout=_REQUEST_S
    )


def description(admin: AdminClient, group: str, timeout_s: float = _CALL_S) -> ConsumerGroupDescription:
    """Raises KafkaException."""
    return answered(descriptions(admin, [group])[group], timeout_s)


def members_of(admin: AdminClient, group: str) -> list[str]:
    """Who is in the group now, each with its host. Raises Missing when no broker answers, Fatal without the rights."""
    try:
        members = description(admin, group).members
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        raise translated(error.args[0]) from error
    return sorted(f"{member.group_instance_id or member.member_id} ({member.host})" for member in members)


def refuse_foreign_group(admin: AdminClient, settings: Settings) -> None:
    """Raises Misconfigured where another application uses a group of our name: the two would take turns to lose events.

    Its offsets and its members' partitions say so: ours are of the one input topic.
    """
    group = settings.application_id
    try:
        foreign = sorted(coordinated(lambda: _topics_of(admin, group)) - {settings.topics.events})
    except KafkaException as error:
        raise translated(error.args[0]) from error
    if foreign:
        cure = f"kafka-consumer-groups.sh --delete-offsets --group {group} --topic {foreign[0]}"
        raise Misconfigured(
            Code.GROUP_FOREIGN,
            f"the group {group} reads {', '.join(foreign)}, too: another application has this id, or topics.events was "
            f"changed; choose another application_id, or run `{cure}` once nobody needs those offsets",
        )


def coordinated(ask: Callable[[], T]) -> T:
    """The answer of a group's coordinator: one that loads, moves or is slow, as after a broker's restart, is a wait."""
    deadline = time.monotonic() + _COORDINATOR_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _WAITS or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)


def group_offsets(
    admin: AdminClient,
    group: str,
    places: Sequence[TopicPartition] | None = None,
    *,
    require_stable: bool = False,
    timeout_s: float = _CALL_S,
) -> list[TopicPartition]:
    """What the group has committed, all of it unless `places` are named. Raises KafkaException.

    The coordinator is asked for the members first, each time: librdkafka (2.16) ends the process with a segmentation
    fault where an administrator asks for offsets of a coordinator that loads or has moved
    (`rd_kafka_handle_OffsetFetch` refreshes the coordinator of a consumer that is not there). The first question finds
    the new one, and waits.
    """
    try:
        description(admin, group, timeout_s)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
            raise
    request = ConsumerGroupTopicPartitions(group, None if places is None else list(places))
    (future,) = admin.list_consumer_group_offsets(
        [request], require_stable=require_stable, request_timeout=_REQUEST_S
    ).values()
    return list(answered(future, timeout_s).topic_partitions)


def _topics_of(admin: AdminClient, group: str) -> set[str]:
    """Where the group has offsets, or its members partitions."""
    owned = [place for member in description(admin, group).members for place in member.assignment.topic_partitions]
    return {place.topic for place in (*group_offsets(admin, group), *owned)}


def _committed(admin: AdminClient, group: str, topic: str, numbers: list[int]) -> dict[int, int]:
    places = group_offsets(admin, group, [TopicPartition(topic, number) for number in numbers])
    return {place.partition: place.offset for place in places if place.error is None and place.offset >= 0}


def _owners(members: list[Any], topic: str) -> Mapping[int, str]:
    """A static member is known by its instance, which a person chose; a dynamic one by the broker's name for it."""
    return {
        place.partition: member.group_instance_id or member.member_id
        for member in members
        for place in member.assignment.topic_partitions
        if place.topic == topic
    }
