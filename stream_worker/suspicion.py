"""What crashes say of a partition's events: the search for one that ends every process that tries it.

A take that finds no `released` in the ledger counts as a crash, and it counts
against the events of the turns that may have been running: the ledger names
them beforehand, and no other turn begins. What merely waited cannot have ended
a process. An event that was named at two crashes is a suspect. While one is in
hand, only suspects run in the process, and what stands before them in their
conversations, one turn at a time; the offset of a suspect is committed before
it starts. One that is found there at a take ended a process that did nothing
else: it becomes a dead letter, and the search is over. So one event costs three
crashes at the most, and nobody else's reply. Owned by the worker thread.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Protocol

from stream_worker.kafka.ledger import Balance

_CRASHES = 2
"""Before an event runs alone: one may be anything, an operator or a machine."""
_BEHIND = 16
"""How many that wait behind their conversation's turn may begin before the next transaction, at the least."""
_UNREAD = 32
"""How many that were not read yet may do so, at the least."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """The events that may be in running turns until the next transaction: some in hand, and some not read yet."""

    in_hand: frozenset[int] = frozenset()
    unread: range = range(0)

    def __contains__(self, offset: int) -> bool:
        return offset in self.in_hand or offset in self.unread


@dataclass(slots=True)
class Suspicion:
    """Of one partition. What it knows of crashes and of what may begin stands in the ledger."""

    crashes: dict[int, int] = field(default_factory=dict)
    """How many processes ended while a turn with the event of this offset may have been running."""
    suspect: int | None = None
    """The offset of the turn that runs alone, or is about to."""
    condemned: int | None = None
    """The suspect that the ledger named when the partition was taken, until its dead letter is committed."""
    foreseen: Foreseen = Foreseen()
    """As the next transaction says it."""
    _in_hand: dict[int, str] = field(default_factory=dict, init=False)
    """The suspects that were read, with their conversations."""
    _waiting: dict[int, None] = field(default_factory=dict, init=False)
    """The events whose turns have not begun."""
    _begun: set[int] = field(default_factory=set, init=False)
    _asked: set[int] = field(default_factory=set, init=False)
    """What would have begun, had it been foreseen."""
    pace: int = field(default=0, init=False)
    """How many turns have begun since the ledger was written."""
    _written: tuple[Foreseen, int | None] | None = field(default=None, init=False)

    @classmethod
    def at_take(cls, crashes: Mapping[int, int], condemned: int | None, waiting: Iterable[int]) -> "Suspicion":
        """`waiting`: the open offsets, which are read again."""
        suspicion = cls(dict(crashes), condemned=condemned)
        suspicion._waiting = dict.fromkeys(waiting)
        return suspicion

    @property
    def starts(self) -> int:
        """How many crashes the most suspicious event has seen."""
        return max(self.crashes.values(), default=0)

    @property
    def suspects(self) -> int:
        """How many events are to run alone."""
        return sum(crashes >= _CRASHES for crashes in self.crashes.values())

    @property
    def careful_to(self) -> int | None:
        """All events that a crash counts against lie below; None where there is none."""
        return max(self.crashes) + 1 if self.crashes else None

    @property
    def conversations(self) -> Collection[str]:
        """Those in which a suspect waits or runs."""
        return self._in_hand.values()

    @property
    def is_unwritten(self) -> bool:
        """Whether the next transaction has something to say of it."""
        return self._written is not None and (bool(self._asked) or self._written[1] != self.in_ledger)

    @property
    def was_written(self) -> bool:
        """Whether the partition was ours: the transaction that takes it was committed."""
        return self._written is not None

    @property
    def in_ledger(self) -> int | None:
        """A condemned event stays named until its dead letter is committed."""
        return self.suspect if self.condemned is None else self.condemned

    def admit(self, offset: int, conversation: str) -> None:
        """The event was read."""
        if self.first_suspect([offset]) is not None:
            self._in_hand[offset] = conversation

    def first_suspect(self, offsets: Iterable[int]) -> int | None:
        return next((offset for offset in offsets if self.crashes.get(offset, 0) >= _CRASHES), None)

    def waits(self, offset: int) -> None:
        """The event is in hand, and its turn has not begun."""
        self._waiting[offset] = None

    def foresees(self, offsets: Collection[int]) -> bool:
        """Whether the ledger names these events."""
        return self._written is not None and all(offset in self._written[0] for offset in offsets)

    def may_begin(self, offsets: Collection[int]) -> bool:
        """Whether a turn of these events may begin; otherwise the next transaction allows it.

        Nothing begins before a condemned event is buried: another one that kills at once would keep its dead letter
        from being committed, for ever.
        """
        if self.condemned is not None:
            return False
        if not self.foresees(offsets):
            self._asked.update(offsets)
            return False
        self._begun.update(offsets)
        for offset in offsets:
            self._waiting.pop(offset, None)
        self.pace += 1
        return True

    def reserve(self, balance: Balance, next_ones: Collection[int] | None) -> None:
        """The ledger is about to be written: what it foresees may begin without another transaction.

        `next_ones`: the events of the turns that begin as soon as there is room; None where none waits for room. What
        else is in hand, or is read later, begins before the next transaction only in that case.
        """
        in_hand = {*self._begun, *self._asked, *(next_ones or ())}
        if self.suspect is not None:
            in_hand.add(self.suspect)
        unread = 0
        if next_ones is None:
            in_hand.update(nsmallest(max(_BEHIND, 2 * self.pace), self._waiting))
            unread = max(_UNREAD, 2 * self.pace)
        self.foreseen = Foreseen(frozenset(in_hand), range(balance.next, balance.next + unread))
        if self.crashes:
            still_open = frozenset(balance.open)
            self.crashes = {
                offset: crashes
                for offset, crashes in self.crashes.items()
                if offset in still_open or offset >= balance.next
            }

    def written(self) -> None:
        """The ledger as it was reserved was committed."""
        self._written = self.foreseen, self.in_ledger
        self._asked.clear()
        self.pace = 0

    def names(self, offset: int) -> bool:
        """Whether a crash from now on would be laid to this event."""
        return self._written is not None and self._written[1] == offset

    def clear(self, offsets: Collection[int]) -> None:
        """The events have settled, or their turn rests: what ends the process now is not their doing."""
        if self.suspect in offsets:
            self.suspect = None

    def let_go(self) -> None:
        """Nothing of the partition is in hand any more."""
        self.suspect = None
        self._in_hand.clear()

    def settled(self, offset: int) -> None:
        """What became of the event is committed, or its record is gone."""
        self.clear([offset])
        if self.condemned == offset:
            self.condemned = None
        self._in_hand.pop(offset, None)
        self._waiting.pop(offset, None)
        self._begun.discard(offset)


class Suspected(Protocol):
    """An assignment, as far as it matters here."""

    partition: int
    suspicion: Suspicion


class Caution:
    """Whether a turn may run now."""

    def __init__(self, assignments: Mapping[int, Suspected]) -> None:
        self._assignments = assignments
        self._next: tuple[Suspected, str] | None = None
        self.is_on = False
        """Whether turns run one at a time: a suspect is in hand."""

    def look(self) -> None:
        """Once a tick."""
        self.is_on = any(each.suspicion.conversations for each in self._assignments.values())

    def admitted(self, assignment: Suspected) -> None:
        """An event of this partition is in hand."""
        if assignment.suspicion.conversations:
            self.is_on = True

    @property
    def suspected(self) -> frozenset[tuple[int, str]] | None:
        """While the care is on: the conversations, by partition, whose turns may run."""
        if not self.is_on:
            return None
        return frozenset(
            (each.partition, conversation)
            for each in self._assignments.values()
            for conversation in each.suspicion.conversations
        )

    @property
    def next(self) -> tuple[int, str] | None:
        """While the care is on: the partition and conversation whose turn is, or is to be, the suspect."""
        if self._next is None or self._is_over or not self.is_on:
            return None
        assignment, conversation = self._next
        return assignment.partition, conversation

    def allows(self, assignment: Suspected, conversation: str, offsets: Iterable[int]) -> bool:
        """Whether a turn of these events may run, where no other does.

        A suspect not before its offset is committed as the one that runs alone, which this asks for. There is one of
        them in the process, so whoever asks while another waits is refused.
        """
        if not self.is_on:
            return True
        if not self._is_over and self._next != (assignment, conversation):
            return False
        suspect = assignment.suspicion.first_suspect(offsets)
        if suspect is None:
            # It may stand before a suspect in its conversation. Others wait: one that kills would be laid to all.
            return conversation in assignment.suspicion.conversations
        self._next = (assignment, conversation)
        assignment.suspicion.suspect = suspect
        return assignment.suspicion.names(suspect)

    @property
    def _is_over(self) -> bool:
        """Whether the last suspect has settled, rests, or went with its partition."""
        if self._next is None:
            return True
        assignment, _ = self._next
        return assignment.suspicion.suspect is None or self._assignments.get(assignment.partition) is not assignment
