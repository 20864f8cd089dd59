"""What comes in: records become events, events wait in mailboxes, and turns start when there is room.

Runs on the worker thread and never blocks. One turn of a conversation runs at
a time; which conversation starts next when the engine has no room is decided
by the ready queue.
"""

import heapq
from collections.abc import Mapping, Sequence
from typing import assert_never

from stream_worker.admission.expiry import has_expired
from stream_worker.admission.queue import ReadyQueue
from stream_worker.admission.rates import Rates
from stream_worker.assignment import Assignment
from stream_worker.bot.bots import Bots
from stream_worker.clock import Moment
from stream_worker.contracts.decode import Arrival, DecodeRules, Undecodable, decode
from stream_worker.contracts.event import Erasure, Handoff
from stream_worker.conversation.mailbox import Preempt, Queued, Repeated, Restart, Shed, StateEvent
from stream_worker.conversation.pending import PendingTurn, starts_turn
from stream_worker.errors import PartitionRefused
from stream_worker.kafka.ledger import Sight
from stream_worker.kafka.outbox import Settlement
from stream_worker.observer import Observer
from stream_worker.orders import Result
from stream_worker.outcome import DeadLetterReason, Outcome
from stream_worker.record import Record
from stream_worker.settings import Settings
from stream_worker.settler import Settler
from stream_worker.stages.handoff import takes_over
from stream_worker.suspicion import Caution
from stream_worker.turn_taking import QUEUED
from stream_worker.turns import Turns

_FORGOTTEN_AT_ONCE = 200
_FORESEEN = 32
"""How many turns that wait for room may begin before the next transaction, at the least: they count as running."""


