"""How events leave: each settlement gives its events one outcome, applies its changes, and enters the outbox.

Runs on the worker thread. Nothing else adds to the outbox, so every settled
event leaves exactly one metric record and is counted once.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from stream_worker.assignment import Assignment
from stream_worker.bot.bot import Bot
from stream_worker.clock import Moment
from stream_worker.contracts.decode import Arrival, Undecodable
from stream_worker.conversation.deduplication import digest
from stream_worker.conversation.pending import PendingTurn
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
from stream_worker.stages.notice import user_lines
from stream_worker.tokens import StoredPrompt
from stream_worker.turn import Decided, Turn


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
        ended = [(arrival, outcome) for arrival in arrivals]
        self._end(assignment, ended, moment, changes=changes, bot=bot, remember=remember)

    def unanswered(
        self,
        assignment: Assignment,
        pending: PendingTurn,
        outcome: Outcome,
        moment: Moment,
        *,
        changes: Iterable[Change] = (),
        bot: Bot | None = None,
    ) -> None:
        """A turn that ends without a reply. What was taken back of it is `withdrawn`."""
        self._end(assignment, pending.outcomes(outcome, outcome), moment, changes=changes, bot=bot)

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
        said = Said(_lines(turn, answered.text, moment.wall_ms))
        changes = (said, Prompted(stored, dropped), *decision.changes, _remembered(turn.arrivals))
        self._add(assignment, turn.arrivals, outgoing, changes, turn.bot)
        self._count(turn.pending.outcomes(Outcome.REPLIED, Outcome.MERGED))
        for command in decision.commands:
            self._observer.command_emitted(command.name)
        if decision.hands_over:
            self._observer.handed_over(True)
        usage = answered.generated.usage if answered.generated else None
        self._observer.replied(turn, decision.intent, answered.finish_reason, spent, usage)

    def dead_letter(
        self, assignment: Assignment, turn: Turn, reason: DeadLetterReason, message: str, moment: Moment
    ) -> None:
        """A turn that cannot be answered: its events as they came, and the bot's text for it."""
        outgoing = self._publication.fallback(turn, reason, message, moment.wall_ms)
        self._bury(assignment, turn.pending, outgoing, reason, message, turn.bot)

    def unanswerable(
        self,
        assignment: Assignment,
        pending: PendingTurn,
        reason: DeadLetterReason,
        message: str,
        moment: Moment,
    ) -> None:
        """Events that no turn can be made of."""
        outgoing = self._publication.letters(pending, reason, message, moment.wall_ms, term=assignment.term)
        self._bury(assignment, pending, outgoing, reason, message, None)

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

    def _end(
        self,
        assignment: Assignment,
        ended: Sequence[tuple[Arrival, Outcome]],
        moment: Moment,
        *,
        changes: Iterable[Change],
        bot: Bot | None,
        remember: bool = True,
    ) -> None:
        outgoing = tuple(
            self._publication.metric(arrival, outcome, moment.wall_ms, term=assignment.term)
            for arrival, outcome in ended
        )
        kept = [arrival for arrival, outcome in ended if remember and outcome in REMEMBERED]
        for change in changes:
            if isinstance(change, HeldBy):
                self._observer.handed_over(change.holder is Holder.HUMAN)
        remembered = (_remembered(kept),) if kept else ()
        self._add(assignment, [arrival for arrival, _ in ended], outgoing, (*changes, *remembered), bot)
        self._count(ended)

    def _bury(
        self,
        assignment: Assignment,
        pending: PendingTurn,
        outgoing: tuple[Outgoing, ...],
        reason: DeadLetterReason,
        message: str,
        bot: Bot | None,
    ) -> None:
        ended = pending.outcomes(Outcome.DEAD_LETTERED, Outcome.DEAD_LETTERED)
        withdrawn = [arrival for arrival, outcome in ended if outcome is Outcome.WITHDRAWN]
        changes = (_remembered(withdrawn),) if withdrawn else ()
        self._add(assignment, pending.arrivals, outgoing, changes, bot)
        self._count(ended)
        for arrival, outcome in ended:
            if outcome is Outcome.DEAD_LETTERED:
                self._observer.dead_lettered(reason, arrival.record.partition, arrival.offset, message)

    def _count(self, ended: Iterable[tuple[Arrival, Outcome]]) -> None:
        for outcome, events in Counter(outcome for _, outcome in ended).items():
            self._observer.settled(outcome, events)

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
            bounds = self._bounds(bot.max_messages if bot else None)
            state = apply(assignment.states.get(conversation), changes, bounds)
            assignment.states.settle(conversation, state)
        assignment.waiting_events -= len(arrivals)
        self._outbox.add(
            Settlement(
                partition=assignment.partition,
                term=assignment.term,
                records=tuple([arrival.record for arrival in arrivals]),
                outgoing=outgoing,
                arrivals=tuple(arrivals),
                conversation=conversation,
                state=state,
            )
        )


def _remembered(arrivals: Sequence[Arrival]) -> Remembered:
    return Remembered(tuple([digest(arrival.identity) for arrival in arrivals]))


def _lines(turn: Turn, reply: str, now_ms: int) -> tuple[Line, ...]:
    """What was said in this turn."""
    bot = Line(Speaker.BOT, reply, turn.reply_id, now_ms)
    return (*user_lines(turn.pending), bot)
