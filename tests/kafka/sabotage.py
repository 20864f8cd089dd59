"""Planted bugs: each breaks one promise of delivery, and the promise's own check must notice.

Every one is a mistake that somebody could make, in one function or method of ours.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

from confluent_kafka import OFFSET_END, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition

from stream_worker import committer, settler, taking, unanswered
from stream_worker.assignment import Assignment
from stream_worker.bot.bot import Bot
from stream_worker.clock import Moment
from stream_worker.committer import Committer
from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.internal import STATE_PREFIX
from stream_worker.conversation import state
from stream_worker.conversation.dialogue import Dialogue
from stream_worker.conversation.mailbox import Mailbox, Waiting
from stream_worker.conversation.state import Change, ConversationState, HeldBy, Remembered
from stream_worker.errors import ClientsBroken, Code
from stream_worker.kafka import faults, offsets
from stream_worker.kafka.outbox import Selection
from stream_worker.kafka.protocols import (
    Batch,
    ChangelogRecord,
    Clients,
    CommitResult,
    Committed,
    Membership,
    PartitionFacts,
    RebalanceListener,
)
from stream_worker.kafka.reconcile import Start, reconcile
from stream_worker.kafka.subscription import KafkaSubscription
from stream_worker.kafka.transactions import KafkaTransactions
from stream_worker.orders import TurnRef
from stream_worker.previews import Previews
from stream_worker.record import Outgoing
from stream_worker.running_turns import RunningTurns
from stream_worker.stages.preview import Piece
from stream_worker.taking import Taking
from stream_worker.turn import Phase, Turn
from stream_worker.worker import Worker


class Bug(StrEnum):
    REPLIES_OUTSIDE_THE_TRANSACTION = "replies-outside-the-transaction"
    MEMBERSHIP_FROM_BEFORE_JOINING = "membership-from-before-joining"
    MEMBERSHIP_KEPT = "membership-kept"
    RELEASED_BY_THE_LOOP = "released-by-the-loop"
    RESTORED_TO_THE_LAST_STABLE_OFFSET = "restored-to-the-last-stable-offset"
    STATE_NOT_RESTORED = "state-not-restored"
    LEDGER_IGNORED = "ledger-ignored"
    STARTED_OVER = "started-over"
    TERM_NOT_RAISED = "term-not-raised"
    WHOLE_TRANSACTION_GUILTY = "whole-transaction-guilty"
    FENCED_TAKEN_FOR_BROKEN = "fenced-taken-for-broken"
    LATE_RESULTS_TAKEN = "late-results-taken"
    POSITION_NOT_FOLLOWED = "position-not-followed"
    LEFT_BY_CLOSING = "left-by-closing"
    STARTED_BY_ASSIGNING_ANEW = "started-by-assigning-anew"
    SUSPECT_ACQUITTED = "suspect-acquitted"
    CONDEMNED_AT_ONCE = "condemned-at-once"
    TERM_LOWERED = "term-lowered"
    COMMANDS_OUTSIDE_THE_TRANSACTION = "commands-outside-the-transaction"
    DEAD_LETTERS_DROPPED = "dead-letters-dropped"
    ABORTED_TAKEN_FOR_COMMITTED = "aborted-taken-for-committed"
    LAST_COMES_FIRST = "last-comes-first"
    IDS_NOT_REMEMBERED = "ids-not-remembered"
    SLOTS_FORGOTTEN = "slots-forgotten"
    HANDOFF_FORGOTTEN = "handoff-forgotten"
    PREVIEWS_CUT = "previews-cut"


@dataclass(frozen=True, slots=True)
class _Patch:
    owner: object
    name: str
    replacement: object


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The bug is in the product until the block ends."""
    patch = _PATCHES[bug]
    honest = vars(patch.owner)[patch.name]
    plant(bug)
    try:
        yield
    finally:
        setattr(patch.owner, patch.name, honest)


def plant(bug: Bug) -> None:
    """For the rest of this process."""
    patch = _PATCHES[bug]
    setattr(patch.owner, patch.name, patch.replacement)


_honest_send = KafkaTransactions._send
_honest_join = KafkaSubscription.join
_honest_membership = KafkaSubscription.membership
_honest_revoked = Worker.revoked
_honest_keep = Taking._keep
_honest_next = Mailbox.next
_honest_notice: Callable[..., tuple[Change, ...]] = vars(unanswered)["notice"]
_honest_start_at = KafkaSubscription.start_at
_honest_leave = Previews._leave
_honest_abort = KafkaTransactions._abort


