"""The mailbox of one conversation: what waits, what runs, what may start now. Pure.

One turn of a conversation runs at a time. Events that only change state wait
in the same queue, so that history keeps the order of the topic. A message may
join the turn before it; an edit or a deletion of a message that waits or runs
joins that message's turn and settles with it: settled alone it would be
skipped after a crash, and the old text answered. Hand-off and erasure do not
queue: they end what runs and what waits. Time comes in as an argument.
"""

from collections import deque

from msgspec import Struct

from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.event import (
    ActionResult,
    Deletion,
    Edit,
    Feedback,
    Message,
    Reaction,
    Signal,
)
from stream_worker.conversation.pending import PendingTurn, starts_turn
from stream_worker.turn_taking import QUEUED, OnNewMessage, TurnTaking

#: What may stand between two messages that are still neighbours: it is nothing that anybody said.
_BETWEEN_NEIGHBOURS = (ActionResult, Deletion, Edit, Feedback, Reaction, Signal)


#: What a full mailbox does without. A deletion, a hand-back or what an agent said is never shed.
_MAY_BE_SHED = (Feedback, Reaction, Signal)


class StateEvent(Struct, frozen=True):
    """An event that changes state or history, and is answered by nobody."""

    arrival: Arrival

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        return (self.arrival,)


Waiting = PendingTurn | StateEvent


# What came of putting an event into the mailbox.


class Queued(Struct, frozen=True):
    """It waits its turn, or settles with the turn it joined."""


class Shed(Struct, frozen=True):
    """The mailbox is full."""


class Repeated(Struct, frozen=True):
    """The mailbox holds it already: a duplicate."""


class Restart(Struct, frozen=True):
    """It joined the running turn: cancel that and start `turn` with a higher attempt, not before its hold ends."""

    turn: PendingTurn


class Preempt(Struct, frozen=True):
    """It ends the running turn and those that waited: their events are `withdrawn`, in order."""

    running: PendingTurn | None
    withdrawn: tuple[PendingTurn, ...]


Placement = Queued | Shed | Repeated | Restart | Preempt


