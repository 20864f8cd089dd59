"""What an event that nobody answers does to the state. Pure."""

from typing import assert_never

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
from stream_worker.conversation.state import Change, Ended, Erased, HeldBy, Holder, Line, Rewritten, Said, Speaker


def notice(arrival: Arrival) -> tuple[Change, ...]:
    """The changes of an event that starts no turn."""
    event = arrival.event
    match event:
        case Message():
            return _overheard(arrival, event)
        case Edit():
            return (Rewritten(event.target_id, event.text),)
        case Deletion():
            return (Rewritten(event.target_id, None),)
        case Handoff():
            return (HeldBy(Holder.HUMAN),)
        case Handback():
            return (HeldBy(Holder.BOT),)
        case Closed():
            return (Ended(),)
        case Erasure():
            return (Erased(),)
        case Reaction() | Feedback() | ActionResult() | Signal() | Trigger():
            return ()
        case _:
            assert_never(event)


def heard(arrival: Arrival, text: str) -> Change:
    """A user's message enters the history unanswered."""
    return Said((Line(Speaker.USER, text, _spoken_id(arrival), arrival.record.timestamp_ms),))


def _overheard(arrival: Arrival, event: Message) -> tuple[Change, ...]:
    """An agent's words enter the history; another bot's, our own echo among them, do not."""
    match event.sender.role:
        case SenderRole.AGENT:
            line = Line(Speaker.AGENT, event.plain_text, _spoken_id(arrival), arrival.record.timestamp_ms)
            return (Said((line,)),)
        case SenderRole.USER:
            return (heard(arrival, event.plain_text),)
        case SenderRole.BOT | SenderRole.SYSTEM:
            return ()


def _spoken_id(arrival: Arrival) -> str:
    """The id by which an edit or deletion would name this message."""
    return arrival.event.message_id or arrival.event_id