def _outside(goes: Callable[[Outgoing], bool]) -> Callable[[KafkaTransactions, Batch, float], None]:
    """These records by a producer of their own, as previews go; only the others in the transaction."""

    def send(self: KafkaTransactions, batch: Batch, deadline: float) -> None:
        producer = Producer({"bootstrap.servers": _servers_of(self), "partitioner": "murmur2_random"})
        for record in filter(goes, batch.records):
            headers: list[tuple[str, str | bytes | None]] = list(record.headers)
            producer.produce(record.topic, record.value, record.key, headers=headers, on_delivery=self._keep_failure)
        producer.flush()
        if self._failed is not None:
            raise KafkaException(self._failed)
        _without(goes)(self, batch, deadline)

    return send


def _without(goes: Callable[[Outgoing], bool]) -> Callable[[KafkaTransactions, Batch, float], None]:
    """These records not at all."""

    def send(self: KafkaTransactions, batch: Batch, deadline: float) -> None:
        inside = [record for record in batch.records if not goes(record)]
        ledgers = {partition: inside.index(batch.records[index]) for partition, index in batch.ledgers.items()}
        _honest_send(self, replace(batch, records=inside, ledgers=ledgers), deadline)

    return send


def _is_output(record: Outgoing) -> bool:
    return record.partition is None


def _is_command(record: Outgoing) -> bool:
    return record.topic.endswith(".actions")


def _is_dead_letter(record: Outgoing) -> bool:
    return record.topic.endswith(".dead-letters")


def _servers_of(transactions: KafkaTransactions) -> str:
    brokers = transactions._producer.list_topics(timeout=5).brokers.values()
    return ",".join(f"{broker.host}:{broker.port}" for broker in brokers)


def _join_with_early_membership(self: KafkaSubscription, listener: RebalanceListener) -> None:
    early = Membership(self._consumer.consumer_group_metadata())
    vars(self)["membership"] = lambda: early
    _honest_join(self, listener)


def _first_membership(self: KafkaSubscription) -> Membership | None:
    first = _honest_membership(self)
    if first is not None:
        vars(self)["membership"] = lambda: first
    return first


def _note_only(self: Worker, partitions: Sequence[int]) -> None:
    """The callback returns at once; the loop releases when the turns have ended."""
    tick = self.tick

    def tick_and_release() -> None:
        tick()
        if not any(self._assignments[partition].turns for partition in partitions):
            vars(self)["tick"] = tick
            _honest_revoked(self, partitions)

    vars(self)["tick"] = tick_and_release


def _keep_only_the_ledger(self: Taking, assignment: Assignment, records: list[ChangelogRecord]) -> None:
    _honest_keep(self, assignment, [record for record in records if not record.key.startswith(STATE_PREFIX)])


def _starting(change: Callable[[Start, PartitionFacts], Start]) -> Callable[..., Start]:
    """`reconcile` with something changed of what it finds."""

    def changed(partition: int, facts: PartitionFacts, *arguments: Any, **options: Any) -> Start:
        return change(reconcile(partition, facts, *arguments, **options), facts)

    return changed


def _from_group_offset(start: Start, facts: PartitionFacts) -> Start:
    return start if facts.committed is None else replace(start, next=facts.committed, open=())


def _from_topic_start(start: Start, facts: PartitionFacts) -> Start:
    return replace(start, next=facts.start, open=())


def _same_term(start: Start, facts: PartitionFacts) -> Start:
    return replace(start, term=max(1, start.term - 1))


def _nobody_condemned(start: Start, facts: PartitionFacts) -> Start:
    return replace(start, condemned=None)


def _lower_term(start: Start, facts: PartitionFacts) -> Start:
    return replace(start, term=10 if start.term == 1 else max(2, start.term - 2))


def _first_condemned(start: Start, facts: PartitionFacts) -> Start:
    """Whatever was open when a process ended is held guilty of it."""
    return replace(start, condemned=start.open[0] if start.open else None)


def _committed_all_the_same(self: KafkaTransactions, cause: KafkaError) -> CommitResult:
    _honest_abort(self, cause)
    # Where the ledgers would lie, which nobody wrote: the copy stands at the beginning.
    return Committed(defaultdict(int))


def _last_first(self: Mailbox) -> Waiting | None:
    if self._running is None and self._waiting:
        self._waiting.rotate(1)
    return _honest_next(self)


def _none_remembered(arrivals: Sequence[Arrival]) -> Remembered:
    return Remembered(())


def _as_it_was(dialogues: dict[str, Dialogue], sender_id: str, dialogue: Dialogue) -> dict[str, Dialogue]:
    return dialogues


def _without_holder(arrival: Arrival, state: ConversationState, bot: Bot | None) -> tuple[Change, ...]:
    return tuple(change for change in _honest_notice(arrival, state, bot) if not isinstance(change, HeldBy))


