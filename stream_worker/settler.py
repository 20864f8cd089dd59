"""How events leave: each settlement gives its events one outcome, applies its changes, and enters the outbox.

Runs on the worker thread. Nothing else adds to the outbox, so every settled
event leaves exactly one metric record; it is counted when that is committed,
so one that is taken back and settles again is counted once, for what it is.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from stream_worker.answered import Answered
from stream_worker.assignment import Assignment
from stream_worker.bot.bot import Bot
from stream_worker.clock import Moment
from stream_worker.contracts.decode import Arrival, Undecodable
from stream_worker.contracts.event import Erasure
from stream_worker.contracts.metric import Timings
from stream_worker.conversation.deduplication import digest
from stream_worker.conversation.pending import PendingTurn
from stream_worker.conversation.state import (
    EMPTY,
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
from stream_worker.errors import BadEvent
from stream_worker.kafka.outbox import Outbox, Settlement
from stream_worker.observer import Observer
from stream_worker.outcome import REMEMBERED, DeadLetterReason, FinishReason, Outcome
from stream_worker.publication import Publication, timings
from stream_worker.record import Outgoing
from stream_worker.report import ReplyReport, Report
from stream_worker.settings import Settings
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

    def committed(self, settlement: Settlement) -> None:
        """It is in the topics: now it is told, once."""
        report, observer = settlement.report, self._observer
        for outcome, events in Counter(report.outcomes).items():
            observer.settled(outcome, events)
        if report.reason is not None:
            for record, outcome in zip(settlement.records, report.outcomes, strict=True):
                if outcome is Outcome.DEAD_LETTERED:
                    observer.dead_lettered(report.reason, record.partition, record.offset, report.detail)
        for command in report.commands:
            observer.command_emitted(command)
        if report.handed_over is not None:
            observer.handed_over(report.handed_over)
        if (reply := report.reply) is not None:
            observer.replied(reply)
        else:
            observer.unanswered(settlement.records, settlement.arrivals, report)

    def undecodable(self, assignment: Assignment, found: Undecodable, moment: Moment) -> None:
        """A record that is no event: a dead letter with the original bytes."""
        record = found.record
        assignment.suspicion.clear([record.offset])
        outgoing = self._publication.undecodable(record, found.reason, found.detail, moment.wall_ms, assignment.term)
        report = Report(outcomes=(Outcome.DEAD_LETTERED,), reason=found.reason, detail=found.detail)
        self._outbox.add(
            Settlement(
                partition=assignment.partition,
                term=assignment.term,
                records=(record,),
                outgoing=outgoing,
                report=report,
            )
        )

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
        """A turn that has its reply: its first event is `replied`, the others `merged`.

        Where its records do not fit their topics it is a dead letter.
        """
        turn, decision = decided.turn, decided.decision
        spent = timings(decided, answered.generated, moment)
        try:
            outgoing = self._publication.of_turn(decided, answered, spent, moment.wall_ms)
        except BadEvent as error:
            self.dead_letter(assignment, turn, error.reason, error.detail, moment)
            return
        report = Report(
            outcomes=_outcomes(turn.pending.outcomes(Outcome.REPLIED, Outcome.MERGED)),
            reply=ReplyReport(
                turn=turn,
                intent=decision.intent,
                finish_reason=answered.finish_reason,
                timings=spent,
                usage=answered.generated.usage if answered.generated else None,
                decision=decision.name,
                intent_score=_score(decided),
                text=answered.text,
                texts=decided.understanding.batch_size if decided.understanding else 0,
            ),
            commands=tuple([command.name for command in decision.commands]),
            handed_over=_handed_over(assignment.states.get(turn.conversation).holder, decision.changes),
        )
        said = Said(_lines(decided, answered.text, moment.wall_ms))
        changes = (said, Prompted(stored, dropped), *decision.changes, _remembered(turn.arrivals))
        self._add(assignment, turn.arrivals, outgoing, report, changes, turn.bot, turn)

    def expired(self, assignment: Assignment, turn: Turn, text: str, moment: Moment) -> None:
        """A turn that nobody waits for any more, with the bot's text for that."""
        ended = turn.pending.outcomes(Outcome.EXPIRED, Outcome.EXPIRED)
        outgoing = self._publication.expired(turn, text, moment.wall_ms)
        report = Report(outcomes=_outcomes(ended), reply=_fallback_report(turn, moment, Outcome.EXPIRED))
        withdrawn = [arrival for arrival, outcome in ended if outcome is Outcome.WITHDRAWN]
        changes = (_remembered(withdrawn),) if withdrawn else ()
        self._add(assignment, turn.arrivals, outgoing, report, changes, turn.bot)

    def dead_letter(
        self, assignment: Assignment, turn: Turn, reason: DeadLetterReason, message: str, moment: Moment
    ) -> None:
        """A turn that cannot be answered: its events as they came, and the bot's text for it."""
        outgoing, reply = self._fallback(turn, reason, message, moment)
        self._bury(assignment, turn.pending, outgoing, reason, message, turn.bot, reply)

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
        self._bury(assignment, pending, outgoing, reason, message, None, None)

    def refused(self, guilty: Settlement, cause: str, moment: Moment) -> Settlement:
        """What stands for a settlement that the broker refuses: its records as dead letters, and no new state.

        An answered turn gets the bot's text for what went wrong; where that is refused, too, it does without. An
        erasure is carried out all the same: with the state it leaves, and where that is refused, too, with none. So is
        a hand-off, as far as its state is taken: the human is there, whatever its records hold.
        """
        reason, reply = DeadLetterReason.REFUSED_BY_BROKER, None
        erases = any(isinstance(arrival.event, Erasure) for arrival in guilty.arrivals)
        is_first = guilty.report.reason is not reason
        stands = is_first and guilty.turn is None and (erases or guilty.report.handed_over is True)
        ended = [
            (arrival, outcome if outcome is Outcome.WITHDRAWN else Outcome.DEAD_LETTERED)
            for arrival, outcome in zip(guilty.arrivals, guilty.report.outcomes, strict=True)
        ]
        if guilty.turn is not None and is_first:
            outgoing, reply = self._fallback(guilty.turn, reason, cause, moment)
        else:
            outgoing = self._publication.refused(ended, reason, cause, moment.wall_ms, guilty.term)
        return Settlement(
            partition=guilty.partition,
            term=guilty.term,
            records=guilty.records,
            outgoing=outgoing,
            report=Report(
                outcomes=_outcomes(ended),
                reason=reason,
                detail=cause,
                reply=reply,
                handed_over=guilty.report.handed_over if stands else None,
            ),
            arrivals=guilty.arrivals if reply is not None or stands else (),
            conversation=guilty.conversation if erases or stands else "",
            state=guilty.state if stands else EMPTY if erases else None,
            turn=guilty.turn if reply is not None else None,
        )

    def vanish(self, assignment: Assignment, conversation: str) -> None:
        """Nothing is kept of the conversation any more, not even the ids of its events."""
        assignment.states.settle(conversation, EMPTY)
        self._outbox.add(
            Settlement(
                partition=assignment.partition,
                term=assignment.term,
                records=(),
                outgoing=(),
                report=Report(outcomes=()),
                conversation=conversation,
                state=EMPTY,
            )
        )

    def _fallback(
        self, turn: Turn, reason: DeadLetterReason, message: str, moment: Moment
    ) -> tuple[tuple[Outgoing, ...], ReplyReport | None]:
        outgoing, replied = self._publication.fallback(turn, reason, message, moment.wall_ms)
        return outgoing, _fallback_report(turn, moment, Outcome.DEAD_LETTERED, reason) if replied else None

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
        changes = tuple(changes)
        before = assignment.states.get(ended[0][0].conversation).holder
        report = Report(outcomes=_outcomes(ended), handed_over=_handed_over(before, changes))
        remembered = (_remembered(kept),) if kept else ()
        self._add(assignment, [arrival for arrival, _ in ended], outgoing, report, (*changes, *remembered), bot)

    def _bury(
        self,
        assignment: Assignment,
        pending: PendingTurn,
        outgoing: tuple[Outgoing, ...],
        reason: DeadLetterReason,
        message: str,
        bot: Bot | None,
        reply: ReplyReport | None,
    ) -> None:
        ended = pending.outcomes(Outcome.DEAD_LETTERED, Outcome.DEAD_LETTERED)
        withdrawn = [arrival for arrival, outcome in ended if outcome is Outcome.WITHDRAWN]
        changes = (_remembered(withdrawn),) if withdrawn else ()
        report = Report(outcomes=_outcomes(ended), reason=reason, detail=message, reply=reply)
        self._add(assignment, pending.arrivals, outgoing, report, changes, bot)

    def _add(
        self,
        assignment: Assignment,
        arrivals: Sequence[Arrival],
        outgoing: tuple[Outgoing, ...],
        report: Report,
        changes: tuple[Change, ...],
        bot: Bot | None,
        turn: Turn | None = None,
    ) -> None:
        conversation = arrivals[0].conversation
        state: ConversationState | None = None
        if changes:
            bounds = self._bounds(bot.max_messages if bot else None)
            state = apply(assignment.states.get(conversation), changes, bounds)
            assignment.states.settle(conversation, state)
        assignment.waiting_events -= len(arrivals)
        assignment.suspicion.clear([arrival.offset for arrival in arrivals])
        self._outbox.add(
            Settlement(
                partition=assignment.partition,
                term=assignment.term,
                records=tuple([arrival.record for arrival in arrivals]),
                outgoing=outgoing,
                report=report,
                arrivals=tuple(arrivals),
                conversation=conversation,
                state=state,
                turn=turn,
            )
        )


