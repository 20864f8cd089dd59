"""The facts of partitions that are being taken, asked of the broker by futures that are looked at each tick.

One call at a time serves all partitions that wait for the same thing. A
partition first waits until its group offset is stable (no transaction pending
on it), only then for the ends of its logs: the order matters, see `taking`.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_worker.errors import Code, Fatal, PartitionRefused
from stream_worker.kafka.faults import beyond_repair
from stream_worker.kafka.protocols import PartitionFacts

_RETRY_S = 0.1
_REQUEST_S = 5.0
_LOOK_S = 0.5
_MAX_TIMEOUTS = 2
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]


class KafkaInquiry:
    """One partition's question. Its owner advances it whenever any answer is asked for."""

    def __init__(self, owner: "KafkaOffsets", partition: int) -> None:
        self._owner = owner
        self.partition = partition
        self.committed: int | None = None
        self.is_stable = False
        self.asked = time.monotonic()
        self.refusal: PartitionRefused | None = None
        self.facts: PartitionFacts | None = None

    def answer(self) -> PartitionFacts | None:
        self._owner.advance(self)
        if self.refusal is not None:
            raise self.refusal
        return self.facts


@dataclass(slots=True)
class _Call:
    """Futures that are under way, and the inquiries they are for."""

    futures: dict[Any, Future[Any]]
    inquiries: list[KafkaInquiry]

    @property
    def is_done(self) -> bool:
        return all(future.done() for future in self.futures.values())


