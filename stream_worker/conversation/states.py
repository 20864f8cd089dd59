"""The newest settled state of every conversation of one partition: overlay, then local store.

The overlay holds what is settled but not yet committed; an abort followed by
a loss drops it with the whole object. What was committed stays decoded in a
bounded cache, because conversations that are answered are usually the ones
that write again.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stream_worker.conversation.state import EMPTY, ConversationState, load_state
from stream_worker.conversation.store import Store
from stream_worker.errors import PartitionRefused, StateUnreadable

_CACHED_STATES = 4096


@dataclass(frozen=True, slots=True)
class Written:
    """A state as a transaction wrote it: `settled` is what the turn left, `kept` what was encoded in `raw`.

    They differ where the state had to be cut. An empty state is a tombstone: nothing is left of the conversation.
    """

    settled: ConversationState
    kept: ConversationState
    raw: bytes | None


class States:
    """Raises PartitionRefused for a state that cannot be decoded.

    `to_forget` is the command that puts nothing in place of a conversation's state, of a partition and a conversation.
    """

    def __init__(self, store: Store, partition: int, to_forget: Callable[[int, str], str]) -> None:
        self._store = store
        self._partition = partition
        self._to_forget = to_forget
        self._overlay: dict[str, ConversationState] = {}
        self._cache: OrderedDict[str, ConversationState] = OrderedDict()
        self._erased: dict[str, int] | None = None
        """When which conversation was erased; None until the store was asked."""

    def get(self, conversation: str) -> ConversationState:
        """The newest settled value, committed or not."""
        if (state := self._overlay.get(conversation)) is not None:
            return state
        if (state := self._cache.get(conversation)) is not None:
            return state
        raw = self._store.get(self._partition, conversation.encode())
        state = self._load(conversation, raw) if raw is not None else EMPTY
        self._keep(conversation, state)
        return state

    def settle(self, conversation: str, state: ConversationState) -> None:
        self._overlay[conversation] = state

    def forget(self, conversation: str) -> None:
        """Back to the committed value."""
        self._overlay.pop(conversation, None)

    def erased_before(self, instant_ms: int, most: int) -> list[str]:
        """Conversations that were erased before this time, and of which nothing was heard since.

        They are named again until what becomes of them is committed.
        """
        if self._erased is None:
            self._erased = {}
            for key in self._store.marked(self._partition):
                self._note_erased(key.decode(), self.get(key.decode()))
        due = [conversation for conversation, erased_at in self._erased.items() if erased_at < instant_ms]
        return [each for each in due if each not in self._overlay][:most]

    def _note_erased(self, conversation: str, state: ConversationState) -> None:
        if self._erased is None:
            return
        if state.erased_at:
            self._erased[conversation] = state.erased_at
        else:
            self._erased.pop(conversation, None)

    def commit(self, states: Mapping[str, Written], position: int) -> None:
        """These values are committed up to this changelog position."""
        self._store.apply(
            self._partition,
            {conversation.encode(): written.raw for conversation, written in states.items()},
            position,
            [conversation.encode() for conversation, written in states.items() if written.kept.erased_at],
        )
        for conversation, written in states.items():
            self._note_erased(conversation, written.kept)
            if self._overlay.get(conversation) is written.settled:
                del self._overlay[conversation]
            self._keep(conversation, written.kept)

    def _load(self, conversation: str, raw: bytes) -> ConversationState:
        try:
            return load_state(raw)
        except StateUnreadable as error:
            command = self._to_forget(self._partition, conversation)
            raise PartitionRefused(
                error.code,
                f"partition {self._partition}: {error.detail}; to go on without what was said in it: {command}",
                partition=self._partition,
            ) from error

    def _keep(self, conversation: str, state: ConversationState) -> None:
        self._cache[conversation] = state
        self._cache.move_to_end(conversation)
        if len(self._cache) > _CACHED_STATES:
            self._cache.popitem(last=False)
