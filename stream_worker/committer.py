"""One transaction: everything that is settled, with the ledgers and group offsets that say so.

Runs on the worker thread; nothing is polled between begin and commit. An
aborted transaction changes nothing here: outbox, ledgers and states stand as
they were, and the next one sends what is still ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stream_worker.assignment import Assignment, Phase
from stream_worker.clock import Clock, Moment
from stream_worker.contracts.internal import ledger_key, state_key
from stream_worker.conversation.state import EMPTY, ConversationState, fit
from stream_worker.conversation.states import Written
from stream_worker.errors import Code, Fatal
from stream_worker.intake import Intake
from stream_worker.kafka.ledger import Balance
from stream_worker.kafka.outbox import Outbox, Selection
from stream_worker.kafka.protocols import Aborted, Batch, Clients, Committed, Membership, Refused
from stream_worker.observer import Observer
from stream_worker.record import Outgoing
from stream_worker.settings import Settings
from stream_worker.settler import Settler


@dataclass(frozen=True, slots=True)
class _Filled:
    """A transaction about to be sent, and what it means for us once it is committed."""

    batch: Batch
    balances: dict[int, Balance]
    states: dict[int, dict[str, Written]]


class Committer:
    """`max_state_bytes` is the least of our limit and the changelog's."""

    def __init__(
        self,
        settings: Settings,
        *,
        assignments: Mapping[int, Assignment],
        outbox: Outbox,
        settler: Settler,
        intake: Intake,
        observer: Observer,
        clock: Clock,
        max_state_bytes: int,
    ) -> None:
        self._changelog = settings.changelog
        self._max_aborts = settings.kafka.max_aborts_in_a_row
        self._assignments = assignments
        self._outbox = outbox
        self._settler = settler
        self._intake = intake
        self._observer = observer
        self._clock = clock
        self._max_state_bytes = max_state_bytes
        self._aborts_in_a_row = 0

    def commit(self, clients: Clients, releasing: frozenset[int] = frozenset(), within_s: float | None = None) -> bool:
        """Sends one transaction; whether everything that should be committed now is.

        `releasing` partitions are marked so in their ledgers. Raises ClientsBroken, LocalStateUnusable or Fatal.
        """
        membership = clients.subscription.membership()
        if membership is None:
            return False
        terms = {partition: assignment.term for partition, assignment in self._assignments.items()}
        if not self._outbox.of_terms(terms):
            raise RuntimeError("the outbox holds a settlement of a partition that is not ours")
        selection = self._outbox.select()
        touched = self._touched(selection, clients, releasing)
        if not touched:
            return True
        filled = self._fill(selection, touched, clients, membership, releasing)
        started = self._clock.monotonic()
        result = clients.transactions.commit(filled.batch, within_s)
        match result:
            case Committed(positions):
                self._aborts_in_a_row = 0
                self._observer.committed(self._clock.monotonic() - started, len(filled.batch.records))
                self._settle(clients, selection, filled, positions)
            case Aborted(cause, rebalancing):
                self._observer.aborted(cause)
                self._count_abort(cause, rebalancing)
                return False
            case Refused(cause):
                self._observer.aborted(cause)
                self._isolate(selection, cause)
                return False
        return len(self._outbox) == 0

    def _touched(self, selection: Selection, clients: Clients, releasing: frozenset[int]) -> list[Assignment]:
        """The assignments that this transaction says something new of."""
        settled = {settlement.partition for settlement in selection.settlements}
        touched = []
        for partition, assignment in self._assignments.items():
            match assignment.phase:
                case Phase.CLAIMING if not releasing and not assignment.is_closing:
                    # While others are given away the client is in the middle of a rebalance: claims wait for its end.
                    touched.append(assignment)
                case Phase.SERVING if (
                    partition in settled or partition in releasing or assignment.suspicion.is_unwritten
                ):
                    touched.append(assignment)
                case Phase.REFUSED if partition in releasing and assignment.suspicion.was_written:
                    # It was given back in good order: the next take is no crash.
                    touched.append(assignment)
                case Phase.SERVING if not assignment.ledger.open:
                    if _position(assignment, clients) > assignment.ledger.next:
                        touched.append(assignment)
        return touched

    def _fill(
        self,
        selection: Selection,
        touched: list[Assignment],
        clients: Clients,
        membership: Membership,
        releasing: frozenset[int],
    ) -> _Filled:
        settled = selection.settled()
        records = [record for settlement in selection.settlements for record in settlement.outgoing]
        states = {
            partition: {conversation: self._fitted(state) for conversation, state in changed.items()}
            for partition, changed in selection.states().items()
        }
        balances: dict[int, Balance] = {}
        foreseen = self._intake.foreseen(Moment.of(self._clock))
        ledgers: dict[int, int] = {}
        for assignment in touched:
            partition = assignment.partition
            for conversation, written in states.get(partition, {}).items():
                records.append(Outgoing(self._changelog, state_key(conversation), written.raw, partition=partition))
            balance = balances[partition] = assignment.ledger.after(
                settled.get(partition, ()), _position(assignment, clients)
            )
            assignment.suspicion.reserve(balance, None if foreseen is None else foreseen.get(partition, ()))
            ledger = assignment.ledger_record(balance, released=partition in releasing)
            ledgers[partition] = len(records)
            records.append(Outgoing(self._changelog, ledger_key(partition), ledger, partition=partition))
        offsets = {partition: balance.group_offset for partition, balance in balances.items()}
        batch = Batch(records=records, offsets=offsets, membership=membership, ledgers=ledgers)
        return _Filled(batch, balances, states)

    def _fitted(self, state: ConversationState) -> Written:
        if state == EMPTY:
            return Written(state, state, None)
        raw = state.dump()
        if len(raw) <= self._max_state_bytes:
            return Written(state, state, raw)
        fitting = fit(state, self._max_state_bytes)
        return Written(state, fitting, fitting.dump())

    def _settle(self, clients: Clients, selection: Selection, filled: _Filled, positions: Mapping[int, int]) -> None:
        """What the transaction said is now so."""
        self._outbox.committed(selection)
        for settlement in selection.settlements:
            self._settler.committed(settlement)
            assignment = self._assignments[settlement.partition]
            for record in settlement.records:
                assignment.held_bytes -= len(record.value or b"")
                assignment.ledger.settle(record.offset)
                assignment.timestamps.pop(record.offset, None)
                assignment.suspicion.settled(record.offset)
        for partition, balance in filled.balances.items():
            assignment = self._assignments[partition]
            assignment.ledger.balanced(balance)
            assignment.suspicion.written()
            if assignment.phase is Phase.CLAIMING:
                assignment.move_to(Phase.SERVING)
                clients.subscription.start_at(partition, balance.group_offset)
                self._observer.taken(
                    partition,
                    assignment.term,
                    self._clock.monotonic() - assignment.restore.started,
                    assignment.restore.records,
                )
        # Last, for a full disk must not keep anything else from being noted.
        for partition in filled.balances:
            self._assignments[partition].states.commit(filled.states.get(partition, {}), positions[partition])

    def _count_abort(self, cause: str, rebalancing: bool) -> None:
        if rebalancing:
            return
        self._aborts_in_a_row += 1
        if self._aborts_in_a_row >= self._max_aborts:
            raise Fatal(
                Code.TOO_MANY_ABORTS,
                f"{self._aborts_in_a_row} transactions in a row were aborted, the last one for: {cause}",
            )

    def _isolate(self, selection: Selection, cause: str) -> None:
        """The broker refuses a record: settlements go one by one until the guilty one is found and dead-lettered."""
        if not selection.settlements:
            raise Fatal(
                Code.RECORD_REFUSED,
                f"the broker refuses even a ledger record: {cause}; check max.message.bytes of {self._changelog}",
            )
        if len(selection.settlements) != 1:
            self._outbox.isolate(selection)
            return
        guilty = selection.settlements[0]
        if not guilty.records:
            raise Fatal(
                Code.RECORD_REFUSED,
                f"the broker refuses a tombstone of {self._changelog}: {cause}; check that the topic is compacted",
            )
        if not guilty.arrivals:
            offsets = ", ".join(str(record.offset) for record in guilty.records)
            raise Fatal(
                Code.RECORD_REFUSED,
                f"the broker refuses even the dead letter of partition {guilty.partition}, offset "
                f"{offsets}: {cause}; check max.message.bytes of the dead-letter topic",
            )
        moment = Moment.of(self._clock)
        assignment = self._assignments[guilty.partition]
        instead = self._settler.refused(guilty, cause, moment)
        later = self._outbox.replace_first(instead)
        assignment.states.forget(guilty.conversation)
        if instead.state is not None:
            assignment.states.settle(guilty.conversation, instead.state)
        if assignment.has_mailbox(guilty.conversation) or later:
            self._intake.put_back(assignment, guilty.conversation, later, moment)


def _position(assignment: Assignment, clients: Clients) -> int:
    """How far the partition was read, every record before it seen by the ledger; 0 where that is not known.

    What is read of a partition that is about to be given away is not admitted: its position says nothing.
    """
    if assignment.is_closing or assignment.phase is not Phase.SERVING:
        return 0
    return clients.subscription.position(assignment.partition) or 0
