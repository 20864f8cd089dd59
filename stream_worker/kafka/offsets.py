"""The facts of partitions that are being taken, asked of the broker on a thread of their own.

One question at a time serves all partitions that wait. A partition is told
the ends of its logs only once its group offset is stable, no transaction
pending on it, and only after that was seen: the order matters, see `taking`.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_worker.errors import Code, Fatal, PartitionRefused
from stream_worker.kafka.calls import answered, started
from stream_worker.kafka.faults import beyond_repair
from stream_worker.kafka.group_admin import group_offsets
from stream_worker.kafka.protocols import PartitionFacts

_RETRY_S = 0.1
_REQUEST_S = 2.0
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]


class KafkaInquiry:
    """One partition's question. Its owner advances it whenever any answer is asked for."""

    def __init__(self, owner: "KafkaOffsets", partition: int) -> None:
        self._owner = owner
        self.partition = partition
        self.asked = time.monotonic()
        self.refusal: PartitionRefused | None = None
        self.facts: PartitionFacts | None = None

    def answer(self) -> PartitionFacts | None:
        self._owner.advance(self)
        if self.refusal is not None:
            raise self.refusal
        return self.facts


@dataclass(frozen=True, slots=True)
class _Found:
    """By partition: the facts of the stable ones, and why the others have none yet."""

    facts: dict[int, PartitionFacts]
    unstable: dict[int, KafkaError]


@dataclass(frozen=True, slots=True)
class _Question:
    """Only those it was asked for may have its answer: for others, who came later, it may be out of date."""

    inquiries: tuple[KafkaInquiry, ...]
    answer: "Future[_Found]"


class KafkaOffsets:
    """Asks by a client that `make_admin` makes; after an error by another one.

    After a restart of the broker a client may look for a group's coordinator without end (librdkafka 2.16, its issues
    5456 and 5511), or be refused for leader epochs of before; a fresh one is answered.

    `unstable_s`: for so long a transaction may be pending on a group's offset, its timeout and the broker's scan.
    """

    def __init__(
        self, make_admin: Callable[[], AdminClient], group: str, topic: str, changelog: str, unstable_s: float
    ) -> None:
        self._make_admin = make_admin
        self._group = group
        self._topic = topic
        self._changelog = changelog
        self._unstable_s = unstable_s
        self._waiting: list[KafkaInquiry] = []
        self._question: _Question | None = None
        self._not_before = 0.0
        self._admin: AdminClient | None = None
        """The question's: used on its thread alone."""

    def ask(self, partition: int) -> KafkaInquiry:
        inquiry = KafkaInquiry(self, partition)
        self._waiting.append(inquiry)
        return inquiry

    def advance(self, wanted: KafkaInquiry) -> None:
        """Looks at what came back, and asks what is to be asked next. Does not wait."""
        if wanted not in self._waiting:
            return
        if self._question is not None and self._question.answer.done():
            question, self._question = self._question, None
            self._take(question)
        if self._question is None and self._waiting and time.monotonic() >= self._not_before:
            inquiries = tuple(self._waiting)
            partitions = sorted({inquiry.partition for inquiry in inquiries})
            self._question = _Question(inquiries, started(self._find, partitions))

    def _take(self, question: _Question) -> None:
        try:
            found = question.answer.result()
        except KafkaException as error:
            self._judge(error.args[0])
            self._not_before = time.monotonic() + _RETRY_S
            return
        for inquiry in question.inquiries:
            if (pending := found.unstable.get(inquiry.partition)) is None:
                inquiry.facts = found.facts[inquiry.partition]
                continue
            # A transaction is pending on the offset (UNSTABLE_OFFSET_COMMIT): it ends, or times out.
            self._judge(pending)
            self._not_before = time.monotonic() + _RETRY_S
            too_long = time.monotonic() - inquiry.asked > self._unstable_s
            if too_long and pending.code() == KafkaError.UNSTABLE_OFFSET_COMMIT:
                inquiry.refusal = self._refusal(inquiry.partition)
        self._waiting = [each for each in self._waiting if each.facts is None and each.refusal is None]

    def _refusal(self, partition: int) -> PartitionRefused:
        return PartitionRefused(
            Code.OFFSET_UNSTABLE,
            f"partition {partition}: a transaction is pending on the group's offset for more than "
            f"{self._unstable_s:.0f} s, longer than any of ours may last; find it with `kafka-transactions.sh "
            f"find-hanging --topic {self._topic} --partition {partition}`, abort it, and start a worker again",
            partition=partition,
        )

    def _judge(self, error: KafkaError) -> None:
        if (ours := beyond_repair(error)) is not None:
            raise ours
        if error.code() == KafkaError._INVALID_ARG:
            raise Fatal(Code.TOPIC_MISMATCH, f"{error.str()}: run `stream-worker topics check`")

    # On the question's thread

    def _find(self, partitions: Sequence[int]) -> _Found:
        admin = self._admin = self._admin or self._make_admin()
        try:
            committed, unstable = self._committed(admin, partitions)
            return _Found(self._facts(admin, committed), unstable)
        except Exception:
            self._admin = None
            raise

    def _committed(
        self, admin: AdminClient, partitions: Sequence[int]
    ) -> tuple[dict[int, int | None], dict[int, KafkaError]]:
        """The stable offsets, None where the group has none, and the errors of the others."""
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        places = group_offsets(admin, self._group, asked, require_stable=True, timeout_s=_REQUEST_S)
        committed = {place.partition: place.offset for place in places if place.error is None}
        stable = {partition: offset if offset >= 0 else None for partition, offset in committed.items()}
        return stable, {place.partition: place.error for place in places if place.error is not None}

    def _facts(self, admin: AdminClient, committed: dict[int, int | None]) -> dict[int, PartitionFacts]:
        if not committed:
            return {}
        asked = TopicCollection([self._topic, self._changelog])
        topics = admin.describe_topics(asked, request_timeout=_REQUEST_S)
        cluster = admin.describe_cluster(request_timeout=_REQUEST_S)
        starts, ends = (self._offsets(admin, self._topic, committed, which) for which in (_EARLIEST, _LATEST))
        first, last = (self._offsets(admin, self._changelog, committed, which) for which in (_EARLIEST, _LATEST))
        topic, changelog = answered(topics[self._topic], _REQUEST_S), answered(topics[self._changelog], _REQUEST_S)
        return {
            partition: PartitionFacts(
                committed=offset,
                start=answered(starts[partition], _REQUEST_S).offset,
                end=answered(ends[partition], _REQUEST_S).offset,
                changelog_start=answered(first[partition], _REQUEST_S).offset,
                changelog_end=answered(last[partition], _REQUEST_S).offset,
                changelog_origin=f"{answered(cluster, _REQUEST_S).cluster_id} {changelog.topic_id}",
                topic_id=str(topic.topic_id),
                partitions=len(topic.partitions),
            )
            for partition, offset in committed.items()
        }

    def _offsets(
        self, admin: AdminClient, topic: str, partitions: dict[int, int | None], which: OffsetSpec
    ) -> "dict[int, Future[Any]]":
        answers = admin.list_offsets(
            {TopicPartition(topic, partition): which for partition in partitions},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=_REQUEST_S,
        )
        return {place.partition: future for place, future in answers.items()}
