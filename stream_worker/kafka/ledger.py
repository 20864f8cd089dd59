"""The ledger of one partition: which offsets are settled. Pure; no Kafka in it.

Two fields carry it: `next`, one past the highest offset seen, and `open`, the
offsets below it that are not settled. It knows only offsets it was told
about, so gaps (control records, compaction) need no care.

Always holds:
- the group offset is the lowest open offset, else `next`: it never passes an open one;
- an offset below `next` that is not open is settled, for ever;
- `next` never goes back.
"""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Sight(StrEnum):
    """What an offset is to the ledger when its record is read."""

    NEW = "new"
    RESTORED = "restored"
    """Open since an earlier owner; read again, and in our hands from now on."""
    IN_HAND = "in_hand"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Balance:
    """The ledger as it will stand once some more offsets are settled."""

    next: int
    open: tuple[int, ...]

    @property
    def group_offset(self) -> int:
        return self.open[0] if self.open else self.next


class Ledger:
    def __init__(self, next_offset: int, open_offsets: Iterable[int] = ()) -> None:
        self._next = next_offset
        restored = sorted(open_offsets)
        if restored and restored[-1] >= next_offset:
            raise ValueError(f"offset {restored[-1]} is open but not below next = {next_offset}")
        self._open: dict[int, None] = dict.fromkeys(restored)
        self._awaited = deque(restored)

    @property
    def next(self) -> int:
        return self._next

    @property
    def open(self) -> Collection[int]:
        """Open offsets, lowest first."""
        return self._open.keys()

    @property
    def group_offset(self) -> int:
        """What belongs in the group: everything below it is settled."""
        return next(iter(self._open), self._next)

    def is_settled(self, offset: int) -> bool:
        return offset < self._next and offset not in self._open

    def see(self, offset: int) -> Sight:
        """Notes an offset that was read; a new one is open from now on."""
        if offset >= self._next:
            self._open[offset] = None
            self._next = offset + 1
            return Sight.NEW
        if offset not in self._open:
            return Sight.SETTLED
        if self._awaited and self._awaited[0] == offset:
            self._awaited.popleft()
            return Sight.RESTORED
        return Sight.IN_HAND

    def vanished_before(self, offset: int) -> list[int]:
        """Restored offsets that were passed over: their records are gone from the topic. They are settled."""
        gone = []
        while self._awaited and self._awaited[0] < offset:
            gone.append(self._awaited.popleft())
            del self._open[gone[-1]]
        return gone

    def settle(self, offset: int) -> None:
        """Raises KeyError for an offset that is not open: settling twice is a bug."""
        del self._open[offset]

    def after(self, settled: Collection[int], position: int = 0) -> Balance:
        """The balance once `settled` are settled; the ledger itself stays as it is.

        Where nothing stays open, `next` rises to the consumer's `position`, which passes control records.
        """
        still_open = tuple(offset for offset in self._open if offset not in settled) if settled else tuple(self._open)
        return Balance(self._next if still_open else max(self._next, position), still_open)

    def balanced(self, balance: Balance) -> None:
        """The balance was committed, and its settled offsets were settled: `next` stands where it says."""
        self._next = max(self._next, balance.next)
