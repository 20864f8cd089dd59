"""The edge of a real broker keeps the promises of every edge."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition

from stream_worker.kafka.client_settings import admin_settings, restore_settings, transaction_settings
from stream_worker.kafka.edge import Identity, KafkaEdge
from stream_worker.kafka.protocols import Membership
from stream_worker.record import Headers, Outgoing, Record
from stream_worker.settings import Settings
from tests.edge_contract import EdgeContract, Harness, HarnessFor, Member
from tests.eventually import eventually
from tests.kafka.conftest import SettingsFor

_CALL_S = 10.0
_HANG_S = 120.0
"""Nothing that is waited for takes so long, on however busy a machine."""


class HangingTransaction:
    """A transaction of a producer of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = Producer(transaction_settings(settings, f"hanging-{uuid.uuid4().hex[:8]}", 1_000_000))
        self._producer.init_transactions(_CALL_S)
        self._producer.begin_transaction()
        self._is_open = True

    def send(self, record: Outgoing) -> None:
        partition = -1 if record.partition is None else record.partition
        self._producer.produce(record.topic, record.value, record.key, partition)
        assert self._producer.flush(_CALL_S) == 0

    def send_offsets(self, offsets: Mapping[int, int], membership: Membership) -> None:
        topic = self._settings.topics.events
        places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        self._producer.send_offsets_to_transaction(places, membership.token, _CALL_S)

    def commit(self) -> None:
        self._is_open = False
        self._producer.commit_transaction(_CALL_S)

    def abort(self) -> None:
        self._is_open = False
        self._producer.abort_transaction(_CALL_S)

    def close(self) -> None:
        if self._is_open:
            self.abort()


class KafkaHarness:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._producer = Producer(admin_settings(settings))
        self._edges: list[KafkaEdge] = []
        self._hanging: list[HangingTransaction] = []

    def edge(self, name: str) -> KafkaEdge:
        edge = KafkaEdge(
            self.settings,
            Identity(transactional_id=f"{self.settings.application_id}-{name}", member=None),
            lambda: None,
        )
        self._edges.append(edge)
        return edge

    def append(self, topic: str, key: bytes | None, value: bytes, headers: Headers = (), partition: int = 0) -> None:
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            failures.extend([error] if error is not None else [])

        self._producer.produce(topic, value, key, partition, headers=list(headers), on_delivery=delivered)
        assert self._producer.flush(_CALL_S) == 0
        assert failures == []

    def read_committed(self, topic: str) -> list[Record]:
        settings = restore_settings(self.settings) | {"group.id": f"reader-{uuid.uuid4().hex[:8]}"}
        with closing(Consumer(settings)) as consumer:
            partitions = set(consumer.list_topics(topic, timeout=_CALL_S).topics[topic].partitions)
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
            records: list[Record] = []

            def is_read() -> bool:
                message = consumer.poll(0.1)
                if message is None:
                    return False
                if (error := message.error()) is None:
                    records.append(as_record(message))
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    partitions.discard(partition_of(message))
                return not partitions

            eventually(is_read, _HANG_S)
        return sorted(records, key=lambda record: (record.partition, record.offset))

    def hang(
        self, records: Sequence[Outgoing], offsets: Mapping[int, int], membership: Membership | None
    ) -> HangingTransaction:
        transaction = HangingTransaction(self.settings)
        self._hanging.append(transaction)
        for record in records:
            transaction.send(record)
        if membership is not None:
            transaction.send_offsets(offsets, membership)
        return transaction

    def until(self, condition: Callable[[], bool]) -> None:
        eventually(condition, _HANG_S)

    def fall_silent(self, member: Member) -> None:
        eventually(lambda: member.subscription.membership() is None, _HANG_S)

    def close(self) -> None:
        for edge in self._edges:
            edge.close()
        for transaction in self._hanging:
            transaction.close()


class TestKafkaEdge(EdgeContract):
    @pytest.fixture
    def harness_for(self, settings_for: SettingsFor) -> Iterator[HarnessFor]:
        made: list[KafkaHarness] = []

        def build(*, partitions: int, max_poll_interval_ms: int = 60_000) -> Harness:
            kafka = {"session_timeout_ms": 3_000, "max_poll_interval_ms": max_poll_interval_ms}
            made.append(KafkaHarness(settings_for(partitions=partitions, kafka=kafka, drain_timeout_s=1)))
            return made[-1]

        yield build
        for harness in made:
            harness.close()


def partition_of(message: Message) -> int:
    partition = message.partition()
    assert partition is not None
    return partition


def as_record(message: Message) -> Record:
    topic, offset = message.topic(), message.offset()
    assert topic is not None
    assert offset is not None
    headers = message.headers()
    return Record(
        topic,
        partition_of(message),
        offset,
        message.timestamp()[1],
        message.key(),
        message.value(),
        tuple(headers) if headers else (),  # type: ignore[arg-type]  # read as a list of pairs of bytes, always
    )
