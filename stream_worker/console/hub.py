"""Server-sent events: numbered, kept for a while, so that a browser that comes back misses nothing.

The ids of one run of the console begin with its epoch; a browser that asks
for what is not kept any more, or of an earlier run, is told to load anew.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from stream_worker.contracts.delta import Delta

KEPT = 8_192

#: What a browser is told when the hub cannot say what it missed.
RESET = "reset"


@dataclass(frozen=True, slots=True)
class Notice:
    """`names` are of what changed; with a `delta` there is one name, of its conversation."""

    number: int
    names: frozenset[str]
    delta: Delta | None = None


@dataclass(slots=True)
class Hub:
    """Owned by the event loop."""

    epoch: str
    _kept: deque[Notice] = field(default_factory=lambda: deque(maxlen=KEPT))
    _number: int = 0
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _is_closed: bool = False

    def publish(self, names: Iterable[str], delta: Delta | None = None) -> None:
        self._number += 1
        self._kept.append(Notice(self._number, frozenset(names), delta))
        self._wake()

    def close(self) -> None:
        """Ends every stream."""
        self._is_closed = True
        self._wake()

    async def follow(self, watched: frozenset[str], last_id: str | None) -> AsyncIterator[Notice | None]:
        """Notices of what is watched, after `last_id`, or from now on; None stands for "load anew"."""
        after = self._number if last_id is None else self._place(last_id)
        if after is None:
            yield None
            after = self._number
        while not self._is_closed:
            arrived = self._arrived
            behind = bool(self._kept) and self._kept[0].number > after + 1
            if behind:
                yield None
                after = self._number
            for notice in [each for each in self._kept if each.number > after]:
                after = notice.number
                if names := notice.names & watched:
                    yield Notice(notice.number, names, notice.delta)
            await arrived.wait()

    def id_of(self, notice: Notice | None) -> str:
        return f"{self.epoch}-{notice.number if notice is not None else self._number}"

    def _place(self, last_id: str) -> int | None:
        epoch, _, number = last_id.rpartition("-")
        if epoch != self.epoch or not number.isdigit() or int(number) > self._number:
            return None
        oldest = self._kept[0].number if self._kept else self._number + 1
        return int(number) if int(number) >= oldest - 1 else None

    def _wake(self) -> None:
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()
