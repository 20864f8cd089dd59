"""What every edge promises, whatever is behind it. One suite; each kind of edge brings its harness.

A test drives workers' clients by `pump`, as a worker's loop does, and waits by the harness: on a real broker time
passes, in memory the clock is moved.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import pytest

from stream_worker.errors import ClientsBroken, Code, Fatal
from stream_worker.kafka.protocols import (
    Aborted,
    Batch,
    ChangelogRecord,
    CommitResult,
    Committed,
    Edge,
    Membership,
    PartitionFacts,
    Refused,
)
from stream_worker.record import Headers, Outgoing, Record
from stream_worker.settings import Settings

TAKE_WAIT_S = 0.02
LEAVE_S = 10.0
_TRIES = 3


class OpenTransaction(Protocol):
    """A transaction of somebody else that stands open."""

    def commit(self) -> None: ...

    def abort(self) -> None: ...


class Harness(Protocol):
    """One broker with the topics of one application, the input with `partitions` partitions."""

    settings: Settings

    def edge(self, name: str) -> Edge:
        """The edge of a process; two of one name have one transactional id, and are members of their own."""
        ...

    def append(self, topic: str, key: bytes | None, value: bytes, headers: Headers = (), partition: int = 0) -> None:
        """Produces a record outside any transaction; returns when it is stored."""
        ...

    def read_committed(self, topic: str) -> list[Record]:
        """What a committed reader sees at this moment."""
        ...

    def hang(
        self, records: Sequence[Outgoing], offsets: Mapping[int, int], membership: Membership | None
    ) -> OpenTransaction:
        """Begins a transaction, sends all that, and leaves it open. Without a membership no offsets are sent."""
        ...

    def until(self, condition: Callable[[], bool]) -> None:
        """Lets time pass until the condition holds; fails when it takes too long."""
        ...

    def fall_silent(self, member: "Member") -> None:
        """Lets time pass without a sign of life of the member, until the group has given it up."""
        ...


#: The least that a client accepts: for tests that wait until one gives up.
QUICK_POLL_INTERVAL_MS = 6_000


class HarnessFor(Protocol):
    def __call__(self, *, partitions: int, max_poll_interval_ms: int = 60_000) -> Harness: ...


class Member:
    """A worker reduced to what it says to its edge."""

    def __init__(self, harness: Harness, name: str) -> None:
        self.harness = harness
        self.edge = harness.edge(name)
        self.clients = self.edge.open()
        self.subscription = self.clients.subscription
        self.owned: set[int] = set()
        self.was_revoked: list[int] = []
        self.was_lost: list[int] = []
        self.membership_when_lost: list[Membership | None] = []
        self.records: list[Record] = []
        self.on_assigned: Callable[[Sequence[int]], object] = lambda partitions: None
        self.on_revoked: Callable[[], object] = lambda: None
        self.clients.transactions.start()

    def assigned(self, partitions: Sequence[int]) -> None:
        assert self.owned.isdisjoint(partitions)
        self.on_assigned(partitions)
        self.owned.update(partitions)

    def revoked(self, partitions: Sequence[int]) -> None:
        assert self.owned.issuperset(partitions)
        self.on_revoked()
        self.was_revoked += partitions
        self.owned.difference_update(partitions)

    def lost(self, partitions: Sequence[int]) -> None:
        assert self.owned.issuperset(partitions)
        self.membership_when_lost.append(self.subscription.membership())
        self.was_lost += partitions
        self.owned.difference_update(partitions)

    def join(self) -> None:
        self.subscription.join(self)

    def renew(self) -> None:
        """New clients instead of the old ones, which hear nothing of it."""
        self.clients = self.edge.open()
        self.subscription = self.clients.subscription
        self.owned.clear()
        self.clients.transactions.start()

    def pump(self, limit: int = 100) -> None:
        records = self.subscription.take(limit, TAKE_WAIT_S)
        assert len(records) <= limit
        self.records += records

    def facts(self, partition: int) -> PartitionFacts:
        inquiry = self.clients.offsets.ask(partition)
        self.harness.until(lambda: inquiry.answer() is not None)
        facts = inquiry.answer()
        assert facts is not None
        return facts

    def restore(self, partition: int, end: int) -> list[ChangelogRecord]:
        changelog = self.clients.changelog
        changelog.open(partition, end)
        records: list[ChangelogRecord] = []

        def is_read() -> bool:
            records.extend(changelog.read(100))
            return changelog.reached_end(partition)

        self.harness.until(is_read)
        changelog.close(partition)
        return records

    def membership(self) -> Membership:
        membership = self.subscription.membership()
        assert membership is not None
        return membership

    def commit(
        self,
        *records: Outgoing,
        offsets: Mapping[int, int] | None = None,
        membership: Membership | None = None,
        ledgers: Mapping[int, int] | None = None,
    ) -> CommitResult:
        return self.clients.transactions.commit(
            Batch(
                records=records,
                offsets=offsets or {0: 0},
                membership=membership or self.membership(),
                ledgers=ledgers or {},
            )
        )


class EdgeContract:
    """Subclasses provide the fixture `harness_for`."""

    @pytest.fixture
    def harness(self, harness_for: HarnessFor) -> Harness:
        return harness_for(partitions=2)

    # Reading

    def test_nothing_is_delivered_before_it_is_started(self, harness: Harness) -> None:
        harness.append(events(harness), b"k", b"early", partition=0)
        harness.append(events(harness), b"k", b"other", partition=1)
        member = joined(harness, "a")
        member.subscription.start_at(1, 0)
        harness.until(lambda: pumped(member, 1))
        assert [record.value for record in member.records] == [b"other"]

    def test_records_come_in_order_from_exactly_the_given_offset(self, harness: Harness) -> None:
        for number in range(50):
            harness.append(events(harness), b"k", b"%d" % number, partition=0)
        member = joined(harness, "a")
        member.subscription.start_at(0, 7)
        harness.until(lambda: pumped(member, 43, limit=10))
        assert [record.offset for record in member.records] == list(range(7, 50))
        assert [record.value for record in member.records] == [b"%d" % number for number in range(7, 50)]

    def test_a_record_is_read_as_it_was_written(self, harness: Harness) -> None:
        headers = (("ce_id", b"1"), ("ce_id", b"2"), ("empty", b""), ("none", None))
        harness.append(events(harness), b"\x00key", b"\xff", headers, partition=1)
        member = joined(harness, "a")
        member.subscription.start_at(1, 0)
        harness.until(lambda: pumped(member, 1))
        (record,) = member.records
        assert (record.topic, record.partition, record.offset) == (events(harness), 1, 0)
        assert (record.key, record.value, record.headers) == (b"\x00key", b"\xff", headers)
        assert record.timestamp_ms > 0

    def test_take_returns_no_more_than_its_limit(self, harness: Harness) -> None:
        for number in range(9):
            harness.append(events(harness), b"k", b"%d" % number, partition=number % 2)
        member = joined(harness, "a")
        for partition in (0, 1):
            member.subscription.start_at(partition, 0)
        harness.until(lambda: pumped(member, 9, limit=2))
        assert {record.partition for record in member.records} == {0, 1}

    def test_the_position_passes_markers_and_aborted_records(self, harness: Harness) -> None:
        harness.append(events(harness), b"k", b"plain", partition=0)
        harness.hang([incoming(harness, b"committed")], {}, None).commit()
        harness.hang([incoming(harness, b"aborted")], {}, None).abort()
        member = joined(harness, "a")
        member.subscription.start_at(0, 0)
        assert member.subscription.position(0) is None
        # Offsets 0: plain, 1: committed, 2: its marker, 3: aborted, 4: its marker.
        harness.until(lambda: pumped(member, 2) and member.subscription.position(0) == 5)
        assert [record.offset for record in member.records] == [0, 1]
        assert member.subscription.high_watermark(0) == 5

    def test_an_open_transaction_holds_back_what_comes_after_it(self, harness: Harness) -> None:
        harness.append(events(harness), b"k", b"before", partition=0)
        hanging = harness.hang([incoming(harness, b"held")], {}, None)
        harness.append(events(harness), b"k", b"after", partition=0)
        member = joined(harness, "a")
        member.subscription.start_at(0, 0)
        harness.until(lambda: pumped(member, 1) and member.subscription.high_watermark(0) == 3)
        assert [record.value for record in member.records] == [b"before"]
        hanging.commit()
        harness.until(lambda: pumped(member, 3))
        assert [record.value for record in member.records] == [b"before", b"held", b"after"]

    def test_a_paused_partition_delivers_nothing_until_it_is_resumed(self, harness: Harness) -> None:
        member = joined(harness, "a")
        for partition in (0, 1):
            member.subscription.start_at(partition, 0)
        member.subscription.pause([0])
        harness.append(events(harness), b"k", b"paused", partition=0)
        harness.append(events(harness), b"k", b"running", partition=1)
        harness.until(lambda: pumped(member, 1))
        assert [record.value for record in member.records] == [b"running"]
        member.subscription.resume([0])
        harness.until(lambda: pumped(member, 2))
        assert member.records[1].value == b"paused"

    # Membership

    def test_there_is_no_membership_before_joining(self, harness: Harness) -> None:
        member = Member(harness, "a")
        assert member.subscription.membership() is None
        member.join()
        assert member.subscription.membership() is None
        harness.until(lambda: owns(member, 2))
        assert member.subscription.membership() is not None

    def test_members_share_the_partitions(self, harness: Harness) -> None:
        first = joined(harness, "a")
        second = Member(harness, "b")
        still_owned: list[bool] = []
        second.on_assigned = lambda partitions: still_owned.append(not first.owned.isdisjoint(partitions))
        second.join()
        harness.until(lambda: shared(first, second))
        assert still_owned == [False]
        assert first.owned | second.owned == {0, 1}
        assert first.was_revoked == list(second.owned)
        assert first.was_lost == second.was_revoked == second.was_lost == []

    def test_a_revoked_partition_can_be_committed_a_last_time(self, harness: Harness) -> None:
        first = joined(harness, "a")
        results: list[CommitResult] = []
        first.on_revoked = lambda: results.append(first.commit(reply(harness, b"last"), offsets={0: 1, 1: 1}))
        second = Member(harness, "b")
        second.join()
        harness.until(lambda: shared(first, second))
        assert results == [Committed({})]
        (moved,) = second.owned
        assert second.facts(moved).committed == 1

    def test_no_position_is_told_while_the_listener_is_served(self, harness: Harness) -> None:
        """The client may have handed out records that `take` has not returned yet."""
        first = joined(harness, "a")
        for partition in (0, 1):
            harness.append(events(harness), b"c", b"{}", partition=partition)
            first.subscription.start_at(partition, 0)
        harness.until(lambda: pumped(first, 2))
        assert [first.subscription.position(partition) for partition in (0, 1)] == [1, 1]
        told: list[int | None] = []
        first.on_revoked = lambda: told.extend(first.subscription.position(partition) for partition in (0, 1))
        second = Member(harness, "b")
        second.join()
        harness.until(lambda: shared(first, second))
        assert told == [None, None]

    def test_leaving_gives_the_partitions_back(self, harness: Harness) -> None:
        first = joined(harness, "a")
        second = Member(harness, "b")
        second.join()
        harness.until(lambda: shared(first, second))
        (left,) = first.owned
        first.on_revoked = lambda: committed(first.commit(reply(harness, b"bye"), offsets={left: 1}))
        first.subscription.leave(LEAVE_S)
        assert first.owned == set()
        assert first.was_lost == []
        harness.until(lambda: owns(second, 2))
        assert second.facts(left).committed == 1

    def test_closing_gives_the_partitions_back_without_a_word(self, harness: Harness) -> None:
        first = joined(harness, "a")
        first.subscription.close()
        assert first.was_revoked == first.was_lost == []
        joined(harness, "b")

    def test_a_silent_member_loses_its_partitions(self, harness_for: HarnessFor) -> None:
        harness = harness_for(partitions=2, max_poll_interval_ms=QUICK_POLL_INTERVAL_MS)
        member = joined(harness, "a")
        harness.fall_silent(member)
        harness.until(lambda: bool(pumped(member, 0) and member.was_lost))
        assert sorted(member.was_lost) == [0, 1]
        assert member.was_revoked == []
        assert member.membership_when_lost == [None]
        harness.until(lambda: owns(member, 2))

    # Transactions

    def test_a_commit_shows_its_records_and_its_offsets(self, harness: Harness) -> None:
        member = joined(harness, "a")
        assert member.facts(0).committed is None
        ledger = Outgoing(harness.settings.changelog, b"l/0", b"{}", partition=0)
        first = member.commit(reply(harness, b"one"), ledger, offsets={0: 3}, ledgers={0: 1})
        second = member.commit(reply(harness, b"two"), ledger, offsets={0: 4, 1: 9}, ledgers={0: 1})
        # A ledger record and a marker: the second ledger record stands at 2.
        assert (first, second) == (Committed({0: 0}), Committed({0: 2}))
        assert [record.value for record in harness.read_committed(replies(harness))] == [b"one", b"two"]
        assert (member.facts(0).committed, member.facts(1).committed) == (4, 9)

    def test_a_transaction_without_records_moves_offsets(self, harness: Harness) -> None:
        member = joined(harness, "a")
        assert member.commit(offsets={1: 5}) == Committed({})
        assert member.facts(1).committed == 5

    def test_an_aborted_transaction_shows_nothing(self, harness: Harness) -> None:
        member = joined(harness, "a")
        hanging = harness.hang([reply(harness, b"never")], {0: 8}, member.membership())
        hanging.abort()
        assert member.facts(0).committed is None
        assert harness.read_committed(replies(harness)) == []

    def test_headers_and_keys_are_written_as_they_are(self, harness: Harness) -> None:
        member = joined(harness, "a")
        headers = (("traceparent", b"00-1"), ("none", None))
        committed(
            member.commit(Outgoing(replies(harness), b"k", b"v", headers), Outgoing(replies(harness), b"k", None))
        )
        written, tombstone = harness.read_committed(replies(harness))
        assert (written.key, written.value, written.headers) == (b"k", b"v", headers)
        assert (tombstone.key, tombstone.value, tombstone.headers) == (b"k", None, ())

    def test_a_second_process_with_our_transactional_id_fences_us(self, harness: Harness) -> None:
        first = joined(harness, "a")
        committed(first.commit(reply(harness, b"first")))
        second = Member(harness, "a")
        with pytest.raises(Fatal) as caught:
            first.commit(reply(harness, b"late"))
        assert caught.value.code is Code.FENCED
        second.join()
        harness.until(lambda: shared(first, second))
        committed(second.commit(reply(harness, b"second")))
        assert [record.value for record in harness.read_committed(replies(harness))] == [b"first", b"second"]

    def test_a_membership_of_an_older_generation_commits_nothing(self, harness: Harness) -> None:
        first = joined(harness, "a")
        old = first.membership()
        second = Member(harness, "b")
        second.join()
        harness.until(lambda: shared(first, second))
        result = first.commit(reply(harness, b"zombie"), offsets={0: 1, 1: 1}, membership=old)
        assert isinstance(result, Aborted)
        assert result.rebalancing
        assert harness.read_committed(replies(harness)) == []
        assert first.facts(0).committed is None
        committed(first.commit(reply(harness, b"again"), offsets={0: 1}))

    def test_a_membership_that_was_left_commits_nothing(self, harness: Harness) -> None:
        first = joined(harness, "a")
        second = Member(harness, "b")
        second.join()
        harness.until(lambda: shared(first, second))
        old = second.membership()
        second.subscription.leave(LEAVE_S)
        result = second.commit(reply(harness, b"zombie"), membership=old)
        assert isinstance(result, Aborted)
        assert result.rebalancing
        assert harness.read_committed(replies(harness)) == []

    def test_the_fence_does_not_know_who_owns_a_partition(self, harness_for: HarnessFor) -> None:
        """Why the worker itself asserts that what it commits is still its own."""
        harness = harness_for(partitions=1)
        first = Member(harness, "a")
        first.join()
        harness.until(lambda: owns(first, 1))
        second = Member(harness, "b")
        second.join()
        harness.until(lambda: bool(pumped(first, 0) and pumped(second, 0) and second.subscription.membership()))
        assert (first.owned, second.owned) == ({0}, set())
        committed(second.commit(offsets={0: 77}))
        assert first.facts(0).committed == 77

    def test_a_record_that_is_too_large_is_refused_and_nothing_of_its_transaction_stays(self, harness: Harness) -> None:
        member = joined(harness, "a")
        # A broker measures what is sent, so it must not shrink when it is compressed.
        large = random.Random(1).randbytes(member.edge.max_record_bytes()[replies(harness)] + 1)
        result = retried(member, reply(harness, b"small"), reply(harness, large), offsets={0: 1})
        assert isinstance(result, Refused)
        assert harness.read_committed(replies(harness)) == []
        assert member.facts(0).committed is None
        committed(retried(member, reply(harness, b"small"), offsets={0: 1}))
        assert [record.value for record in harness.read_committed(replies(harness))] == [b"small"]

    def test_a_transaction_with_a_missing_topic_is_not_committed(self, harness_for: HarnessFor) -> None:
        """A cluster's topic may only be slow to be known: a client may give up before it says that there is none."""
        harness = harness_for(partitions=2, max_poll_interval_ms=QUICK_POLL_INTERVAL_MS)
        member = joined(harness, "a")
        with pytest.raises((Fatal, ClientsBroken)):
            member.commit(reply(harness, b"beside"), Outgoing("there-is-no-such-topic", b"k", b"v"))
        member.renew()
        assert member.facts(0).committed is None
        assert harness.read_committed(replies(harness)) == []

    def test_keys_are_partitioned_as_java_does(self, harness_for: HarnessFor) -> None:
        harness = harness_for(partitions=7)
        member = Member(harness, "a")
        member.join()
        harness.until(lambda: owns(member, 7))
        keys = [key for key, _ in JAVA_PARTITIONS]
        committed(member.commit(*(Outgoing(replies(harness), key, b"v") for key in keys)))
        found = {record.key: record.partition for record in harness.read_committed(replies(harness))}
        assert found == dict(JAVA_PARTITIONS)

    # Taking

    def test_the_facts_of_a_new_group_are_the_ends_of_its_logs(self, harness: Harness) -> None:
        harness.append(events(harness), b"k", b"v", partition=1)
        member = joined(harness, "a")
        facts = member.facts(1)
        assert (facts.committed, facts.start, facts.end, facts.changelog_end) == (None, 0, 1, 0)
        assert facts.partitions == 2
        assert facts.topic_id == member.facts(0).topic_id != ""

    def test_an_offset_in_an_open_transaction_is_waited_for(self, harness: Harness) -> None:
        member = joined(harness, "a")
        committed(member.commit(offsets={0: 1, 1: 1}))
        hanging = harness.hang([reply(harness, b"held")], {0: 5}, member.membership())
        held = member.clients.offsets.ask(0)
        assert member.facts(1).committed == 1
        for _ in range(5):
            assert member.facts(1).committed == 1
            assert held.answer() is None
        hanging.commit()
        harness.until(lambda: held.answer() is not None)
        facts = held.answer()
        assert facts is not None
        assert facts.committed == 5

    def test_the_end_of_the_changelog_counts_open_transactions(self, harness: Harness) -> None:
        member = joined(harness, "a")
        hanging = harness.hang([state(harness, b"c/x", b"held")], {}, None)
        end = member.facts(0).changelog_end
        assert end == 1
        changelog = member.clients.changelog
        changelog.open(0, end)
        other = harness.hang([state(harness, b"c/y", b"1", partition=1)], {}, None)
        other.commit()
        # Partition 1 was read to its end, and still partition 0 is not.
        changelog.open(1, 2)
        seen: list[ChangelogRecord] = []

        def is_other_read() -> bool:
            seen.extend(changelog.read(100))
            return changelog.reached_end(1)

        harness.until(is_other_read)
        assert [record.partition for record in seen] == [1]
        assert not changelog.reached_end(0)
        hanging.commit()

        def is_held_read() -> bool:
            seen.extend(changelog.read(100))
            return changelog.reached_end(0)

        harness.until(is_held_read)
        assert [(record.partition, record.key, record.value) for record in seen] == [
            (1, b"c/y", b"1"),
            (0, b"c/x", b"held"),
        ]

    def test_the_changelog_is_read_past_its_markers(self, harness: Harness) -> None:
        member = joined(harness, "a")
        committed(member.commit(state(harness, b"c/x", b"1"), state(harness, b"c/x", None)))
        harness.hang([state(harness, b"c/y", b"never")], {}, None).abort()
        end = member.facts(0).changelog_end
        # Two records, a marker, an aborted record, a marker.
        assert end == 5
        assert member.restore(0, end) == [
            ChangelogRecord(0, 0, b"c/x", b"1"),
            ChangelogRecord(0, 1, b"c/x", None),
        ]

    def test_an_empty_changelog_is_read_at_once(self, harness: Harness) -> None:
        member = joined(harness, "a")
        assert member.restore(0, member.facts(0).changelog_end) == []

    def test_a_changelog_partition_can_be_read_again(self, harness: Harness) -> None:
        member = joined(harness, "a")
        committed(member.commit(state(harness, b"c/x", b"1")))
        end = member.facts(0).changelog_end
        assert member.restore(0, end) == member.restore(0, end) == [ChangelogRecord(0, 0, b"c/x", b"1")]

    # Deltas and clients

    def test_deltas_are_seen_outside_of_any_transaction(self, harness: Harness) -> None:
        member = joined(harness, "a")
        topic = harness.settings.output_topic(harness.settings.topics.deltas)
        assert member.clients.deltas.send(Outgoing(topic, b"k", b"delta"))
        member.clients.deltas.flush(5.0)
        assert [record.value for record in harness.read_committed(topic)] == [b"delta"]

    def test_new_clients_of_an_edge_join_again(self, harness: Harness) -> None:
        member = joined(harness, "a")
        committed(member.commit(offsets={0: 4}))
        member.renew()
        member.join()
        harness.until(lambda: owns(member, 2))
        assert member.facts(0).committed == 4
        committed(member.commit(offsets={0: 5}))


