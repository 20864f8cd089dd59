"""A turn before it settles: its first event and what joined it. Pure.

The first event names the turn, whatever becomes of it: a deleted message stays
in its turn and settles with it, as `withdrawn`.
"""

from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.event import Deletion, Edit, Message, SenderRole, Trigger
from stream_worker.outcome import Outcome


class Spoken(Struct, frozen=True):
    """A message of a turn with its text as it stands after its edits."""

    arrival: Arrival
    text: str

    @property
    def id(self) -> str:
        """The id by which an edit or deletion names it."""
        return self.arrival.event.message_id or self.arrival.event_id


class PendingTurn(Struct, frozen=True, dict=True):
    """Events that are answered together: messages or a trigger, with their edits and deletions, in order.

    It does not start before `hold_until_ms` (wall time), as more messages may follow: that was set at `held_from_ms`.
    """

    arrivals: tuple[Arrival, ...]
    hold_until_ms: int = 0
    held_from_ms: int = 0

    @property
    def first(self) -> Arrival:
        return self.arrivals[0]

    @property
    def offsets(self) -> list[int]:
        return [arrival.offset for arrival in self.arrivals]

    @property
    def trigger(self) -> Trigger | None:
        event = self.first.event
        return event if isinstance(event, Trigger) else None

    @cached_property
    def spoken(self) -> tuple[Spoken, ...]:
        """The messages that were not deleted."""
        if len(self.arrivals) == 1:
            only = self.arrivals[0]
            return (Spoken(only, only.event.plain_text),) if isinstance(only.event, Message) else ()
        changes = [each for each in self.arrivals if isinstance(each.event, Edit | Deletion)]
        return tuple(
            Spoken(each, text)
            for each in self.arrivals
            if isinstance(each.event, Message) and (text := _text_after(each, each.event, changes)) is not None
        )

    @property
    def text(self) -> str:
        """What is to be understood: its messages, one a line."""
        return "\n".join(said.text for said in self.spoken)

    @property
    def is_withdrawn(self) -> bool:
        """Whether nothing of it is left to be answered."""
        return self.trigger is None and not self.spoken

    @property
    def sender_id(self) -> str:
        """Whose messages these are; empty for a trigger."""
        event = self.first.event
        return event.sender.id if isinstance(event, Message) else ""

    def outcomes(self, first: Outcome, others: Outcome) -> tuple[tuple[Arrival, Outcome], ...]:
        """Each event with its outcome: the first one that is answered, the others, and what was taken back."""
        if len(self.arrivals) == 1:
            return ((self.first, first),)
        gone = {self._message_of(each) for each in self.arrivals if isinstance(each.event, Deletion)}
        found: list[tuple[Arrival, Outcome]] = []
        answered = first
        for arrival in self.arrivals:
            if gone and self._message_of(arrival) in gone:
                found.append((arrival, Outcome.WITHDRAWN))
            else:
                found.append((arrival, answered))
                answered = others
        return tuple(found)

    def concerns(self, target_id: str) -> bool:
        """Whether the message with that id belongs to this turn."""
        return any(is_named(each, target_id) for each in self.arrivals)

    def held_ms(self, now_ms: int) -> int:
        """How long it is held yet; 0 where the clock was set back meanwhile, by nobody knows how much."""
        return max(0, self.hold_until_ms - now_ms) if now_ms >= self.held_from_ms else 0

    def joined(self, arrival: Arrival) -> "PendingTurn":
        return replace(self, arrivals=(*self.arrivals, arrival))

    def held(self, hold_until_ms: int, now_ms: int) -> "PendingTurn":
        return replace(self, hold_until_ms=hold_until_ms, held_from_ms=now_ms)

    def _message_of(self, arrival: Arrival) -> str:
        """Identity of the message that an event is, or changes."""
        if not isinstance(arrival.event, Edit | Deletion):
            return arrival.identity
        target = arrival.event.target_id
        return next((each.identity for each in self.arrivals if is_named(each, target)), "")


def starts_turn(arrival: Arrival) -> bool:
    """Whether an event asks for a reply: a user's message, or a trigger. A bot's message is never answered."""
    match arrival.event:
        case Message(sender=sender):
            return sender.role is SenderRole.USER
        case Trigger():
            return True
        case _:
            return False


def is_named(arrival: Arrival, target_id: str) -> bool:
    """Whether an edit, deletion or reaction of `target_id` means this message."""
    return isinstance(arrival.event, Message) and target_id in (arrival.event_id, arrival.event.message_id)


def _text_after(arrival: Arrival, message: Message, changes: list[Arrival]) -> str | None:
    """A message's text after what happened to it; None where it was deleted."""
    text = message.plain_text
    for change in changes:
        event = change.event
        if isinstance(event, Edit | Deletion) and is_named(arrival, event.target_id):
            if isinstance(event, Deletion):
                return None
            text = event.text
    return text
