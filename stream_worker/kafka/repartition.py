"""Moves the state of a stopped group to another partition count, in steps that a crash may separate.

1. Look, and change nothing: nobody in the group, every event settled, every state where its key belongs.
2. Give the changelog its new partitions: a worker whose input has fewer does not start.
3. Write into every ledger that a move is under way: a worker that had started before refuses its partitions.
   Only after that is the group looked at again, and everything read that counts.
4. Move states, each written to its new partition and deleted in its old one in one transaction.
5. Read everything, and hold it against what there was.
6. Give the input its new partitions.
7. Carry events to the partition of their conversation: those that arrived meanwhile, from producers that nobody
   stopped, in one transaction with the ledgers that call them settled where they were.
8. Write ledgers and group offsets for the new count, all in one transaction: workers may start.

Whatever is cut off is gone on with by the next run: topics and ledgers say how far it has come. Its transactions have
one id, so a second run at the same time ends the first one, and a run after a crash ends what that left open.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from stream_worker.contracts.internal import MOVING_PARTITIONS, LedgerRecord, Move, ledger_key
from stream_worker.errors import ClientsBroken, Code, Fatal, UnsafeChange
from stream_worker.kafka.client_settings import (
    LARGEST_BATCH_BYTES,
    consumer_settings,
    longest_transaction_s,
    transaction_settings,
)
from stream_worker.kafka.clients import make_consumer
from stream_worker.kafka.group_admin import members_of
from stream_worker.kafka.ledger import Ledger
from stream_worker.kafka.offsets import KafkaOffsets
from stream_worker.kafka.placement import (
    Batching,
    Plan,
    Repartitioned,
    Survey,
    home_of,
    plan,
    refuse_strangers,
    same_as_before,
    verify,
)
from stream_worker.kafka.protocols import Aborted, Batch, Committed, Membership, PartitionFacts, Refused
from stream_worker.kafka.reading import records, true_ends
from stream_worker.kafka.reconcile import Names, reconcile
from stream_worker.kafka.topic_admin import connect, describe, grow
from stream_worker.kafka.topic_lookup import partitions_of
from stream_worker.kafka.transactions import KafkaTransactions
from stream_worker.record import Outgoing, Record
from stream_worker.settings import Settings

_READ_AT_ONCE = 200_000
"""Records of the partitions that are held in memory together."""
_IN_A_TRANSACTION = Batching(most_records=2_000, most_bytes=8 << 20)
_GIVE_UP_S = 60.0
_LOOK_EVERY_S = 0.02
_TRIES = 5
_ROUNDS = 5
_NAMED = 5

Tell = Callable[[str], None]
Ledgers = dict[int, LedgerRecord]


class Repartition:
    """`tell` hears of each step. Every method raises what commands do: Missing, Misconfigured, Fatal, UnsafeChange."""

    def __init__(self, settings: Settings, target: int, tell: Tell) -> None:
        self._settings = settings
        self._target = target
        self._tell = tell
        self._admin = connect(settings)
        self._events, self._changelog = settings.topics.events, settings.changelog
        self._wait_s = longest_transaction_s(settings)
        # Of nobody: it never joins, and the broker takes offsets of a group without members.
        self._nobody = make_consumer(consumer_settings(settings, None))
        self._membership = Membership(self._nobody.consumer_group_metadata())
        self._offsets = KafkaOffsets(
            lambda: connect(settings), settings.application_id, self._events, self._changelog, self._wait_s
        )

    def look(self) -> Repartitioned:
        """What would be done. Raises where it may not be."""
        found, survey, _ = self._look()
        return _report(found, survey, moved=survey.to_move, carried=0, done=False)

    def run(self) -> Repartitioned:
        """All of it, or what an earlier run has left to do."""
        # What an earlier run left open is ended at once, instead of waited for.
        transactions = self._transactions()
        try:
            found, survey, ledgers = self._look()
            if found.is_done:
                return _report(found, survey, moved=0, carried=0, done=True)
            self._grow(self._changelog)
            move = self._fence(transactions, found, survey, ledgers)
            self._tell("no worker can start from here on, until this has ended")
            before, move = self._count(transactions, found, move)
            moved = self._move(transactions, before)
            after = self._survey(self._target)
            verify(after, move)
            self._tell(
                f"verified: {after.conversations} conversations, each where it belongs and byte for byte as before"
            )
            self._grow(self._events)
            ledgers, carried = self._carry(transactions, found, after.ledgers)
            self._open(transactions, ledgers)
        finally:
            transactions.close()
        return _report(found, before, moved=moved, carried=carried, done=True)

    # 1. Look

    def _look(self) -> tuple[Plan, Survey, Ledgers]:
        """The ledgers are those that a worker would begin with."""
        self._refuse_members()
        counts = [len(partitions_of(self._admin, topic)) for topic in (self._events, self._changelog)]
        survey = self._survey(counts[1])
        found = plan(counts[0], counts[1], self._target, survey.moves)
        refuse_strangers(survey, found)
        ledgers = survey.ledgers if survey.moves else self._begun_with(found, survey.ledgers)
        if not (found.is_begun or found.is_done):
            self._refuse_unsettled(ledgers)
        return found, survey, ledgers

    def _refuse_members(self) -> None:
        group = self._settings.application_id
        if members := members_of(self._admin, group):
            others = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
            raise UnsafeChange(
                Code.GROUP_BUSY,
                f"the group {group} has members: {', '.join(members[:_NAMED])}{others}; stop every worker (one "
                "that was killed is a member until its session ends) and run this again",
            )

    def _survey(self, partitions: int) -> Survey:
        survey = Survey(self._target)
        for partition, live in self._live(range(partitions)):
            survey.add(partition, live)
        return survey

    def _live(self, partitions: Iterable[int]) -> Iterator[tuple[int, dict[bytes, bytes]]]:
        """The changelog's records that were not deleted, a partition at a time, up to its true end."""
        bounds = true_ends(self._admin, self._changelog, list(partitions), self._wait_s)
        for together in _together(bounds):
            live: dict[int, dict[bytes, bytes]] = {partition: {} for partition in together}
            for record in records(self._settings, self._changelog, together):
                if record.value is None:
                    live[record.partition].pop(record.key or b"", None)
                else:
                    live[record.partition][record.key or b""] = record.value
            yield from live.items()

    def _begun_with(self, found: Plan, ledgers: Ledgers) -> Ledgers:
        """Raises PartitionRefused where a worker would not go on either."""
        names = Names(
            application_id=self._settings.application_id,
            topic=self._events,
            bootstrap_servers=self._settings.kafka.bootstrap_servers,
        )
        begun = {}
        for partition, facts in self._facts(range(found.origin)).items():
            start = reconcile(
                partition,
                replace(facts, partitions=found.origin),
                ledgers.get(partition),
                from_earliest=self._settings.kafka.start_at == "earliest",
                adopt_group=False,
                most_in_hand=0,
                names=names,
            )
            begun[partition] = LedgerRecord(
                topic_id=facts.topic_id,
                partition=partition,
                partitions=found.origin,
                term=start.term,
                next=start.next,
                open=start.open,
                released=True,
            )
        return begun

    def _facts(self, partitions: Iterable[int]) -> dict[int, PartitionFacts]:
        inquiries = {partition: self._offsets.ask(partition) for partition in partitions}
        facts: dict[int, PartitionFacts] = {}
        while len(facts) < len(inquiries):
            for partition, inquiry in inquiries.items():
                if partition not in facts and (answer := inquiry.answer()) is not None:
                    facts[partition] = answer
            time.sleep(_LOOK_EVERY_S)
        return facts

    def _refuse_unsettled(self, ledgers: Ledgers) -> None:
        waiting = {partition: len(found) for partition, found in self._unsettled(ledgers).items() if found}
        if waiting:
            named = ", ".join(f"{count} in partition {number}" for number, count in list(waiting.items())[:_NAMED])
            others = f", and in {len(waiting) - _NAMED} more partitions" if len(waiting) > _NAMED else ""
            raise UnsafeChange(
                Code.INPUT_UNSETTLED,
                f"{sum(waiting.values())} events of {self._events} are not settled ({named}{others}): stop the "
                "producers, let the workers settle them (`stream-worker lag` shows 0), stop the workers, and run this "
                "again",
            )

    def _unsettled(self, ledgers: Ledgers) -> dict[int, list[Record]]:
        """By partition, the events that a worker would still have to settle."""
        ends = true_ends(self._admin, self._events, list(ledgers), self._wait_s)
        books = {partition: Ledger(each.next, each.open) for partition, each in ledgers.items()}
        ranges = {
            partition: (max(start, books[partition].group_offset), end) for partition, (start, end) in ends.items()
        }
        found: dict[int, list[Record]] = {partition: [] for partition in ledgers}
        for record in records(self._settings, self._events, ranges):
            if not books[record.partition].is_settled(record.offset):
                found[record.partition].append(record)
        return found

    # 2 and 6. Grow

    def _grow(self, topic: str) -> None:
        grow(self._admin, topic, self._target)
        self._tell(f"{topic} has {self._target} partitions")

    # 3. Fence

    def _fence(self, transactions: KafkaTransactions, found: Plan, survey: Survey, ledgers: Ledgers) -> Move:
        moves = survey.moves
        move = next(iter(moves)) if moves else Move(origin=found.origin, target=found.target)
        self._write_move(transactions, move, ledgers)
        self._refuse_members()
        return move

    def _write_move(self, transactions: KafkaTransactions, move: Move, ledgers: Ledgers) -> None:
        topic_id = next(iter(ledgers.values())).topic_id
        fenced = [
            replace(
                ledgers.get(partition) or _new_ledger(topic_id, partition), partitions=MOVING_PARTITIONS, moving=move
            )
            for partition in range(move.target)
        ]
        self._commit(transactions, [self._ledger(record) for record in fenced])

    def _count(self, transactions: KafkaTransactions, found: Plan, move: Move) -> tuple[Survey, Move]:
        """What there is, of a changelog that nobody else writes to any more; the ledgers keep it for later runs."""
        survey = self._survey(self._target)
        unfenced = [number for number in range(self._target) if survey.ledgers[number].moving is None]
        if unfenced:
            raise UnsafeChange(
                Code.GROUP_BUSY,
                f"a worker took partition {unfenced[0]} meanwhile: stop every worker, and run this again",
            )
        refuse_strangers(survey, found)
        followed = self._following_offsets(found, survey.ledgers)
        if move.conversations is None:
            move = replace(move, conversations=survey.conversations, fingerprint=survey.fingerprint)
        same_as_before(survey, move)
        self._write_move(transactions, move, followed)
        return survey, move

    def _following_offsets(self, found: Plan, ledgers: Ledgers) -> Ledgers:
        """As a worker does: where they differ the offset is right.

        So they do where a worker came and was killed between the look and the fence, which overwrote its ledger.
        """
        followed = dict(ledgers)
        for partition, facts in self._facts(range(found.origin)).items():
            ledger, committed = ledgers[partition], facts.committed
            if committed is not None and committed != ledger.group_offset:
                self._tell(f"partition {partition}: the group's offset was moved to {committed}: it is followed")
                followed[partition] = replace(ledger, next=committed, open=())
        return followed

    # 4. Move

    def _move(self, transactions: KafkaTransactions, survey: Survey) -> int:
        moved = 0
        for partition, live in self._live(survey.misplaced):
            wanted = ((key, live[key]) for key in survey.misplaced[partition])
            for batch in _IN_A_TRANSACTION(wanted):
                self._commit(transactions, [record for state in batch for record in self._moving(partition, *state)])
                moved += len(batch)
                self._tell(f"{moved} of {survey.to_move} conversations moved")
        return moved

    def _moving(self, partition: int, key: bytes, value: bytes) -> tuple[Outgoing, Outgoing]:
        return (
            Outgoing(self._changelog, key, value, partition=home_of(key, self._target)),
            Outgoing(self._changelog, key, None, partition=partition),
        )

    # 7. Carry

    def _carry(self, transactions: KafkaTransactions, found: Plan, ledgers: Ledgers) -> tuple[Ledgers, int]:
        """The ledgers once each event that waits is in its conversation's partition, and how many were carried.

        An event of a new partition came by the new count.
        """
        carried = 0
        for _ in range(_ROUNDS):
            waiting = self._unsettled({number: ledgers[number] for number in range(found.origin)})
            strays = {number: [each for each in some if self._strays(each)] for number, some in waiting.items()}
            count = sum(map(len, strays.values()))
            if not count:
                return ledgers, carried
            carried += count
            changed = {
                number: _carried(ledgers[number], waiting[number], some) for number, some in strays.items() if some
            }
            ledgers = ledgers | changed
            events = [self._carried_event(each) for some in strays.values() for each in some]
            books = [self._ledger(each) for each in changed.values()]
            self._commit(transactions, [*events, *books], _group_offsets(changed))
            self._tell(f"{carried} events carried to the partition of their conversation")
        raise UnsafeChange(
            Code.INPUT_UNSETTLED,
            f"events still arrive in {self._events} by the old partition count: stop the producers, and run this again",
        )

    def _strays(self, event: Record) -> bool:
        """An event without a key, or whose headers cannot be copied, becomes a dead letter where it is."""
        return bool(event.key) and event.headers_readable and home_of(event.key or b"", self._target) != event.partition

    def _carried_event(self, event: Record) -> Outgoing:
        home = home_of(event.key or b"", self._target)
        return Outgoing(self._events, event.key, event.value, event.headers, partition=home)

    # 8. Open

    def _open(self, transactions: KafkaTransactions, ledgers: Ledgers) -> None:
        """With the highest term for all: a conversation's never goes back."""
        term = max(ledger.term for ledger in ledgers.values())
        opened = {
            number: replace(ledger, partitions=self._target, moving=None, term=term)
            for number, ledger in ledgers.items()
        }
        self._commit(transactions, [self._ledger(each) for each in opened.values()], _group_offsets(opened))
        self._tell("ledgers and group offsets are those of the new count: workers may start")

    # Writing

    def _ledger(self, record: LedgerRecord) -> Outgoing:
        return Outgoing(self._changelog, ledger_key(record.partition), record.dump(), partition=record.partition)

    def _transactions(self) -> KafkaTransactions:
        facts = describe(self._admin, [self._events, self._changelog])
        batch_bytes = min(LARGEST_BATCH_BYTES, *(each.number("max.message.bytes") for each in facts.values()))
        identity = f"{self._settings.application_id}-repartition"
        transactions = KafkaTransactions(
            transaction_settings(self._settings, identity, batch_bytes),
            input_topic=self._events,
            call_timeout_s=self._settings.kafka.call_timeout_ms / 1000,
            give_up_s=_GIVE_UP_S,
            beat=lambda: None,
        )
        transactions.start()
        return transactions

    def _commit(
        self,
        transactions: KafkaTransactions,
        outgoing: list[Outgoing],
        offsets: Mapping[int, int] | None = None,
    ) -> None:
        batch = Batch(records=outgoing, offsets=offsets or {}, membership=self._membership, ledgers={})
        for _ in range(_TRIES):
            match transactions.commit(batch):
                case Committed():
                    return
                case Refused(cause):
                    raise Fatal(
                        Code.RECORD_REFUSED, f"the broker refuses a record: {cause}; run this again once it may"
                    )
                case Aborted(cause):
                    self._tell(f"a transaction was aborted, and is tried again: {cause}")
        raise ClientsBroken(Code.TOO_MANY_ABORTS, f"a transaction was aborted {_TRIES} times: run this again")


