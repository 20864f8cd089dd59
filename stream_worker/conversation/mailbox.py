"""The mailbox of one conversation: what waits, what runs, what may start now. Pure.

One turn of a conversation runs at a time. Events that only change state wait
in the same queue, so that history keeps the order of the topic. An edit or a
deletion of a message that waits or runs joins that message's turn and settles
with it: settled alone it would be skipped after a crash, and the old text
answered. Hand-off and erasure do not queue: they end what runs and what waits.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.event import Deletion, Edit, Erasure, Handoff, Message, SenderRole, Trigger


@dataclass(frozen=True, slots=True)
class PendingTurn:
    """A turn that has not started, or runs: its first event and what joined it."""

    arrivals: tuple[Arrival, ...]

    @property
    def first(self) -> Arrival:
        return self.arrivals[0]

    @property
    def text(self) -> str | None:
        """The message as it stands after its edits; None when nothing is left of it."""
        text: str | None = None
        for arrival in self.arrivals:
            match arrival.event:
                case Message():
                    text = arrival.event.plain_text
                case Edit():
                    text = arrival.event.text
                case Deletion():
                    return None
                case Trigger():
                    text = ""
                case _:
                    raise ValueError(f"a {arrival.event.type} is no part of a turn")
        return text

    def concerns(self, target_id: str) -> bool:
        """Whether this is the turn of the message with that id."""
        event = self.first.event
        return target_id in (self.first.event_id, event.message_id)

    def holds(self, arrival: Arrival) -> bool:
        return any(arrival.identity == each.identity for each in self.arrivals)

    def joined(self, arrival: Arrival) -> "PendingTurn":
        return replace(self, arrivals=(*self.arrivals, arrival))


@dataclass(frozen=True, slots=True)
class StateEvent:
    """An event that changes state or history, and is answered by nobody."""

    arrival: Arrival


Waiting = PendingTurn | StateEvent


# What came of putting an event into the mailbox.


@dataclass(frozen=True, slots=True)
class Queued:
    """It waits its turn, or settles with the turn it joined."""


@dataclass(frozen=True, slots=True)
class Shed:
    """The mailbox is full."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """The turn that it would join holds it already: a duplicate."""


@dataclass(frozen=True, slots=True)
class Restart:
    """It changed the running turn: cancel that and start `turn` with a higher attempt."""

    turn: PendingTurn


@dataclass(frozen=True, slots=True)
class Preempt:
    """It ends the running turn and all that waited: their events are `withdrawn`, in order."""

    running: PendingTurn | None
    withdrawn: tuple[Arrival, ...]


Placement = Queued | Shed | Repeated | Restart | Preempt


class Mailbox:
    __slots__ = ("_limit", "_running", "_waiting")

    def __init__(self, max_waiting_events: int) -> None:
        self._limit = max_waiting_events
        self._waiting: deque[Waiting] = deque()
        self._running: PendingTurn | None = None

    @property
    def running(self) -> PendingTurn | None:
        return self._running

    @property
    def is_empty(self) -> bool:
        return self._running is None and not self._waiting

    @property
    def waiting_events(self) -> int:
        return sum(len(entry.arrivals) if isinstance(entry, PendingTurn) else 1 for entry in self._waiting)

    def put(self, arrival: Arrival) -> Placement:
        """Places an event. All but `Shed` and `Repeated` hold it until it is settled by whoever takes it out."""
        match arrival.event:
            case Handoff() | Erasure():
                return self._preempt(arrival)
            case Edit(target_id=target) | Deletion(target_id=target) if joined := self._join(target, arrival):
                return joined
        if len(self._waiting) >= self._limit:
            return Shed()
        self._waiting.append(PendingTurn((arrival,)) if starts_turn(arrival) else StateEvent(arrival))
        return Queued()

    @property
    def head(self) -> Waiting | None:
        """What `next` would take out."""
        return self._waiting[0] if self._running is None and self._waiting else None

    def put_back(self, entries: Sequence[Waiting]) -> None:
        """Entries that must be done again go before all others, in order; the running turn comes right after them."""
        if self._running is not None:
            self._waiting.appendleft(self._running)
            self._running = None
        self._waiting.extendleft(reversed(entries))

    def next(self) -> Waiting | None:
        """What may start or be applied now; a turn then runs until `finish` or `put_back`."""
        if self._running is not None or not self._waiting:
            return None
        entry = self._waiting.popleft()
        if isinstance(entry, PendingTurn):
            self._running = entry
        return entry

    def finish(self) -> None:
        """The running turn has settled."""
        self._running = None

    def _join(self, target: str, arrival: Arrival) -> Placement | None:
        if self._running is not None and self._running.concerns(target):
            if self._running.holds(arrival):
                return Repeated()
            self._running = self._running.joined(arrival)
            return Restart(self._running)
        for index, entry in enumerate(self._waiting):
            if isinstance(entry, PendingTurn) and entry.concerns(target):
                if entry.holds(arrival):
                    return Repeated()
                self._waiting[index] = entry.joined(arrival)
                return Queued()
        return None

    def _preempt(self, arrival: Arrival) -> Preempt:
        running = self._running
        withdrawn: list[Arrival] = list(running.arrivals) if running else []
        kept: list[Waiting] = []
        for entry in self._waiting:
            if isinstance(entry, PendingTurn):
                withdrawn.extend(entry.arrivals)
            else:
                kept.append(entry)
        self._running = None
        self._waiting = deque([*kept, StateEvent(arrival)])
        return Preempt(running, tuple(withdrawn))


def starts_turn(arrival: Arrival) -> bool:
    """Whether an event asks for a reply: a user's message, or a trigger. A bot's message is never answered."""
    match arrival.event:
        case Message(sender=sender):
            return sender.role is SenderRole.USER
        case Trigger():
            return True
        case _:
            return False