class KafkaOffsets:
    """Asks by clients that `make_admin` makes: another one where the one at hand no longer gets an answer.

    After a restart of the broker an admin client may ask for a group's coordinator without end and hear nothing
    (librdkafka 2.16; the more likely the more it asked while the broker was away), while a fresh one is answered.

    `unstable_s`: for so long a transaction may be pending on a group's offset, its timeout and the broker's scan."""

    def __init__(
        self, make_admin: Callable[[], AdminClient], group: str, topic: str, changelog: str, unstable_s: float
    ) -> None:
        self._make_admin = make_admin
        self._admin = make_admin()
        self._timeouts = 0
        self._is_broker_up = True
        self._has_described = False
        self._group = group
        self._topic = topic
        self._changelog = changelog
        self._unstable_s = unstable_s
        self._topic_id: tuple[str, int] | None = None
        self._origin = ""
        self._waiting: list[KafkaInquiry] = []
        self._describing: _Call | None = None
        self._committed: _Call | None = None
        self._ends: _Call | None = None
        self._not_before = 0.0

    def ask(self, partition: int) -> KafkaInquiry:
        inquiry = KafkaInquiry(self, partition)
        self._waiting.append(inquiry)
        return inquiry

    def advance(self, wanted: KafkaInquiry) -> None:
        """Looks at what came back, and asks what is to be asked next. Does not wait."""
        if wanted not in self._waiting:
            return
        try:
            self._collect()
        except KafkaException as error:
            self._retry_later(error)
        if time.monotonic() < self._not_before or not self._broker_answers():
            return
        if not self._has_described:
            self._describing = self._describing or self._describe()
            return
        unstable = [inquiry for inquiry in self._waiting if not inquiry.is_stable]
        stable = [inquiry for inquiry in self._waiting if inquiry.is_stable]
        if unstable and self._committed is None:
            self._committed = self._ask_committed(unstable)
        if stable and self._ends is None:
            self._ends = self._ask_ends(stable)

    def _collect(self) -> None:
        if self._describing is not None and self._describing.is_done:
            call, self._describing = self._describing, None
            _raise_but_unknown(call.futures["group"])
            description, changelog = call.futures["topic"].result(), call.futures["changelog"].result()
            self._origin = f"{call.futures['cluster'].result().cluster_id} {changelog.topic_id}"
            self._topic_id = (str(description.topic_id), len(description.partitions))
            self._has_described = True
        if self._committed is not None and self._committed.is_done:
            call, self._committed = self._committed, None
            self._take_committed(call)
        if self._ends is not None and self._ends.is_done:
            call, self._ends = self._ends, None
            self._take_ends(call)

    def _describe(self) -> _Call:
        """Of cluster, topics and group, whose coordinator is to have answered before it is asked for offsets.

        librdkafka (2.16) ends the process where it asks for offsets of a coordinator that loads or moves.
        """
        asked = TopicCollection([self._topic, self._changelog])
        topics = self._admin.describe_topics(asked, request_timeout=_REQUEST_S)
        groups = self._admin.describe_consumer_groups([self._group], request_timeout=_REQUEST_S)
        cluster = self._admin.describe_cluster(request_timeout=_REQUEST_S)
        futures = {"topic": topics[self._topic], "changelog": topics[self._changelog], "group": groups[self._group]}
        return _Call({**futures, "cluster": cluster}, [])

    def _ask_committed(self, inquiries: list[KafkaInquiry]) -> _Call:
        places = [TopicPartition(self._topic, inquiry.partition) for inquiry in inquiries]
        request = ConsumerGroupTopicPartitions(self._group, places)
        futures = self._admin.list_consumer_group_offsets([request], require_stable=True, request_timeout=_REQUEST_S)
        return _Call(dict(futures), inquiries)

    def _take_committed(self, call: _Call) -> None:
        (future,) = call.futures.values()
        found = {place.partition: place for place in future.result().topic_partitions}
        for inquiry in call.inquiries:
            place = found[inquiry.partition]
            if place.error is None:
                inquiry.committed = place.offset if place.offset >= 0 else None
                inquiry.is_stable = True
            else:
                # A transaction is pending on the offset (UNSTABLE_OFFSET_COMMIT): it ends, or times out.
                self._judge(place.error)
                self._not_before = time.monotonic() + _RETRY_S
                if place.error.code() == KafkaError.UNSTABLE_OFFSET_COMMIT:
                    self._refuse_unstable(inquiry)

    def _refuse_unstable(self, inquiry: KafkaInquiry) -> None:
        if time.monotonic() - inquiry.asked <= self._unstable_s:
            return
        inquiry.refusal = PartitionRefused(
            Code.OFFSET_UNSTABLE,
            f"partition {inquiry.partition}: a transaction is pending on the group's offset for more than "
            f"{self._unstable_s:.0f} s, longer than any of ours may last; find it with `kafka-transactions.sh "
            f"find-hanging --topic {self._topic} --partition {inquiry.partition}`, abort it, and start a worker again",
            partition=inquiry.partition,
        )
        self._waiting.remove(inquiry)

    def _ask_ends(self, inquiries: list[KafkaInquiry]) -> _Call:
        partitions = [inquiry.partition for inquiry in inquiries]
        asked = (
            ("changelog_start", self._changelog, _EARLIEST),
            ("changelog_end", self._changelog, _LATEST),
            ("start", self._topic, _EARLIEST),
            ("end", self._topic, _LATEST),
        )
        futures: dict[Any, Future[Any]] = {}
        for name, topic, spec in asked:
            answers = self._admin.list_offsets(
                {TopicPartition(topic, partition): spec for partition in partitions},
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=_REQUEST_S,
            )
            futures |= {(name, place.partition): future for place, future in answers.items()}
        return _Call(futures, inquiries)

    def _take_ends(self, call: _Call) -> None:
        assert self._topic_id is not None
        topic_id, partitions = self._topic_id
        offsets = {key: future.result().offset for key, future in call.futures.items()}
        for inquiry in call.inquiries:
            inquiry.facts = PartitionFacts(
                committed=inquiry.committed,
                start=offsets["start", inquiry.partition],
                end=offsets["end", inquiry.partition],
                changelog_start=offsets["changelog_start", inquiry.partition],
                changelog_end=offsets["changelog_end", inquiry.partition],
                changelog_origin=self._origin,
                topic_id=topic_id,
                partitions=partitions,
            )
        self._waiting = [inquiry for inquiry in self._waiting if inquiry.facts is None]

    def _retry_later(self, error: KafkaException) -> None:
        self._judge(error.args[0])
        self._not_before = time.monotonic() + _RETRY_S
        self._is_broker_up = False
        self._has_described = False
        if error.args[0].code() == KafkaError._TIMED_OUT:
            self._timeouts += 1
            if self._timeouts >= _MAX_TIMEOUTS:
                self._timeouts = 0
                self._admin = self._make_admin()

    def _broker_answers(self) -> bool:
        """After an error nothing is asked until the broker says where the topics are.

        That is also what makes a client forget leader epochs of before a restart, which are refused for minutes.
        """
        if self._is_broker_up:
            return True
        try:
            for topic in (self._topic, self._changelog):
                self._admin.list_topics(topic, timeout=_LOOK_S)
        except KafkaException:
            self._not_before = time.monotonic() + _RETRY_S
            return False
        self._is_broker_up = True
        return True

    def _judge(self, error: KafkaError) -> None:
        if (ours := beyond_repair(error)) is not None:
            raise ours
        if error.code() == KafkaError._INVALID_ARG:
            raise Fatal(Code.TOPIC_MISMATCH, f"{error.str()}: run `stream-worker topics check`")


def _raise_but_unknown(description: Future[Any]) -> None:
    """Raises what a group's coordinator answered, unless it is that there is no such group yet."""
    try:
        description.result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
            raise
