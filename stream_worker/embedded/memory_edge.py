"""The edge in memory: the clients of one worker on a `MemoryBroker`, with the promises of the real ones.

Made for tests: deterministic, in one thread, and nothing ever waits. Several
workers' edges may share one broker; their calls happen in the order in which
the test lets the workers tick.
"""

from collections.abc import Mapping

from stream_worker.clock import Clock
from stream_worker.embedded.memory_broker import MemoryBroker
from stream_worker.embedded.memory_connection import MemoryConnection
from stream_worker.embedded.memory_group import GroupMovedOn, MemberToken, MemoryGroup
from stream_worker.embedded.memory_producer import MemoryProducer, RecordRefused
from stream_worker.embedded.memory_subscription import MemorySubscription
from stream_worker.errors import Code, Fatal, Missing
from stream_worker.kafka.protocols import (
    Aborted,
    Batch,
    ChangelogRecord,
    Clients,
    CommitResult,
    Committed,
    PartitionFacts,
    Refused,
)
from stream_worker.kafka.topics import DAY_MS, written_topics
from stream_worker.record import Outgoing
from stream_worker.settings import Settings


class MemoryEdge:
    """One worker's edge. `session_timeout_s` is that of the settings; infinite for tests that make time jump."""

    def __init__(
        self,
        broker: MemoryBroker,
        settings: Settings,
        clock: Clock,
        *,
        transactional_id: str,
        session_timeout_s: float | None = None,
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._clock = clock
        self._transactional_id = transactional_id
        self._session_timeout_s = (
            settings.kafka.session_timeout_ms / 1000 if session_timeout_s is None else session_timeout_s
        )
        self._connection: MemoryConnection | None = None
        self._subscription: MemorySubscription | None = None

    def open(self) -> Clients:
        self.close()
        settings, broker = self._settings, self._broker
        topic = settings.topics.events
        group = broker.group(settings.application_id, topic)
        self._connection = connection = MemoryConnection(broker)
        self._subscription = MemorySubscription(
            broker,
            connection,
            self._clock,
            group=settings.application_id,
            topic=topic,
            session_timeout_s=self._session_timeout_s,
        )
        return Clients(
            self._subscription,
            MemoryOffsets(broker, connection, group, topic, settings.changelog),
            MemoryChangelog(broker, connection, settings.changelog),
            MemoryTransactions(
                broker, connection, group, self._transactional_id, settings.kafka.transaction_timeout_ms / 1000
            ),
            MemoryDeltas(broker),
        )

    def tend(self) -> None:
        """Its clients have nothing to tell."""

    def max_record_bytes(self) -> Mapping[str, int]:
        return {topic: self._broker.max_bytes(topic) for topic in written_topics(self._settings)}

    def keeps_deletions_ms(self) -> int:
        return DAY_MS

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
        self._subscription = self._connection = None

    def break_clients(self) -> None:
        """From now on every call of the open clients raises ClientsBroken, until new ones are opened."""
        if self._connection is None:
            raise RuntimeError("no clients are open")
        self._connection.break_clients()


class MemoryOffsets:
    """What the broker knows of partitions. A question is answered at the first look, once its offset is stable."""

    def __init__(
        self, broker: MemoryBroker, connection: MemoryConnection, group: MemoryGroup, topic: str, changelog: str
    ) -> None:
        self._broker = broker
        self._connection = connection
        self._group = group
        self._topic = topic
        self._changelog = changelog

    def ask(self, partition: int) -> "MemoryInquiry":
        return MemoryInquiry(self, partition)

    def facts(self, partition: int) -> PartitionFacts | None:
        """None while the broker is away or a transaction is pending on the group's offset."""
        if not self._connection.is_up() or self._group.is_pending(partition):
            return None
        log = self._broker.log(self._topic, partition)
        return PartitionFacts(
            committed=self._group.committed(partition),
            start=log.start,
            end=log.end,
            changelog_start=self._broker.log(self._changelog, partition).start,
            changelog_end=self._broker.log(self._changelog, partition).end,
            changelog_origin=f"memory {self._changelog}",
            topic_id=f"{self._topic} in memory",
            partitions=len(self._broker.logs(self._topic)),
        )


class MemoryInquiry:
    """One partition's question; its answer does not change any more once it is there."""

    def __init__(self, offsets: MemoryOffsets, partition: int) -> None:
        self._offsets = offsets
        self._partition = partition
        self._facts: PartitionFacts | None = None

    def answer(self) -> PartitionFacts | None:
        self._facts = self._facts or self._offsets.facts(self._partition)
        return self._facts


class MemoryChangelog:
    """Reads changelog partitions, committed records only."""

    def __init__(self, broker: MemoryBroker, connection: MemoryConnection, topic: str) -> None:
        self._broker = broker
        self._connection = connection
        self._topic = topic
        self._ends: dict[int, int] = {}
        self._positions: dict[int, int] = {}

    def open(self, partition: int, end: int, start: int = 0) -> None:
        self._ends[partition] = end
        self._positions[partition] = max(start, self._broker.log(self._topic, partition).start)

    def read(self, limit: int) -> list[ChangelogRecord]:
        if not self._connection.is_up():
            return []
        records: list[ChangelogRecord] = []
        for partition in self._ends:
            records += self._read_partition(partition, limit - len(records))
        return records

    def reached_end(self, partition: int) -> bool:
        return self._positions[partition] >= self._ends[partition]

    def unreadable(self) -> dict[int, str]:
        return {}

    def close(self, partition: int) -> None:
        self._ends.pop(partition, None)
        self._positions.pop(partition, None)

    def _read_partition(self, partition: int, limit: int) -> list[ChangelogRecord]:
        log = self._broker.log(self._topic, partition)
        records: list[ChangelogRecord] = []
        while len(records) < limit and not self.reached_end(partition):
            record, self._positions[partition] = log.next_committed(self._positions[partition])
            if record is None:
                break
            records.append(ChangelogRecord(partition, record.offset, record.key or b"", record.value))
        return records


class MemoryTransactions:
    """Each commit is one transaction that ends before the call returns.

    While the broker is away a commit is aborted at once, where the real one is resumed for some seconds first.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        connection: MemoryConnection,
        group: MemoryGroup,
        transactional_id: str,
        timeout_s: float,
    ) -> None:
        self._broker = broker
        self._connection = connection
        self._group = group
        self._transactional_id = transactional_id
        self._timeout_s = timeout_s
        self._producer: MemoryProducer | None = None

    def start(self) -> None:
        if not self._connection.is_up():
            raise Missing(Code.BROKER_UNREACHABLE, "the in-memory broker is down: set `down` to False")
        self._producer = self._broker.producer(self._transactional_id, self._timeout_s)

    def commit(self, batch: Batch, within_s: float | None = None) -> CommitResult:  # noqa: ARG002  # nothing waits
        if self._producer is None:
            raise RuntimeError("transactions were not started")
        if not self._connection.is_up():
            return Aborted("the broker is away", rebalancing=False)
        self._producer.begin()
        try:
            offsets = self._fill(self._producer, batch)
        except RecordRefused as refusal:
            self._producer.abort()
            return Refused(str(refusal))
        except GroupMovedOn as fence:
            self._producer.abort()
            return Aborted(str(fence), rebalancing=True)
        except Fatal:
            self._producer.abort()
            raise
        self._producer.commit()
        return Committed({partition: offsets[index] for partition, index in batch.ledgers.items()})

    def _fill(self, producer: MemoryProducer, batch: Batch) -> list[int]:
        offsets = [producer.send(record) for record in batch.records]
        token = batch.membership.token
        assert isinstance(token, MemberToken)
        producer.send_offsets(self._group, batch.offsets, token)
        return offsets


class MemoryDeltas:
    """Previews are stored at once. While the broker is away they are dropped."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def send(self, record: Outgoing) -> bool:
        if self._broker.down:
            return False
        try:
            self._broker.store(record)
        except RecordRefused:
            return False
        return True

    def undelivered(self) -> int:
        return 0

    def flush(self, deadline_s: float) -> None:
        """Nothing is queued."""
