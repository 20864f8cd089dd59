"""How events leave: each settlement gives its events one outcome, applies its changes, and enters the outbox.

Runs on the worker thread. Nothing else adds to the outbox, so every settled
event leaves exactly one metric record and is counted once.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from stream_worker.assignment import Assignment
from stream_worker.bot.bot import Bot
from stream_worker.clock import Moment
from stream_worker.contracts.decode import Arrival, Undecodable
from stream_worker.conversation.deduplication import digest
from stream_worker.conversation.state import (
    Bounds,
    Change,
    ConversationState,
    HeldBy,
    Holder,
    Line,
    Prompted,
    Remembered,
    Said,
    Speaker,
    apply,
)
from stream_worker.kafka.outbox import Outbox, Settlement
from stream_worker.observer import Observer
from stream_worker.outcome import REMEMBERED, DeadLetterReason, Outcome
from stream_worker.publication import Answered, Publication, timings
from stream_worker.record import Outgoing
from stream_worker.settings import Settings
from stream_worker.tokens import StoredPrompt
from stream_worker.turn import Decided, Turn, reply_id

_MESSAGES_WITHOUT_BOT = 64


class Settler:
    def __init__(self, settings: Settings, outbox: Outbox, publication: Publication, observer: Observer) -> None:
        self._outbox = outbox
        self._publication = publication
        self._observer = observer
        self._bounds = lru_cache(maxsize=1024)(
            lambda max_messages: Bounds(max_messages=max_messages, dedup_window=settings.conversation.dedup_window)
        )

    def drop(self, partition: int) -> None:
        """Nothing of this partition that is not committed yet will be."""
        self._outbox.drop([partition])

    def undecodable(self, assignment: Assignment, found: Undecodable, moment: Moment) -> None:
        """A record that is no event: a dead letter with the original bytes."""
        record = found.record
        outgoing = self._publication.undecodable(record, found.reason, found.detail, moment.wall_ms, assignment.term)
        self._outbox.add(
            Settlement(partition=assignment.partition, term=assignment.term, records=(record,), outgoing=outgoing)
        )
        self._observer.settled(Outcome.DEAD_LETTERED, 1)
        self._observer.dead_lettered(found.reason, record.partition, record.offset, found.detail)

    def events(
        self,
        assignment: Assignment,
        arrivals: Sequence[Arrival],
        outcome: Outcome,
        moment: Moment,
        *,
        changes: Iterable[Change] = (),
        bot: Bot | None = None,
        remember: bool = True,
    ) -> None:
        """Events that end without a reply; `remember` is off for what may come twice without harm."""
        outgoing = tuple(
            self._publication.metric(arrival, outcome, moment.wall_ms, term=assignment.term) for arrival in arrivals
        )
        remembered = (_remembered(arrivals),) if remember and outcome in REMEMBERED else ()
        for change in changes:
            if isinstance(change, HeldBy):
                self._observer.handed_over(change.holder is Holder.HUMAN)
        self._add(assignment, arrivals, outgoing, (*changes, *remembered), bot)
        self._observer.settled(outcome, len(arrivals))

    def reply(
        self,
        assignment: Assignment,
        decided: Decided,
        answered: Answered,
        stored: StoredPrompt | None,
        dropped: int,
        moment: Moment,
    ) -> None:
        """A turn that has its reply: its first event is `replied`, the others `merged`."""
        turn, decision = decided.turn, decided.decision
        spent = timings(decided, answered.generated, moment)
        outgoing = self._publication.of_turn(decided, answered, spent, moment.wall_ms)
        self._add(
            assignment,
            turn.arrivals,
            outgoing,
            (
                Said(_lines(turn, answered.text, moment.wall_ms)),
                Prompted(stored, dropped),
                *decision.changes,
                _remembered(turn.arrivals),
            ),
            turn.bot,
        )
        self._observer.settled(Outcome.REPLIED, 1)
        if len(turn.arrivals) > 1:
            self._observer.settled(Outcome.MERGED, len(turn.arrivals) - 1)
        for command in decision.commands:
            self._observer.command_emitted(command.name)
        if any(isinstance(change, HeldBy) for change in decision.changes):
            self._observer.handed_over(True)
        usage = answered.generated.usage if answered.generated else None
        self._observer.replied(turn, decision.intent, answered.finish_reason, spent, usage)

    def dead_letter(
        self, assignment: Assignment, turn: Turn, reason: DeadLetterReason, message: str, moment: Moment
    ) -> None:
        """A turn that cannot be answered: its events as they came, and the bot's text for it."""
        outgoing = self._publication.fallback(turn, reason, message, moment.wall_ms)
        self._add(assignment, turn.arrivals, outgoing, (), turn.bot)
        self._observer.settled(Outcome.DEAD_LETTERED, len(turn.arrivals))
        for arrival in turn.arrivals:
            self._observer.dead_lettered(reason, arrival.record.partition, arrival.offset, message)

    def unanswerable(
        self,
        assignment: Assignment,
        arrivals: Sequence[Arrival],
        reason: DeadLetterReason,
        message: str,
        moment: Moment,
    ) -> None:
        """Events that no turn can be made of."""
        self._add(assignment, arrivals, self._letters(assignment, arrivals, reason, message, moment.wall_ms), (), None)
        self._observer.settled(Outcome.DEAD_LETTERED, len(arrivals))
        for arrival in arrivals:
            self._observer.dead_lettered(reason, arrival.record.partition, arrival.offset, message)

    def refused(self, guilty: Settlement, cause: str, moment: Moment) -> Settlement:
        """What stands for a settlement that the broker refuses: its records as dead letters, and no new state."""
        reason = DeadLetterReason.REFUSED_BY_BROKER
        outgoing: list[Outgoing] = []
        for arrival in guilty.arrivals:
            outgoing.append(self._publication.letter(arrival.record, reason, cause))
            outgoing.append(
                self._publication.metric(
                    arrival, Outcome.DEAD_LETTERED, moment.wall_ms, term=guilty.term, reason=reason
                )
            )
        for record in guilty.records:
            self._observer.dead_lettered(reason, record.partition, record.offset, cause)
        return Settlement(
            partition=guilty.partition, term=guilty.term, records=guilty.records, outgoing=tuple(outgoing)
        )

    def _letters(
        self, assignment: Assignment, arrivals: Sequence[Arrival], reason: DeadLetterReason, message: str, now_ms: int
    ) -> tuple[Outgoing, ...]:
        letters = [self._publication.letter(arrival.record, reason, message) for arrival in arrivals]
        metrics = [
            self._publication.metric(arrival, Outcome.DEAD_LETTERED, now_ms, term=assignment.term, reason=reason)
            for arrival in arrivals
        ]
        return (*letters, *metrics)

    def _add(
        self,
        assignment: Assignment,
        arrivals: Sequence[Arrival],
        outgoing: tuple[Outgoing, ...],
        changes: tuple[Change, ...],
        bot: Bot | None,
    ) -> None:
        conversation = arrivals[0].conversation
        state: ConversationState | None = None
        if changes:
            bounds = self._bounds(bot.max_messages if bot else _MESSAGES_WITHOUT_BOT)
            state = apply(assignment.states.get(conversation), changes, bounds)
            assignment.states.settle(conversation, state)
        assignment.waiting_events -= len(arrivals)
        self._outbox.add(
            Settlement(
                partition=assignment.partition,
                term=assignment.term,
                records=tuple(arrival.record for arrival in arrivals),
                outgoing=outgoing,
                arrivals=tuple(arrivals),
                conversation=conversation,
                state=state,
            )
        )


def _remembered(arrivals: Sequence[Arrival]) -> Remembered:
    return Remembered(tuple([digest(arrival.identity) for arrival in arrivals]))


def _lines(turn: Turn, reply: str, now_ms: int) -> tuple[Line, ...]:
    """What was said in this turn. The user's line carries the id that an edit would name."""
    first = turn.first
    spoken = first.event.message_id or first.event_id
    user = Line(Speaker.USER, turn.text, spoken, first.record.timestamp_ms)
    bot = Line(Speaker.BOT, reply, reply_id(turn.ref.turn_id, first.headers.redrive), now_ms)
    return (user, bot) if turn.text else (bot,)
