"""What settles without the bot's work: withdrawn, expired, silent, nobody's, or an event that asks for nothing."""

from stream_worker.admission.expiry import TurnSeconds, ends_too_late, expires_ms
from stream_worker.assignment import Assignment
from stream_worker.bot.bot import Bot
from stream_worker.bot.bots import Bots
from stream_worker.clock import Clock, Moment
from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.event import Signal
from stream_worker.conversation.pending import PendingTurn
from stream_worker.orders import TurnRef
from stream_worker.outcome import DeadLetterReason, Outcome
from stream_worker.settler import Settler
from stream_worker.stages.addressing import is_addressed
from stream_worker.stages.handoff import has_human
from stream_worker.stages.notice import heard_lines, notice
from stream_worker.turn import begin


class Unanswered:
    """`commit_s` is how long what has settled may wait for its transaction."""

    def __init__(self, max_event_age_ms: int, commit_s: float, *, bots: Bots, settler: Settler, clock: Clock) -> None:
        self._max_event_age_ms = max_event_age_ms
        self._commit_s = commit_s
        self._turn_seconds = TurnSeconds()
        self._bots = bots
        self._settler = settler
        self._clock = clock

    def withdraw(self, assignment: Assignment, pending: PendingTurn, moment: Moment, *, heard: bool) -> None:
        """Ends a turn that nobody answers any more; `heard` keeps what was said in the history."""
        event = pending.first.event
        bot = self._bots.find(event.tenant, event.channel)
        changes = heard_lines(pending, bot) if heard else ()
        self._settler.unanswered(assignment, pending, Outcome.WITHDRAWN, moment, changes=changes, bot=bot)

    def note(self, assignment: Assignment, arrival: Arrival, moment: Moment) -> None:
        """An event that nobody answers."""
        bot = self._bots.find(arrival.event.tenant, arrival.event.channel)
        self._settler.events(
            assignment,
            [arrival],
            Outcome.SILENT,
            moment,
            changes=notice(arrival, assignment.states.get(arrival.conversation), bot),
            remember=not isinstance(arrival.event, Signal),
        )

    def pass_over(self, assignment: Assignment, pending: PendingTurn, moment: Moment) -> None:
        """Settles what was taken back, or is too late."""
        if pending.is_withdrawn:
            self._settler.unanswered(assignment, pending, Outcome.WITHDRAWN, moment)
        else:
            self.expire(assignment, pending, moment)

    def bot_for(self, assignment: Assignment, pending: PendingTurn, moment: Moment) -> Bot | None:
        """The bot that is to answer; None where the turn was settled without a reply."""
        first = pending.first
        if pending.is_withdrawn or self.ends_too_late(pending, moment):
            self.pass_over(assignment, pending, moment)
            return None
        bot = self._bots.find(first.event.tenant, first.event.channel)
        if bot is None:
            message = "no bot is bound to the event's tenant and channel: add one to `bots` in the settings"
            self._settler.unanswerable(assignment, pending, DeadLetterReason.NO_BOT, message, moment)
            return None
        state = assignment.states.get(first.conversation)
        if has_human(bot, state, moment.wall_ms) or not is_addressed(bot, state, pending):
            self.be_silent(assignment, pending, bot, moment)
            return None
        if pending.trigger is not None and pending.trigger.name not in bot.triggers:
            message = "the bot file has no trigger of the event's name: add one to `triggers`"
            self._settler.unanswerable(assignment, pending, DeadLetterReason.UNKNOWN_TRIGGER, message, moment)
            return None
        return bot

    def ends_too_late(self, pending: PendingTurn, moment: Moment, commits: int = 1) -> bool:
        """Whether a turn that began now would hardly end while somebody waits for its answer.

        `commits`: that of its reply, and one more where it cannot begin before another.
        """
        needed = self._turn_seconds.expected + commits * self._commit_s
        return ends_too_late(_asking(pending), moment.wall_ms, self._max_event_age_ms, needed)

    def took(self, seconds: float) -> None:
        """A turn took so long, from its start to its reply."""
        self._turn_seconds.took(seconds)

    def seconds_left(self, pending: PendingTurn, moment: Moment) -> float:
        """Until nobody waits for its answer any more; infinite where that is never."""
        until = max(expires_ms(each, self._max_event_age_ms) for each in _asking(pending))
        return (until - moment.wall_ms) / 1000

    def expire(self, assignment: Assignment, pending: PendingTurn, moment: Moment) -> None:
        """Nobody waits for an answer any more; the bot may have a text for that, unless a human has it."""
        event = pending.first.event
        bot = self._bots.find(event.tenant, event.channel)
        state = assignment.states.get(pending.first.conversation)
        if bot is None or bot.expired_reply is None or has_human(bot, state, moment.wall_ms):
            self._settler.unanswered(assignment, pending, Outcome.EXPIRED, moment)
            return
        ref = TurnRef(assignment.partition, assignment.term, pending.first.identity, 1)
        turn = begin(ref, pending, bot, self._clock, moment.wall_ms, deadline=moment.monotonic)
        self._settler.expired(assignment, turn, bot.expired_reply.render(turn.parsed.language, {}), moment)

    def be_silent(self, assignment: Assignment, pending: PendingTurn, bot: Bot, moment: Moment) -> None:
        """What was said becomes history; nobody of ours answers."""
        changes = heard_lines(pending, bot)
        self._settler.unanswered(assignment, pending, Outcome.SILENT, moment, changes=changes, bot=bot)


def _asking(pending: PendingTurn) -> list[Arrival]:
    """The messages that are to be answered, or the trigger."""
    return [said.arrival for said in pending.spoken] or [pending.first]