def _together(bounds: Mapping[int, tuple[int, int]]) -> Iterator[dict[int, tuple[int, int]]]:
    """Partitions that are read by one consumer, and held in memory."""
    group: dict[int, tuple[int, int]] = {}
    size = 0
    for partition, (start, end) in bounds.items():
        if group and size + end - start > _READ_AT_ONCE:
            yield group
            group, size = {}, 0
        group[partition] = (start, end)
        size += end - start
    if group:
        yield group


def _new_ledger(topic_id: str, partition: int) -> LedgerRecord:
    return LedgerRecord(
        topic_id=topic_id, partition=partition, partitions=MOVING_PARTITIONS, term=0, next=0, open=(), released=True
    )


def _carried(ledger: LedgerRecord, waiting: list[Record], strays: list[Record]) -> LedgerRecord:
    """The ledger once those that stray are settled in it, and the others that wait are open."""
    gone = {each.offset for each in strays}
    still_open = {*ledger.open, *(each.offset for each in waiting)} - gone
    return replace(ledger, next=max(ledger.next, waiting[-1].offset + 1), open=tuple(sorted(still_open)))


def _group_offsets(ledgers: Ledgers) -> dict[int, int]:
    return {number: ledger.group_offset for number, ledger in ledgers.items()}


def _report(found: Plan, survey: Survey, *, moved: int, carried: int, done: bool) -> Repartitioned:
    return Repartitioned(
        done=done,
        partitions_before=found.origin,
        partitions_after=found.target,
        conversations=survey.conversations,
        moved=moved,
        carried=carried,
        partitions=survey.shares(range(found.target)),
    )