class Mailbox:
    __slots__ = ("_counted", "_limit", "_running", "_waiting")

    def __init__(self, max_waiting_events: int) -> None:
        self._limit = max_waiting_events
        self._waiting: deque[Waiting] = deque()
        self._running: PendingTurn | None = None
        # Identities of all that it holds, and how many events wait. Kept until something changes: thousands that are
        # shed from a full mailbox change nothing.
        self._counted: tuple[frozenset[str], int] | None = None

    @property
    def running(self) -> PendingTurn | None:
        return self._running

    @property
    def is_empty(self) -> bool:
        return self._running is None and not self._waiting

    @property
    def waiting_events(self) -> int:
        return self._count()[1]

    def put(
        self, arrival: Arrival, taking: TurnTaking = QUEUED, now_ms: int = 0, *, preempts: bool = False
    ) -> Placement:
        """Places an event. All but `Shed` and `Repeated` hold it until it is settled by whoever takes it out.

        One that `preempts` ends what runs and what waits.
        """
        placement = self._place(arrival, taking, now_ms, preempts=preempts)
        if not isinstance(placement, Shed | Repeated):
            self._counted = None
        return placement

    def _place(self, arrival: Arrival, taking: TurnTaking, now_ms: int, *, preempts: bool) -> Placement:
        if not self.is_empty and self._holds(arrival):
            return Repeated()
        if preempts:
            return self._preempt(arrival)
        match arrival.event:
            case Edit(target_id=target) | Deletion(target_id=target) if joined := self._join(target, arrival):
                return joined
            case Message() if starts_turn(arrival):
                return self._merge(arrival, taking, now_ms) or self._queue(arrival, taking, now_ms)
            case _:
                return self._queue(arrival, taking, now_ms)

    @property
    def head(self) -> Waiting | None:
        """What `next` would take out; a turn may still be held."""
        return self._waiting[0] if self._running is None and self._waiting else None

    def take_all(self) -> tuple[Arrival, ...]:
        """Every event, that of the running turn too, to be placed anew; the mailbox is empty after it."""
        entries = [*([self._running] if self._running is not None else []), *self._waiting]
        self._running = self._counted = None
        self._waiting.clear()
        return tuple(arrival for entry in entries for arrival in entry.arrivals)

    def next(self) -> Waiting | None:
        """What may start or be applied now; a turn then runs until `finish` or `take_all`."""
        if self._running is not None or not self._waiting:
            return None
        self._counted = None
        entry = self._waiting.popleft()
        if isinstance(entry, PendingTurn):
            self._running = entry
        return entry

    def finish(self) -> None:
        """The running turn has settled."""
        self._running = self._counted = None

    def _queue(self, arrival: Arrival, taking: TurnTaking, now_ms: int) -> Placement:
        may_be_shed = starts_turn(arrival) or isinstance(arrival.event, _MAY_BE_SHED)
        if self._waiting and may_be_shed and self.waiting_events >= self._limit:
            return Shed()
        if starts_turn(arrival):
            hold = _hold_until(arrival, arrival, taking, now_ms) if isinstance(arrival.event, Message) else 0
            self._waiting.append(PendingTurn((arrival,), hold, now_ms))
        else:
            self._waiting.append(StateEvent(arrival))
        return Queued()

    def _merge(self, arrival: Arrival, taking: TurnTaking, now_ms: int) -> Placement | None:
        """Joins a message to the turn right before it, if the bot or a full mailbox asks for it."""
        if self.is_empty:
            return None
        full = self.waiting_events >= self._limit
        wanted = taking.on_new_message is not OnNewMessage.QUEUE
        place = self._last_turn()
        if place is not None:
            last = self._waiting[place]
            assert isinstance(last, PendingTurn)
            if self._continues(last, arrival, taking) and (full or (wanted and not _is_over(last, taking, now_ms))):
                hold = _hold_until(last.first, arrival, taking, now_ms)
                self._waiting[place] = last.joined(arrival).held(hold, now_ms)
                return Queued()
            return None
        running = self._running
        interrupts = taking.on_new_message is OnNewMessage.INTERRUPT and self._only_asides()
        if interrupts and running is not None and self._continues(running, arrival, taking):
            if _is_over(running, taking, now_ms):
                return None
            hold = _hold_until(running.first, arrival, taking, now_ms)
            self._running = running.joined(arrival).held(hold, now_ms)
            return Restart(self._running)
        return None

    def _continues(self, turn: PendingTurn, arrival: Arrival, taking: TurnTaking) -> bool:
        """Whether a message may be answered together with a turn: its sender's next, on the same channel."""
        first, new = turn.first.event, arrival.event
        return (
            isinstance(first, Message)
            and isinstance(new, Message)
            and first.sender.id == new.sender.id
            and first.channel == new.channel
            # A redriven event has a reply of its own, with a name of its own.
            and not (turn.first.headers.redrive or arrival.headers.redrive)
            and len(turn.arrivals) < self._limit
            and len(turn.text) + len(new.plain_text) < taking.max_chars
        )

    def _last_turn(self) -> int | None:
        """Where the last waiting turn is, if nothing that anybody said came after it."""
        for place in range(len(self._waiting) - 1, -1, -1):
            entry = self._waiting[place]
            if isinstance(entry, PendingTurn):
                return place
            if not isinstance(entry.arrival.event, _BETWEEN_NEIGHBOURS):
                return None
        return None

    def _only_asides(self) -> bool:
        return all(
            isinstance(entry, StateEvent) and isinstance(entry.arrival.event, _BETWEEN_NEIGHBOURS)
            for entry in self._waiting
        )

    def _holds(self, arrival: Arrival) -> bool:
        return not arrival.headers.redrive and arrival.identity in self._count()[0]

    def _count(self) -> tuple[frozenset[str], int]:
        if self._counted is None:
            running = self._running.arrivals if self._running is not None else ()
            waiting = [arrival for entry in self._waiting for arrival in entry.arrivals]
            self._counted = frozenset(each.identity for each in (*running, *waiting)), len(waiting)
        return self._counted

    def _join(self, target: str, arrival: Arrival) -> Placement | None:
        """A change of a message joins its turn; beyond the limit an edit waits behind it, for the history."""
        if self._running is not None and self._running.concerns(target):
            if self._is_full_of_edits(self._running, arrival):
                return None
            self._running = self._running.joined(arrival)
            return Restart(self._running)
        for index, entry in enumerate(self._waiting):
            if isinstance(entry, PendingTurn) and entry.concerns(target):
                if self._is_full_of_edits(entry, arrival):
                    return None
                self._waiting[index] = entry.joined(arrival)
                return Queued()
        return None

    def _is_full_of_edits(self, turn: PendingTurn, arrival: Arrival) -> bool:
        return isinstance(arrival.event, Edit) and len(turn.arrivals) > self._limit

    def _preempt(self, arrival: Arrival) -> Preempt:
        running = self._running
        withdrawn = [running] if running else []
        withdrawn += [entry for entry in self._waiting if isinstance(entry, PendingTurn)]
        kept = [entry for entry in self._waiting if isinstance(entry, StateEvent)]
        self._running = None
        self._waiting = deque([*kept, StateEvent(arrival)])
        return Preempt(running, tuple(withdrawn))


def _is_over(turn: PendingTurn, taking: TurnTaking, now_ms: int) -> bool:
    """Whether a turn has waited for company long enough."""
    return now_ms >= turn.first.record.timestamp_ms + taking.max_hold_ms


def _hold_until(first: Arrival, last: Arrival, taking: TurnTaking, now_ms: int) -> int:
    """When a turn may start: a window after its last message, but within its first one's longest hold.

    Never a window from now or more, as a producer's clock may run ahead.
    """
    if not taking.merge_window_ms or taking.on_new_message is OnNewMessage.QUEUE:
        return 0
    return min(
        last.record.timestamp_ms + taking.merge_window_ms,
        first.record.timestamp_ms + taking.max_hold_ms,
        now_ms + taking.merge_window_ms,
    )