def _fallback_report(
    turn: Turn, moment: Moment, outcome: Outcome, reason: DeadLetterReason | None = None
) -> ReplyReport:
    spent = Timings(total=max(0, moment.wall_ms - turn.first.record.timestamp_ms) / 1000)
    return ReplyReport(
        turn=turn,
        outcome=outcome,
        reason=reason,
        intent=None,
        finish_reason=FinishReason.FALLBACK,
        timings=spent,
        usage=None,
    )


def _score(decided: Decided) -> float | None:
    """Of the intent that was acted on; None where that was carried over, or none was found."""
    found, intent = decided.understanding, decided.decision.intent
    return next((each.score for each in found.intents if each.name == intent), None) if found else None


def _outcomes(ended: Sequence[tuple[Arrival, Outcome]]) -> tuple[Outcome, ...]:
    return tuple([outcome for _, outcome in ended])


def _handed_over(before: Holder, changes: Iterable[Change]) -> bool | None:
    """Whether a human has the conversation after these; None where that is as before."""
    holder = before
    for change in changes:
        if isinstance(change, HeldBy):
            holder = change.holder
    return None if holder is before else holder is Holder.HUMAN


def _remembered(arrivals: Sequence[Arrival]) -> Remembered:
    return Remembered(tuple([digest(arrival.identity) for arrival in arrivals]))


def _lines(decided: Decided, reply: str, now_ms: int) -> tuple[Line, ...]:
    """What was said in this turn, and told to the model."""
    return (*decided.lines, Line(Speaker.BOT, reply, decided.turn.reply_id, now_ms))
