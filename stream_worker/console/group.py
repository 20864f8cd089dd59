"""The group as a picture: which member has which partition, and how far behind each is. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from stream_worker.console.board import Board
from stream_worker.console.pace import Share
from stream_worker.console.vitals import Vitals
from stream_worker.kafka.group_admin import GroupStatus
from stream_worker.kafka.window import Marks

UNOWNED = ""
_FRESH_S, _SLOW_S, _LATE_S = 2.0, 30.0, 300.0
_DRAWN = 200


class Freshness(StrEnum):
    """How old the group offset of a partition is."""

    IDLE = "idle"
    FRESH = "fresh"
    SLOW = "slow"
    LATE = "late"
    STUCK = "stuck"


class Slice(StrEnum):
    """One offset above the group offset."""

    OPEN = "open"
    SETTLED = "settled"
    UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class Partition:
    """`age_s`: of the event at the group offset; None where nothing waits, or the window does not reach it."""

    number: int
    owner: str
    committed: int | None
    marks: Marks
    lag: int
    age_s: float | None
    freshness: Freshness
    term: int | None
    next: int | None
    open: tuple[int, ...]
    starts: int
    suspect: int | None
    has_open_transaction: bool
    drawn: tuple[Slice, ...]
    """The offsets from the group offset on, one each, at most 200."""

    @property
    def not_drawn(self) -> int:
        return max(0, self.marks.end - (self.committed or self.marks.start) - len(self.drawn))


class _Partitions:
    """What is told of several partitions together."""

    __slots__ = ()
    partitions: tuple[Partition, ...]

    @property
    def lag(self) -> int:
        return sum(each.lag for each in self.partitions)

    @property
    def in_hand(self) -> int:
        return sum(len(each.open) for each in self.partitions)


@dataclass(frozen=True, slots=True)
class Member(_Partitions):
    """`vitals` is None where its metrics were not asked for, or do not come."""

    name: str
    partitions: tuple[Partition, ...]
    share: Share
    vitals: Vitals | None = None


@dataclass(frozen=True, slots=True)
class Group(_Partitions):
    name: str
    state: str
    partitions: tuple[Partition, ...]
    members: tuple[Member, ...]
    """Those with partitions by name; what nobody has stands last, under an empty name."""

    @property
    def oldest_s(self) -> float | None:
        return max((each.age_s for each in self.partitions if each.age_s is not None), default=None)


def picture(
    status: GroupStatus, marks: Mapping[int, Marks], board: Board, now: int, vitals: Sequence[Vitals] = ()
) -> Group:
    partitions = tuple(
        _partition(each.partition, each.owner or UNOWNED, each.committed, marks[each.partition], board, now)
        for each in status.partitions
        if each.partition in marks
    )
    names = sorted({each.owner for each in partitions if each.owner})
    if any(each.owner == UNOWNED for each in partitions):
        names.append(UNOWNED)
    members = []
    for name in names:
        theirs = tuple(each for each in partitions if each.owner == name)
        numbers = frozenset(each.number for each in theirs)
        members.append(
            Member(name, theirs, board.pace.share(numbers, now), _known_by(numbers, vitals) if name else None)
        )
    return Group(status.group, status.state, partitions, tuple(members))


def _partition(number: int, owner: str, committed: int | None, marks: Marks, board: Board, now: int) -> Partition:
    ledger = board.ledgers.get(number)
    # A committed offset below the start of the log is no lag: that was deleted.
    at = max(marks.start, committed if committed is not None else marks.start)
    lag = max(0, marks.end - at)
    written = board.written_at(number, at) if lag else None
    age = None if written is None else max(0.0, (now - written) / 1_000)
    open_ = ledger.open if ledger is not None else ()
    return Partition(
        number=number,
        owner=owner,
        committed=committed,
        marks=marks,
        lag=lag,
        age_s=age,
        freshness=_freshness(lag, age),
        term=None if ledger is None else ledger.term,
        next=None if ledger is None else ledger.next,
        open=open_,
        starts=0 if ledger is None else ledger.starts,
        suspect=None if ledger is None else ledger.suspect,
        has_open_transaction=marks.stable < marks.end,
        drawn=_drawn(at, marks.end, frozenset(open_), at if ledger is None else ledger.next),
    )


def _known_by(partitions: frozenset[int], vitals: Sequence[Vitals]) -> Vitals | None:
    """Who has most of these partitions: amid a rebalance a worker still exports one that it gave away."""
    found = max(vitals, key=lambda each: len(each.partitions & partitions), default=None)
    return found if found is not None and found.partitions & partitions else None


def _freshness(lag: int, age_s: float | None) -> Freshness:
    if not lag or age_s is None:
        return Freshness.IDLE
    steps = ((_FRESH_S, Freshness.FRESH), (_SLOW_S, Freshness.SLOW), (_LATE_S, Freshness.LATE))
    return next((name for limit, name in steps if age_s < limit), Freshness.STUCK)


def _drawn(at: int, end: int, open_: frozenset[int], next_: int) -> tuple[Slice, ...]:
    return tuple(
        Slice.OPEN if offset in open_ else Slice.SETTLED if offset < next_ else Slice.UNREAD
        for offset in range(at, min(end, at + _DRAWN))
    )