class Intake:
    def __init__(
        self,
        settings: Settings,
        *,
        assignments: Mapping[int, Assignment],
        bots: Bots,
        turns: Turns,
        caution: Caution,
        settler: Settler,
        observer: Observer,
    ) -> None:
        self._limits = settings.admission
        self._dedup_ttl_ms = settings.conversation.dedup_ttl_s * 1000
        self._turn_taking = settings.admission.turn_taking
        self._rules = DecodeRules.of(settings)
        self._assignments = assignments
        self._bots = bots
        self._turns = turns
        self._caution = caution
        self._settler = settler
        self._observer = observer
        self._ready = ReadyQueue(settings.admission.tenant_weights)
        self._rates = Rates(settings.admission)
        self._held: list[tuple[float, int, int, str]] = []
        """Conversations whose next turn waits for more messages: (monotonic time, partition, term, conversation)."""
        self._unforeseen: dict[tuple[int, str], Assignment] = {}
        """Conversations whose next turn may begin once the ledger says so, by partition and name."""

    def admit(self, assignment: Assignment, record: Record, moment: Moment) -> None:
        """A record that was read. What the ledger has settled is passed over."""
        for offset in assignment.ledger.vanished_before(record.offset):
            assignment.suspicion.settled(offset)
            self._observer.warned(f"the open record at {offset} is gone from the topic", assignment.partition)
        if assignment.ledger.see(record.offset) not in (Sight.NEW, Sight.RESTORED):
            return
        assignment.held_bytes += len(record.value or b"")
        assignment.timestamps[record.offset] = record.timestamp_ms
        try:
            self._take_in(assignment, record, moment)
        except PartitionRefused as error:
            self._turns.refuse(error, moment)

    def _take_in(self, assignment: Assignment, record: Record, moment: Moment) -> None:
        """Settles what is to be settled at once; the rest waits in its conversation's mailbox."""
        decoded = decode(record, self._rules)
        if isinstance(decoded, Undecodable):
            self._settler.undecodable(assignment, decoded, moment)
            return
        if (redrive := assignment.redrive_of(record.offset)) and not decoded.headers.redrive:
            decoded = decoded.redriven(redrive)
        assignment.waiting_events += 1
        assignment.suspicion.admit(decoded.offset, decoded.conversation)
        self._caution.admitted(assignment)
        if self._is_condemned(assignment, decoded, moment):
            return
        late = starts_turn(decoded) and has_expired(decoded, moment.wall_ms, self._limits.max_event_age_ms)
        if late and not self._is_told(decoded):
            self._settler.events(assignment, [decoded], Outcome.EXPIRED, moment)
            return
        if (
            starts_turn(decoded)
            and not decoded.headers.redrive
            and not self._rates.admit(decoded, self._share(assignment))
        ):
            self._settler.events(assignment, [decoded], Outcome.SHED, moment)
            return
        self._place(assignment, decoded, moment)

    def _is_condemned(self, assignment: Assignment, arrival: Arrival, moment: Moment) -> bool:
        """Settles the event that ended the last process."""
        if arrival.offset != assignment.suspicion.condemned:
            return False
        message = "a process that ran this event, and nothing else, came to its end without a word"
        self._settler.unanswerable(
            assignment, PendingTurn((arrival,)), DeadLetterReason.SUSPECTED_CRASH, message, moment
        )
        return True

    def advance(self, results: Sequence[Result], moment: Moment) -> None:
        """What came back from other threads, what is due by now, and the turns that may start after it."""
        self._caution.look()
        self._turns.tick(moment)
        self._turns.absorb(results, moment)
        for assignment, conversation in self._turns.running.take_freed():
            self._try_next(assignment, conversation, moment)
        while self._held and self._held[0][0] <= moment.monotonic:
            _, partition, term, conversation = heapq.heappop(self._held)
            self._try_held(partition, term, conversation, moment)
        unforeseen, self._unforeseen = self._unforeseen, {}
        for (_, conversation), assignment in unforeseen.items():
            self._try_next(assignment, conversation, moment, is_chosen=True)
        while self._has_room and (ready := self._next_ready()) is not None:
            self._try_next(*ready, moment, is_chosen=True)
            if self._caution.is_on and (self._turns.running or self._unforeseen or self._caution.next is not None):
                return

    def _is_told(self, arrival: Arrival) -> bool:
        """Whether the bot has a text for messages that came too late: it must not overtake earlier replies."""
        bot = self._bots.find(arrival.event.tenant, arrival.event.channel)
        return bot is not None and bot.expired_reply is not None

    def seconds_until_due(self, now: float) -> float:
        """How long until a turn that is held may start; infinite when none is."""
        return max(0.0, self._held[0][0] - now) if self._held else float("inf")

    @property
    def waits_for_commit(self) -> bool:
        """Whether a turn begins as soon as the next transaction is through."""
        return bool(self._unforeseen)

    def put_back(
        self, assignment: Assignment, conversation: str, settled: Sequence[Settlement], moment: Moment
    ) -> None:
        """A conversation goes on from its committed state: what was built on another one is done again.

        That is what was `settled` and taken back, the turn that runs, as it was begun with what they said, and all that
        waits: each event is placed anew, in the order of the topic, as if it came now.
        """
        mailbox = assignment.mailbox(conversation)
        if mailbox.running is not None:
            self._turns.take_back(assignment, mailbox.running, moment)
        arrivals = list(mailbox.take_all())
        for settlement in settled:
            arrivals += settlement.arrivals
            assignment.waiting_events += len(settlement.arrivals)
            if settlement.turn is not None:
                assignment.attempts[settlement.turn.ref.turn_id] = settlement.turn.ref.attempt
        try:
            for arrival in sorted(arrivals, key=lambda each: each.offset):
                if not self._is_condemned(assignment, arrival, moment):
                    self._place(assignment, arrival, moment)
        except PartitionRefused as error:
            self._turns.refuse(error, moment)

    def forget_erased(self, assignment: Assignment, moment: Moment) -> None:
        """Erased conversations whose events nobody repeats any more leave nothing behind."""
        try:
            before_ms = moment.wall_ms - self._dedup_ttl_ms
            for conversation in assignment.states.erased_before(before_ms, _FORGOTTEN_AT_ONCE):
                self._settler.vanish(assignment, conversation)
        except PartitionRefused as error:
            self._turns.refuse(error, moment)

    def drop(self, assignment: Assignment, moment: Moment) -> None:
        """The partition is gone: its turns are cancelled, and nothing of them settles."""
        self._turns.drop(assignment, moment)

    def _share(self, assignment: Assignment) -> float:
        """The part of the group's partitions that is ours."""
        partitions = assignment.facts.partitions if assignment.facts is not None else 1
        return min(1.0, len(self._assignments) / partitions)

    def _place(self, assignment: Assignment, arrival: Arrival, moment: Moment) -> None:
        conversation = arrival.conversation
        if self._turns.was_settled(assignment, arrival):
            self._settler.events(assignment, [arrival], Outcome.DUPLICATE, moment)
            return
        bot = self._bots.find(arrival.event.tenant, arrival.event.channel)
        taking = (bot and bot.turn_taking) or self._turn_taking
        if conversation in assignment.suspicion.conversations:
            # Joined, the guilty one could not be told from the others.
            taking = QUEUED
        ends = isinstance(arrival.event, Handoff | Erasure) or takes_over(bot, arrival)
        placement = assignment.mailbox(conversation).put(arrival, taking, moment.wall_ms, preempts=ends)
        match placement:
            case Queued():
                if starts_turn(arrival):
                    assignment.suspicion.waits(arrival.offset)
            case Shed():
                self._settler.events(assignment, [arrival], Outcome.SHED, moment)
            case Repeated():
                self._settler.events(assignment, [arrival], Outcome.DUPLICATE, moment)
            case Restart(turn=pending):
                self._turns.begin_again(assignment, pending, moment)
            case Preempt(running=running, withdrawn=withdrawn):
                if running is not None:
                    self._turns.cancel(assignment, running, moment)
                remembered = not isinstance(arrival.event, Erasure)
                for pending in withdrawn:
                    self._turns.withdraw(assignment, pending, moment, heard=remembered)
            case _:
                assert_never(placement)
        self._start_next(assignment, conversation, moment)

    def _try_held(self, partition: int, term: int, conversation: str, moment: Moment) -> None:
        """A conversation whose time has come, if the partition is still ours under the same term."""
        assignment = self._assignments.get(partition)
        if assignment is not None and assignment.term == term:
            self._try_next(assignment, conversation, moment)

    def _try_next(self, assignment: Assignment, conversation: str, moment: Moment, *, is_chosen: bool = False) -> None:
        """Nothing where the partition was given away meanwhile."""
        if self._assignments.get(assignment.partition) is not assignment:
            return
        try:
            self._start_next(assignment, conversation, moment, is_chosen=is_chosen)
        except PartitionRefused as error:
            self._turns.refuse(error, moment)

    def _start_next(
        self, assignment: Assignment, conversation: str, moment: Moment, *, is_chosen: bool = False
    ) -> None:
        """Starts what may start now in this conversation. Nothing does in a partition given away or refused.

        A turn starts at once only where no other conversation waits for room, or where this one was chosen: one that
        has just ended its turn has no claim to the place.
        """
        if assignment.is_closing or not assignment.is_serving or not assignment.has_mailbox(conversation):
            return
        mailbox = assignment.mailbox(conversation)
        while (head := mailbox.head) is not None:
            if isinstance(head, StateEvent):
                mailbox.next()
                self._turns.note(assignment, head.arrival, moment)
            elif self._is_over(assignment, head, moment):
                # It needs neither more messages nor room.
                mailbox.next()
                self._turns.pass_over(assignment, head, moment)
            elif held_ms := head.held_ms(moment.wall_ms):
                due = moment.monotonic + held_ms / 1000
                heapq.heappush(self._held, (due, assignment.partition, assignment.term, conversation))
                return
            elif self._may_start(assignment, head, is_chosen=is_chosen):
                mailbox.next()
                is_chosen = False
                self._turns.start(assignment, head, moment)
            else:
                return
        assignment.tidy(conversation)

    def _is_over(self, assignment: Assignment, pending: PendingTurn, moment: Moment) -> bool:
        foreseen = assignment.suspicion.foresees(pending.offsets)
        return self._turns.is_over(pending, moment, foreseen=foreseen)

    def _may_start(self, assignment: Assignment, pending: PendingTurn, *, is_chosen: bool) -> bool:
        """Whether a turn starts now; otherwise its conversation waits in the ready queue."""
        first = pending.first
        has_room = self._has_room and (is_chosen or not self._ready)
        is_alone = not (self._caution.is_on and self._turns.running)
        if has_room and is_alone and self._caution.allows(assignment, first.conversation, pending.offsets):
            # Asked last: from now on it counts as begun.
            if assignment.suspicion.may_begin(pending.offsets):
                return True
            self._unforeseen[assignment.partition, first.conversation] = assignment
            return False
        self._ready.add(
            timestamp_ms=first.record.timestamp_ms,
            partition=assignment.partition,
            term=assignment.term,
            conversation=first.conversation,
            tenant=first.event.tenant,
        )
        return False

    def foreseen(self, moment: Moment) -> dict[int, list[int]] | None:
        """The events of the turns that begin next, by partition, as far as can be told; None where none waits for
        room."""
        if not self._ready:
            return None
        left = max(_FORESEEN, 2 * sum(each.suspicion.pace for each in self._assignments.values()))
        events: dict[int, list[int]] = {}
        tenants: set[str] = set()
        for candidate in self._ready.by_age():
            assignment = self._assignments.get(candidate.partition)
            head = assignment.head(candidate.conversation) if assignment is not None else None
            # Tenants take turns, so of each the first one is among them.
            is_next = left > 0 or candidate.tenant not in tenants
            if is_next and isinstance(head, PendingTurn) and not self._turns.is_over(head, moment, foreseen=False):
                events.setdefault(candidate.partition, []).extend(head.offsets)
                tenants.add(candidate.tenant)
                left -= 1
        return events

    @property
    def _has_room(self) -> bool:
        """Whether another turn may start, beside those that do so after the next transaction."""
        return self._turns.running.has_room_beside(len(self._unforeseen))

    def _next_ready(self) -> tuple[Assignment, str] | None:
        """Whose turn is next: the one that waits to be committed as the suspect, else the oldest."""
        if (suspect := self._caution.next) is not None:
            partition, conversation = suspect
            return self._assignments[partition], conversation
        while (candidate := self._ready.pop(self._turns.running.of_tenant, self._caution.suspected)) is not None:
            held = self._assignments.get(candidate.partition)
            if held is not None and held.term == candidate.term:
                return held, candidate.conversation
        return None
