"""The in-memory edge keeps the promises of every edge, and those that only tests need."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from stream_worker.clock import ManualClock
from stream_worker.embedded.memory_broker import MemoryBroker
from stream_worker.embedded.memory_edge import MemoryEdge
from stream_worker.embedded.memory_group import MemberToken
from stream_worker.embedded.memory_producer import MemoryProducer
from stream_worker.errors import ClientsBroken, Code, Fatal, Missing
from stream_worker.kafka.protocols import Aborted, Membership, Refused
from stream_worker.record import Headers, Outgoing, Record
from stream_worker.settings import Settings
from tests.edge_contract import (
    EdgeContract,
    Harness,
    HarnessFor,
    Member,
    committed,
    events,
    joined,
    owns,
    pumped,
    replies,
    reply,
    shared,
    state,
)

_STEP_S = 0.01
_STEPS = 1_000


class MemoryHarness:
    def __init__(self, partitions: int, max_poll_interval_ms: int = 60_000) -> None:
        self.settings = Settings.model_validate(
            {
                "topics": {"partitions": partitions},
                "kafka": {"max_poll_interval_ms": max_poll_interval_ms},
                "drain_timeout_s": 1,
            }
        )
        self.clock = ManualClock()
        self.broker = MemoryBroker.for_settings(self.settings, self.clock)
        self._hung = 0

    def edge(self, name: str) -> MemoryEdge:
        return MemoryEdge(self.broker, self.settings, self.clock, transactional_id=name)

    def append(self, topic: str, key: bytes | None, value: bytes, headers: Headers = (), partition: int = 0) -> None:
        self.broker.append(topic, key, value, headers, partition)

    def read_committed(self, topic: str) -> list[Record]:
        return self.broker.read_committed(topic)

    def hang(
        self, records: Sequence[Outgoing], offsets: Mapping[int, int], membership: Membership | None
    ) -> MemoryProducer:
        self._hung += 1
        producer = self.broker.producer(f"hanging-{self._hung}", timeout_s=10.0)
        producer.begin()
        for record in records:
            producer.send(record)
        if membership is not None:
            assert isinstance(membership.token, MemberToken)
            group = self.broker.group(self.settings.application_id, self.settings.topics.events)
            producer.send_offsets(group, offsets, membership.token)
        return producer

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(_STEPS):
            if condition():
                return
            self.clock.advance(_STEP_S)
        raise AssertionError(f"not within {_STEPS * _STEP_S} s: {condition}")

    def fall_silent(self, member: Member) -> None:
        self.clock.advance(self.settings.kafka.session_timeout_ms / 1000 + _STEP_S)


@pytest.fixture
def memory() -> MemoryHarness:
    return MemoryHarness(partitions=2)


class TestMemoryEdge(EdgeContract):
    @pytest.fixture
    def harness_for(self) -> HarnessFor:
        def build(*, partitions: int, max_poll_interval_ms: int = 60_000) -> Harness:
            return MemoryHarness(partitions, max_poll_interval_ms)

        return build


def test_a_zombie_that_was_never_told_commits_nothing(memory: MemoryHarness) -> None:
    zombie = joined(memory, "a")
    memory.fall_silent(zombie)
    successor = joined(memory, "b")
    result = zombie.commit(reply(memory, b"zombie"), offsets={0: 1})
    assert isinstance(result, Aborted)
    assert result.rebalancing
    zombie.pump()
    assert sorted(zombie.was_lost) == [0, 1]
    memory.until(lambda: shared(zombie, successor))
    assert memory.broker.read_committed(replies(memory)) == []


def test_a_silent_member_holds_the_others_up_until_its_session_ends(memory: MemoryHarness) -> None:
    silent = joined(memory, "a")
    second = Member(memory, "b")
    second.join()
    for _ in range(5):
        second.pump()
        assert second.owned == set()
    memory.clock.advance(4.0)
    second.pump()
    memory.clock.advance(4.0)
    memory.until(lambda: owns(second, 2))
    assert silent.owned == {0, 1}  # it has not heard of it yet


def test_a_transaction_that_is_open_too_long_is_aborted_and_its_producer_fenced(memory: MemoryHarness) -> None:
    member = joined(memory, "a")
    hanging = memory.hang([reply(memory, b"held")], {0: 5}, member.membership())
    inquiry = member.clients.offsets.ask(0)
    for _ in range(5):
        memory.clock.advance(2.0)
        member.pump()
        assert inquiry.answer() is None
    memory.clock.advance(0.1)
    facts = inquiry.answer()
    assert facts is not None
    assert facts.committed is None
    with pytest.raises(Fatal) as caught:
        hanging.commit()
    assert caught.value.code is Code.FENCED
    assert memory.broker.read_committed(replies(memory)) == []
    assert [record.value for record in memory.broker.records(replies(memory))] == [b"held"]


def test_starting_with_an_id_aborts_what_it_had_open(memory: MemoryHarness) -> None:
    dead = memory.broker.producer("a", timeout_s=10.0)
    dead.begin()
    dead.send(state(memory, b"c/x", b"half"))
    member = joined(memory, "a")
    assert member.restore(0, member.facts(0).changelog_end) == []


def test_while_the_broker_is_down_nobody_is_answered_and_nothing_is_lost(memory: MemoryHarness) -> None:
    member = joined(memory, "a")
    member.subscription.start_at(0, 0)
    memory.append(events(memory), b"k", b"v", partition=0)
    inquiry = member.clients.offsets.ask(0)
    memory.broker.down = True
    assert not pumped(member, 1)
    assert inquiry.answer() is None
    assert member.clients.changelog.read(10) == []
    assert not member.clients.deltas.send(reply(memory, b"delta"))
    result = member.commit(reply(memory, b"down"))
    assert isinstance(result, Aborted)
    assert not result.rebalancing
    with pytest.raises(Missing) as caught:
        member.clients.transactions.start()
    assert caught.value.code is Code.BROKER_UNREACHABLE
    memory.broker.down = False
    assert pumped(member, 1)
    assert inquiry.answer() is not None
    committed(member.commit(reply(memory, b"up")))
    assert [record.value for record in memory.broker.records(replies(memory))] == [b"up"]


def test_a_refused_record_is_refused_with_all_of_its_transaction(memory: MemoryHarness) -> None:
    member = joined(memory, "a")
    memory.broker.refuse(replies(memory), lambda record: record.value == b"bad")
    assert isinstance(member.commit(reply(memory, b"good"), reply(memory, b"bad")), Refused)
    committed(member.commit(reply(memory, b"good")))
    assert [record.value for record in memory.broker.read_committed(replies(memory))] == [b"good"]


def test_a_missing_topic_is_fatal(memory: MemoryHarness) -> None:
    member = joined(memory, "a")
    with pytest.raises(Fatal) as caught:
        member.commit(Outgoing("there-is-no-such-topic", b"k", b"v"))
    assert caught.value.code is Code.TOPIC_MISSING


def test_broken_clients_stay_broken_until_new_ones_are_opened(memory: MemoryHarness) -> None:
    edge = memory.edge("a")
    clients = edge.open()
    clients.transactions.start()
    edge.break_clients()
    with pytest.raises(ClientsBroken):
        clients.subscription.take(1, 0.0)
    with pytest.raises(ClientsBroken):
        clients.changelog.read(1)
    with pytest.raises(ClientsBroken):
        clients.offsets.ask(0).answer()
    again = edge.open()
    again.transactions.start()
    assert again.subscription.take(1, 0.0) == []


def test_reading_what_retention_deleted_breaks_the_clients(memory: MemoryHarness) -> None:
    for _ in range(3):
        memory.append(events(memory), b"k", b"v", partition=0)
    member = joined(memory, "a")
    memory.broker.log(events(memory), 0).delete_before(2)
    assert member.facts(0).start == 2
    member.subscription.start_at(0, 1)
    with pytest.raises(ClientsBroken) as caught:
        member.pump()
    assert caught.value.code is Code.OFFSET_BELOW_START


def test_offsets_of_the_group_can_be_moved_by_hand(memory: MemoryHarness) -> None:
    group = memory.broker.group(memory.settings.application_id, events(memory))
    group.set_offset(0, 12)
    member = joined(memory, "a")
    assert member.facts(0).committed == 12
    group.set_offset(0, None)
    assert member.facts(0).committed is None


def test_records_are_stamped_by_the_injected_clock(memory: MemoryHarness) -> None:
    memory.clock.advance(1.5)
    record = memory.broker.append(events(memory), b"k", b"v")
    assert record.timestamp_ms == memory.clock.now_ms()
    assert memory.broker.records(events(memory)) == [record]