def _leave_cut(self: Previews, turn: Turn, piece: Piece | None, moment: Moment) -> None:
    _honest_leave(self, turn, None if piece is None else replace(piece, text=piece.text[1:]), moment)


def _blame_all(self: Committer, selection: Selection, cause: str) -> None:
    """Every settlement of a refused transaction becomes a dead letter."""
    moment = Moment.of(self._clock)
    for settlement in selection.settlements:
        self._outbox._settlements.remove(settlement)
        self._outbox.add(self._settler.refused(settlement, cause, moment))


def _broken(error: KafkaError) -> ClientsBroken:
    return ClientsBroken(Code.CLIENTS_BROKEN, f"the client failed ({error.name()})")


def _find_by_turn(self: RunningTurns, ref: TurnRef) -> tuple[Assignment, Phase] | None:
    assignment = self._assignments.get(ref.partition)
    phase = None if assignment is None else assignment.turns.get(ref.turn_id)
    return None if assignment is None or phase is None else (assignment, phase)


def _unknown(assignment: Assignment, clients: Clients) -> int:
    return 0


def _only_close(self: KafkaSubscription, deadline_s: float) -> None:
    self.close()


def _start_anew(self: KafkaSubscription, partition: int, offset: int) -> None:
    """Of a partition that the client has already, with an offset that was not known when it was assigned."""
    place = TopicPartition(self._topic, partition, OFFSET_END)
    self._consumer.incremental_assign([place])
    self._consumer.incremental_unassign([place])
    _honest_start_at(self, partition, offset)


_PATCHES = {
    Bug.REPLIES_OUTSIDE_THE_TRANSACTION: _Patch(KafkaTransactions, "_send", _outside(_is_output)),
    Bug.MEMBERSHIP_FROM_BEFORE_JOINING: _Patch(KafkaSubscription, "join", _join_with_early_membership),
    Bug.MEMBERSHIP_KEPT: _Patch(KafkaSubscription, "membership", _first_membership),
    Bug.RELEASED_BY_THE_LOOP: _Patch(Worker, "revoked", _note_only),
    Bug.RESTORED_TO_THE_LAST_STABLE_OFFSET: _Patch(
        offsets, "IsolationLevel", SimpleNamespace(READ_UNCOMMITTED=IsolationLevel.READ_COMMITTED)
    ),
    Bug.STATE_NOT_RESTORED: _Patch(Taking, "_keep", _keep_only_the_ledger),
    Bug.LEDGER_IGNORED: _Patch(taking, "reconcile", _starting(_from_group_offset)),
    Bug.STARTED_OVER: _Patch(taking, "reconcile", _starting(_from_topic_start)),
    Bug.TERM_NOT_RAISED: _Patch(taking, "reconcile", _starting(_same_term)),
    Bug.WHOLE_TRANSACTION_GUILTY: _Patch(Committer, "_isolate", _blame_all),
    Bug.FENCED_TAKEN_FOR_BROKEN: _Patch(faults, "_fenced", _broken),
    Bug.LATE_RESULTS_TAKEN: _Patch(RunningTurns, "find", _find_by_turn),
    Bug.POSITION_NOT_FOLLOWED: _Patch(committer, "_position", _unknown),
    Bug.LEFT_BY_CLOSING: _Patch(KafkaSubscription, "leave", _only_close),
    Bug.STARTED_BY_ASSIGNING_ANEW: _Patch(KafkaSubscription, "start_at", _start_anew),
    Bug.SUSPECT_ACQUITTED: _Patch(taking, "reconcile", _starting(_nobody_condemned)),
    Bug.CONDEMNED_AT_ONCE: _Patch(taking, "reconcile", _starting(_first_condemned)),
    Bug.TERM_LOWERED: _Patch(taking, "reconcile", _starting(_lower_term)),
    Bug.COMMANDS_OUTSIDE_THE_TRANSACTION: _Patch(KafkaTransactions, "_send", _outside(_is_command)),
    Bug.DEAD_LETTERS_DROPPED: _Patch(KafkaTransactions, "_send", _without(_is_dead_letter)),
    Bug.ABORTED_TAKEN_FOR_COMMITTED: _Patch(KafkaTransactions, "_abort", _committed_all_the_same),
    Bug.LAST_COMES_FIRST: _Patch(Mailbox, "next", _last_first),
    Bug.IDS_NOT_REMEMBERED: _Patch(settler, "_remembered", _none_remembered),
    Bug.SLOTS_FORGOTTEN: _Patch(state, "_spoken_with", _as_it_was),
    Bug.HANDOFF_FORGOTTEN: _Patch(unanswered, "notice", _without_holder),
    Bug.PREVIEWS_CUT: _Patch(Previews, "_leave", _leave_cut),
}
