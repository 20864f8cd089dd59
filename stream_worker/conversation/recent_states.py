"""Decoded states of conversations that were lately in use, of all partitions together, within so many bytes.

Conversations that are answered are usually the ones that write again. Sizes are those of the encoded states; decoded
they take some three to seven times as much. Owned by the worker thread.
"""

from collections import OrderedDict
from itertools import count

from stream_worker.conversation.state import ConversationState

MOST_BYTES = 32 << 20


class RecentStates:
    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[int, str], tuple[ConversationState, int]] = OrderedDict()
        self._bytes = 0
        self._owners = count()

    def __len__(self) -> int:
        return len(self._kept)

    def owner(self) -> int:
        """A name for who keeps states here: what a partition's former holder kept is nobody's."""
        return next(self._owners)

    def get(self, owner: int, conversation: str) -> ConversationState | None:
        kept = self._kept.get((owner, conversation))
        return None if kept is None else kept[0]

    def keep(self, owner: int, conversation: str, state: ConversationState, encoded_bytes: int) -> None:
        """The ones that were kept longest ago go, until this one has room."""
        name = (owner, conversation)
        if (before := self._kept.pop(name, None)) is not None:
            self._bytes -= before[1]
        size = encoded_bytes + _OVERHEAD_BYTES
        self._kept[name] = (state, size)
        self._bytes += size
        while self._bytes > self._most_bytes:
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= gone


_OVERHEAD_BYTES = 256
"""An empty state, and the entry for it."""
