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
from stream_worker.conversation.pending import PendingTurn
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


def heard_lines(pending: PendingTurn) -> tuple[Change, ...]:
    """A turn's messages enter the history unanswered."""
    return (Said(user_lines(pending)),) if pending.spoken else ()


def user_lines(pending: PendingTurn) -> tuple[Line, ...]:
    """What was said in a turn, a line a message, each with the id that an edit would name."""
    return tuple(
        Line(Speaker.USER, said.text, said.id, said.arrival.record.timestamp_ms) for said in pending.spoken if said.text
    )


def _overheard(arrival: Arrival, event: Message) -> tuple[Change, ...]:
    """An agent's words enter the history; another bot's, our own echo among them, do not."""
    match event.sender.role:
        case SenderRole.AGENT:
            spoken_id = event.message_id or arrival.event_id
            line = Line(Speaker.AGENT, event.plain_text, spoken_id, arrival.record.timestamp_ms)
            return (Said((line,)),)
        case SenderRole.USER | SenderRole.BOT | SenderRole.SYSTEM:
            return ()
