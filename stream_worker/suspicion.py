"""What crashes say of a partition's events: the search for one that ends every process that tries it.

A take that finds no `released` in the ledger counts as a crash. From the
second on the worker is careful: while the partition has an event in hand, one
turn at a time runs in the process, and its offset is committed as the suspect
before it starts. A suspect that is found at a take ended a process that did
nothing else: it becomes a dead letter, and the search is over. So one event
costs three crashes at the most, and nobody else's reply.

Without a find the care ends when the group offset has passed all that can
have begun before the first crash. How far that is the ledger says beforehand:
no turn begins with an event that lies at or behind `begins_below`, which each
transaction moves on. What merely waited cannot have ended a process.
Owned by the worker thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

_CRASHES = 2
"""Takes without a release before: one may be anything, an operator or a machine."""
_AHEAD = 32
"""How many offsets may begin before the next transaction, at the least: so many more would have to run alone."""


@dataclass(slots=True)
class Suspicion:
    """Of one partition. Its fields stand in the ledger."""

    starts: int = 0
    careful_to: int | None = None
    suspect: int | None = None
    """The offset of the turn that runs alone, or is about to."""
    condemned: int | None = None
    """The suspect that the ledger named when the partition was taken, until its dead letter is committed."""
    begins_below: int = 0
    """All events of all turns that have begun lie below this offset."""
    _last_begun: int = field(default=0, init=False)
    _begun: int = field(default=0, init=False)
    """How many turns have begun since the ledger was written."""
    _written: tuple[int, int | None, int | None, int] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._last_begun = self.begins_below

    @property
    def is_careful(self) -> bool:
        return self.starts >= _CRASHES

    @property
    def is_unwritten(self) -> bool:
        """Whether the next transaction has something to say of it."""
        return self._written is not None and self._written != self._fields

    @property
    def was_written(self) -> bool:
        """Whether the partition was ours: the transaction that takes it was committed."""
        return self._written is not None

    @property
    def in_ledger(self) -> int | None:
        """A condemned event stays named until its dead letter is committed."""
        return self.suspect if self.condemned is None else self.condemned

    def reserve(self) -> None:
        """The ledger is about to be written: as far as it goes without another transaction, turns may begin then."""
        self.begins_below = max(self.begins_below, self._last_begun + max(_AHEAD, 2 * self._begun))

    def written(self) -> None:
        """The fields as they are now were committed."""
        self._written = self._fields
        self._begun = 0

    def may_begin(self, offset: int) -> bool:
        """Whether a turn whose last event is at `offset` may begin; otherwise the next transaction allows it.

        The mark moves behind it in any case: whoever asks begins it as soon as it may. Nothing behind a condemned
        event begins before that is buried: another one that kills at once would keep it from being committed for ever.
        """
        self._last_begun = max(self._last_begun, offset)
        is_behind_condemned = self.condemned is not None and offset > self.condemned
        if self._written is not None and offset < self._written[3] and not is_behind_condemned:
            self._begun += 1
            return True
        self.reserve()
        return False

    def names(self, offset: int) -> bool:
        """Whether a crash from now on would be laid to this event, or to one that is condemned already."""
        return self.condemned is not None or (self._written is not None and self._written[2] == offset)

    def clear(self, offset: int) -> None:
        """The event has settled, or its turn rests: what ends the process now is not its doing."""
        if self.suspect == offset:
            self.suspect = None

    def buried(self, offset: int) -> None:
        """What became of the event is committed, or its record is gone."""
        if self.condemned == offset:
            self.condemned = None

    def passed(self, group_offset: int) -> None:
        if self.careful_to is not None and group_offset >= self.careful_to:
            self.starts, self.careful_to = 0, None

    @property
    def _fields(self) -> tuple[int, int | None, int | None, int]:
        return self.starts, self.careful_to, self.in_ledger, self.begins_below


class Suspected(Protocol):
    """An assignment, as far as it matters here."""

    partition: int
    suspicion: Suspicion
    waiting_events: int


class Caution:
    """Whether a turn may run now."""

    def __init__(self, assignments: Mapping[int, Suspected]) -> None:
        self._assignments = assignments
        self._next: tuple[Suspected, str] | None = None
        self.is_on = False
        """Whether turns run one at a time: a partition that crashed its workers has an event in hand."""

    def look(self) -> None:
        """Once a tick."""
        self.is_on = any(each.suspicion.is_careful and each.waiting_events for each in self._assignments.values())

    def admitted(self, assignment: Suspected) -> None:
        """An event of this partition is in hand."""
        if assignment.suspicion.is_careful:
            self.is_on = True

    @property
    def suspected(self) -> frozenset[int] | None:
        """While the care is on: the partitions whose turns come first, so that it ends soon."""
        if not self.is_on:
            return None
        return frozenset(each.partition for each in self._assignments.values() if each.suspicion.is_careful)

    @property
    def next(self) -> tuple[int, str] | None:
        """While the care is on: the partition and conversation whose turn is, or is to be, the suspect."""
        if self._next is None or self._is_over or not self.is_on:
            return None
        assignment, conversation = self._next
        return assignment.partition, conversation

    def allows(self, assignment: Suspected, conversation: str, offset: int) -> bool:
        """Whether the turn of `offset` may run, where no other does.

        While the care is on: not before the offset is committed as the suspect, which this asks for. There is one
        suspect in the process, so a turn that asks while another waits is refused.
        """
        if not self.is_on:
            return True
        if self._is_over:
            self._next = (assignment, conversation)
        if self._next != (assignment, conversation):
            return False
        assignment.suspicion.suspect = offset
        return assignment.suspicion.names(offset)

    @property
    def _is_over(self) -> bool:
        """Whether the last suspect has settled, rests, or went with its partition."""
        if self._next is None:
            return True
        assignment, _ = self._next
        return assignment.suspicion.suspect is None or self._assignments.get(assignment.partition) is not assignment
