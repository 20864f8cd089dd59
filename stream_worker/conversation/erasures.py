"""Which conversations of a partition were erased, and when the last that is kept of them may go. Owned by the worker.

What was erased before the partition was taken is marked in the store. The marks are read a few at a time, and no state
is decoded for them: a partition may have hundreds of thousands.
"""

import heapq
from collections.abc import Iterator
from itertools import islice

from stream_worker.conversation.state import erased_at
from stream_worker.conversation.store import Store

MARKS_AT_ONCE = 100
"""Some 5 µs each; a worker may have a hundred partitions, and looks at all of them in one tick."""


class Erasures:
    def __init__(self, store: Store, partition: int) -> None:
        self._store = store
        self._partition = partition
        self._marks: Iterator[bytes] | None = None
        self._erased: dict[str, int] = {}
        """When which conversation was erased, of which nothing was heard since."""
        self._by_time: list[tuple[int, str]] = []
        """The same, oldest first, and what has changed meanwhile."""
        self._due: dict[str, int] = {}

    def note(self, conversation: str, at: int) -> None:
        """Its committed state says that it was erased then; 0 for one that is alive, or gone."""
        if at:
            self._erased[conversation] = at
            heapq.heappush(self._by_time, (at, conversation))
        else:
            self._erased.pop(conversation, None)

    def before(self, instant_ms: int, most: int) -> list[str]:
        """Erased before this time. They are named again until `note` says what became of them."""
        self._look()
        self._due = {name: at for name, at in self._due.items() if self._erased.get(name) == at}
        while self._by_time and self._by_time[0][0] < instant_ms and len(self._due) < most:
            at, name = heapq.heappop(self._by_time)
            if self._erased.get(name) == at:
                self._due[name] = at
        return list(self._due)

    def _look(self) -> None:
        """The next marks of the store. Raises LocalStateUnusable."""
        if self._marks is None:
            self._marks = iter(self._store.marked(self._partition))
        for key in islice(self._marks, MARKS_AT_ONCE):
            raw = self._store.get(self._partition, key)
            if raw is not None and (at := erased_at(raw)):
                self.note(key.decode(), at)
