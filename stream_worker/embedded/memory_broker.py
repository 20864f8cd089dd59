"""A broker in memory, for tests: topics, groups and transactions with Kafka's semantics, on an injected clock.

Any number of workers share one, in one thread. Nothing waits and nothing
happens by itself: time passes only when the clock is moved, and sessions and
transactions that are over end when somebody calls next.
"""

from collections.abc import Callable, Mapping
from typing import Self

from stream_worker.clock import Clock
from stream_worker.embedded.memory_group import MemoryGroup
from stream_worker.embedded.memory_log import Log
from stream_worker.embedded.memory_producer import MemoryProducer, RecordRefused
from stream_worker.embedded.memory_transactions import TransactionCoordinator
from stream_worker.errors import Code, Fatal
from stream_worker.kafka.murmur2 import partition_of
from stream_worker.kafka.topics import RECORD_MAX_BYTES, topic_table
from stream_worker.record import Headers, Outgoing, Record
from stream_worker.settings import Settings


class MemoryBroker:
    """`topics` are names and partition counts; `max_bytes` limits records of a topic, by default as Kafka does.

    While `down` is true nobody is answered: what was there stays as it was.
    """

    def __init__(self, clock: Clock, topics: Mapping[str, int], max_bytes: Mapping[str, int] | None = None) -> None:
        self._clock = clock
        self._logs = {name: [Log(name, partition) for partition in range(count)] for name, count in topics.items()}
        self._max_bytes = dict.fromkeys(topics, RECORD_MAX_BYTES) | dict(max_bytes or {})
        self._refusals: list[tuple[str, Callable[[Outgoing], bool]]] = []
        self._groups: dict[tuple[str, str], MemoryGroup] = {}
        self._transactions = TransactionCoordinator()
        self._keyless = 0
        self.down = False

    @classmethod
    def for_settings(cls, settings: Settings, clock: Clock) -> Self:
        """A broker with every topic of an application, each with the limits it has on a cluster."""
        specs = topic_table(settings)
        limits = {spec.name: int(spec.config["max.message.bytes"]) for spec in specs}
        return cls(clock, {spec.name: spec.partitions for spec in specs}, limits)

    # What tests do and look at

    def append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> Record:
        """Produces one record outside any transaction, as it is stored."""
        _, record = self.store(Outgoing(topic, key, value, headers, partition))
        return record

    def read_committed(self, topic: str) -> list[Record]:
        """What a committed reader sees, partition after partition."""
        return [record for log in self.logs(topic) for record in log.committed()]

    def records(self, topic: str) -> list[Record]:
        """Every record, of open and aborted transactions, too."""
        return [record for log in self.logs(topic) for record in log.records()]

    def refuse(self, topic: str, predicate: Callable[[Outgoing], bool]) -> None:
        """From now on records of the topic that the predicate is true of are refused."""
        self._refusals.append((topic, predicate))

    def limit(self, topic: str, max_bytes: int) -> None:
        """From now on the topic takes no larger records."""
        self._max_bytes[topic] = max_bytes

    def max_bytes(self, topic: str) -> int:
        self.logs(topic)
        return self._max_bytes[topic]

    # What clients do

    def logs(self, topic: str) -> list[Log]:
        """The topic's logs by partition. Raises Fatal when there is no such topic."""
        if topic not in self._logs:
            raise Fatal(Code.TOPIC_MISSING, f"there is no topic {topic}: run `stream-worker topics check`")
        return self._logs[topic]

    def log(self, topic: str, partition: int) -> Log:
        logs = self.logs(topic)
        if partition >= len(logs):
            raise Fatal(
                Code.TOPIC_MISMATCH,
                f"{topic} has {len(logs)} partitions, not number {partition}: run `stream-worker topics check`",
            )
        return logs[partition]

    def group(self, name: str, topic: str) -> MemoryGroup:
        return self._groups.setdefault((name, topic), MemoryGroup(len(self.logs(topic))))

    def producer(self, transactional_id: str, timeout_s: float) -> MemoryProducer:
        """A transactional producer; whoever used the id before is fenced."""
        return MemoryProducer(self.store, self._clock, self._transactions, transactional_id, timeout_s)

    def store(self, outgoing: Outgoing, transaction: int | None = None) -> tuple[Log, Record]:
        """Appends a record to the partition it belongs to. Raises RecordRefused."""
        self._check(outgoing)
        log = self.log(outgoing.topic, self._partition(outgoing))
        return log, log.append(outgoing, self._clock.now_ms(), transaction)

    def expire(self) -> None:
        """Ends the sessions and transactions whose time is over."""
        now = self._clock.monotonic()
        for group in self._groups.values():
            group.expire(now)
        self._transactions.expire(now)

    def _partition(self, outgoing: Outgoing) -> int:
        if outgoing.partition is not None:
            return outgoing.partition
        count = len(self.logs(outgoing.topic))
        if outgoing.key is not None:
            return partition_of(outgoing.key, count)
        self._keyless += 1  # Kafka takes a random one; here a run repeats exactly
        return self._keyless % count

    def _check(self, outgoing: Outgoing) -> None:
        if outgoing.size > (limit := self.max_bytes(outgoing.topic)):
            raise RecordRefused(f"a record of {outgoing.size} bytes; {outgoing.topic} takes {limit}")
        if any(topic == outgoing.topic and predicate(outgoing) for topic, predicate in self._refusals):
            raise RecordRefused(f"a record for {outgoing.topic} that the test refuses")
