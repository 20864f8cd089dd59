"""A turn: one answer's worth of work, as the worker thread holds it.

A turn never leaves the worker thread. Each phase is its own type that holds
exactly what is known by then; a turn moves on by being replaced.
"""

import math
from hashlib import blake2b

from msgspec import Struct

from stream_worker.bot.bot import Bot
from stream_worker.bot.entities import is_time_zone
from stream_worker.clock import Clock
from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.event import Message
from stream_worker.conversation.pending import PendingTurn
from stream_worker.conversation.state import Line, Speaker
from stream_worker.orders import Encoded, SlotSpan, TurnRef
from stream_worker.stages.dialogue import Decision, ModelAnswer, Plan
from stream_worker.stages.entities.context import context_of
from stream_worker.stages.entities.recogniser import recognise
from stream_worker.stages.handoff import note
from stream_worker.stages.notice import user_lines
from stream_worker.stages.parsing import Parsed, parser_for
from stream_worker.stages.prompter import PreparedPrompt


class Turn(Struct, frozen=True, kw_only=True):
    """One attempt of a turn. Times are of the monotonic clock, but for `started_ms`."""

    ref: TurnRef
    conversation: str
    pending: PendingTurn
    reply_id: str
    bot: Bot
    text: str
    started: float
    started_ms: int
    deadline: float
    """When its time is up; an edit that starts it again does not give it more."""
    answer_by: float
    """When nobody waits for its answer any more; infinite for never."""
    parsed: Parsed
    parse_seconds: float
    failures: int = 0
    """Attempts that counted against the event."""
    successes_seen: int | None = None
    """The engine's count of successes when this turn last failed for the engine's sake."""

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        return self.pending.arrivals

    @property
    def first(self) -> Arrival:
        return self.pending.arrivals[0]


class Understanding(Struct, frozen=True):
    """The encoder has it."""

    turn: Turn


class Decided(Struct, frozen=True):
    """What is to be done is known; `understanding` is None for a bot without intents.

    Seconds: `deciding` by the dialogue, `calling` until its calls had answered.
    """

    turn: Turn
    understanding: Encoded | None
    decision: Decision
    deciding: float
    calling: float

    @property
    def lines(self) -> tuple[Line, ...]:
        """What the history gains before the reply: what happened, what was said, what calls found out."""
        turn, decision = self.turn, self.decision
        at = turn.first.record.timestamp_ms
        before = (note(decision.note, at),) if decision.note else ()
        answer = decision.answer
        facts = answer.facts if isinstance(answer, ModelAnswer) else ""
        after = (Line(Speaker.FACTS, facts, "", at),) if facts else ()
        return (*before, *user_lines(turn.pending, turn.bot), *after)


class Calling(Struct, frozen=True):
    """Its calls are being made, `since` a time of the monotonic clock; `results` are those that have answered, by their
    numbers. Until the calls the dialogue took `deciding` seconds."""

    turn: Turn
    understanding: Encoded | None
    plan: Plan
    results: dict[int, object]
    since: float
    deciding: float


class Generating(Struct, frozen=True):
    """The engine has it. `seed` and `prompt` are kept for the analysis."""

    decided: Decided
    prompt: PreparedPrompt
    seed: int

    @property
    def turn(self) -> Turn:
        return self.decided.turn


class Resting(Struct, frozen=True):
    """It failed and starts again at `until`."""

    turn: Turn
    until: float
    failures: int
    successes_seen: int | None


Phase = Understanding | Calling | Generating | Resting


def begin(
    ref: TurnRef,
    pending: PendingTurn,
    bot: Bot,
    clock: Clock,
    wall_ms: int,
    *,
    deadline: float,
    answer_by: float = math.inf,
    failures: int = 0,
    successes_seen: int | None = None,
) -> Turn:
    """An attempt of a turn, with its text parsed."""
    first, text, started = pending.first, pending.text, clock.monotonic()
    parsed = parser_for(bot.languages).parse(text)
    return Turn(
        ref=ref,
        conversation=first.conversation,
        pending=pending,
        reply_id=reply_id(first.identity, first.headers.redrive),
        bot=bot,
        text=text,
        started=started,
        started_ms=wall_ms,
        deadline=deadline,
        answer_by=answer_by,
        parsed=parsed,
        parse_seconds=clock.monotonic() - started,
        failures=failures,
        successes_seen=successes_seen,
    )


def entities_of(turn: Turn) -> tuple[SlotSpan, ...]:
    """What the bot's recognisers find in the text. "Tomorrow" is the day after the first event, not after today."""
    bot, event = turn.bot, turn.first.event
    if not bot.entities:
        return ()
    locale, zone = (event.locale, event.time_zone) if isinstance(event, Message) else (None, None)
    context = context_of(
        event.sent_at or turn.first.record.timestamp_ms,
        turn.parsed.language,
        locale=locale,
        region=bot.region,
        zone=zone if zone and is_time_zone(zone) else bot.time_zone,
    )
    return recognise(bot.entities, turn.text, context)


def reply_id(turn: str, redrive: str) -> str:
    """The reply's name; another one for each redrive, so that a gateway sends it again."""
    return turn if not redrive else blake2b(f"{turn}\0{redrive}".encode(), digest_size=16).hexdigest()


def seed_of(turn: str) -> int:
    """The seed of a turn's sampling, 52 bits: the same logits give the same text."""
    return int(turn[:13], 16)
