"""What an event that nobody answers does to the state. Pure."""

from typing import assert_never

from stream_worker.bot.bot import Bot
from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.event import (
    ActionResult,
    Closed,
    Deletion,
    Edit,
    Erasure,
    Feedback,
    Handback,
    Handoff,
    Message,
    Reaction,
    SenderRole,
    Signal,
    Trigger,
)
from stream_worker.conversation.pending import PendingTurn
from stream_worker.conversation.state import (
    Change,
    ConversationState,
    Ended,
    Erased,
    HeldBy,
    Holder,
    Line,
    Rewritten,
    Said,
    Speaker,
)
from stream_worker.stages.handoff import GIVEN_BACK, TAKEN_OVER, note, takes_over


def notice(arrival: Arrival, state: ConversationState, bot: Bot | None) -> tuple[Change, ...]:
    """The changes of an event that starts no turn."""
    event, at = arrival.event, arrival.record.timestamp_ms
    human = state.holder is Holder.HUMAN
    match event:
        case Message():
            return _overheard(arrival, event, human=human, takes_over=takes_over(bot, arrival))
        case Edit():
            return (Rewritten(event.target_id, event.text),)
        case Deletion():
            return (Rewritten(event.target_id, None),)
        case Handoff():
            return (*_noted(TAKEN_OVER, arrival, unless=human), HeldBy(Holder.HUMAN, at))
        case Handback():
            return (*_noted(GIVEN_BACK, arrival, unless=not human), HeldBy(Holder.BOT, at))
        case Closed():
            return (Ended(),)
        case Erasure():
            return (Erased(at),)
        case Reaction() | Feedback() | ActionResult() | Signal() | Trigger():
            return ()
        case _:
            assert_never(event)


def heard_lines(pending: PendingTurn, bot: Bot | None) -> tuple[Change, ...]:
    """A turn's messages enter the history unanswered."""
    lines = user_lines(pending, bot)
    return (Said(lines),) if lines else ()


def user_lines(pending: PendingTurn, bot: Bot | None) -> tuple[Line, ...]:
    """What was said in a turn, a line a message, each with the id that an edit would name; in rooms with the name."""
    named = bot is not None and bot.is_for_rooms
    return tuple(
        Line(Speaker.USER, said.text, said.id, said.arrival.record.timestamp_ms, _name(said.arrival) if named else "")
        for said in pending.spoken
        if said.text
    )


def _name(arrival: Arrival) -> str:
    sender = arrival.event.sender if isinstance(arrival.event, Message) else None
    return (sender.name or sender.id) if sender else ""


def _noted(text: str, arrival: Arrival, *, unless: bool) -> tuple[Change, ...]:
    return () if unless else (Said((note(text, arrival.record.timestamp_ms),)),)


def _overheard(arrival: Arrival, event: Message, *, human: bool, takes_over: bool) -> tuple[Change, ...]:
    """An agent's words enter the history, and show that a human is there; another bot's, our own echo among them,
    do not."""
    match event.sender.role:
        case SenderRole.AGENT:
            spoken_id = event.message_id or arrival.event_id
            line = Line(Speaker.AGENT, event.plain_text, spoken_id, arrival.record.timestamp_ms)
            held = (HeldBy(Holder.HUMAN, line.at),) if human or takes_over else ()
            taken = _noted(TAKEN_OVER, arrival, unless=human or not takes_over)
            return (*taken, Said((line,)), *held)
        case SenderRole.USER | SenderRole.BOT | SenderRole.SYSTEM:
            return ()