#: Seven partitions; the hashes are those of Java's own tests.
JAVA_PARTITIONS = (
    (b"21", (-973932308 & 0x7FFFFFFF) % 7),
    (b"foobar", (-790332482 & 0x7FFFFFFF) % 7),
    (b"a-little-bit-long-string", (-985981536 & 0x7FFFFFFF) % 7),
    (b"a-little-bit-longer-string", (-1486304829 & 0x7FFFFFFF) % 7),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", (-58897971 & 0x7FFFFFFF) % 7),
    (b"abc", 479470107 % 7),
)


def joined(harness: Harness, name: str) -> Member:
    """The only member of its group."""
    member = Member(harness, name)
    member.join()
    harness.until(lambda: owns(member, harness.settings.topics.partitions))
    return member


def pumped(member: Member, records: int, limit: int = 100) -> bool:
    """One take; whether the member has so many records now."""
    member.pump(limit)
    return len(member.records) >= records


def owns(member: Member, partitions: int) -> bool:
    member.pump()
    return len(member.owned) == partitions


def shared(first: Member, second: Member) -> bool:
    """One take of each; whether each has its half now and the group is quiet."""
    first.pump()
    second.pump()
    return len(first.owned) == len(second.owned) == 1


def retried(member: Member, *records: Outgoing, offsets: Mapping[int, int]) -> CommitResult:
    """Sends an aborted transaction again, as a worker does: a client may know the cause only at the second try, and
    after a refusal it may have to put its own sequence in order first.
    """
    result = member.commit(*records, offsets=offsets)
    tries = 1
    while isinstance(result, Aborted) and tries < _TRIES:
        assert not result.rebalancing
        result = member.commit(*records, offsets=offsets)
        tries += 1
    return result


def committed(result: CommitResult) -> None:
    assert isinstance(result, Committed), result


def events(harness: Harness) -> str:
    return harness.settings.topics.events


def replies(harness: Harness) -> str:
    return harness.settings.output_topic(harness.settings.topics.replies)


def incoming(harness: Harness, value: bytes) -> Outgoing:
    return Outgoing(events(harness), b"k", value, partition=0)


def reply(harness: Harness, value: bytes) -> Outgoing:
    return Outgoing(replies(harness), b"k", value)


def state(harness: Harness, key: bytes, value: bytes | None, partition: int = 0) -> Outgoing:
    return Outgoing(harness.settings.changelog, key, value, partition=partition)
