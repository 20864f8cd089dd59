"""The newest settled state of every conversation of one partition: overlay, then local store.

The overlay holds what is settled but not yet committed; an abort followed by
a loss drops it with the whole object. Of what was committed the latest stays
decoded (`recent_states.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stream_worker.conversation.erasures import Erasures
from stream_worker.conversation.recent_states import RecentStates
from stream_worker.conversation.state import EMPTY, ConversationState, load_state
from stream_worker.conversation.store import Store
from stream_worker.errors import PartitionRefused, StateUnreadable


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

    def __init__(
        self, store: Store, recent: RecentStates, partition: int, to_forget: Callable[[int, str], str]
    ) -> None:
        self._store = store
        self._partition = partition
        self._to_forget = to_forget
        self._overlay: dict[str, ConversationState] = {}
        self._recent = recent
        self._owner = recent.owner()
        self._erasures = Erasures(store, partition)

    def get(self, conversation: str) -> ConversationState:
        """The newest settled value, committed or not."""
        if (state := self._overlay.get(conversation)) is not None:
            return state
        if (state := self._recent.get(self._owner, conversation)) is not None:
            return state
        raw = self._store.get(self._partition, conversation.encode())
        state = self._load(conversation, raw) if raw is not None else EMPTY
        self._recent.keep(self._owner, conversation, state, len(raw or b""))
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
        return [each for each in self._erasures.before(instant_ms, most) if each not in self._overlay]

    def commit(self, states: Mapping[str, Written], position: int) -> None:
        """These values are committed up to this changelog position."""
        self._store.apply(
            self._partition,
            {conversation.encode(): written.raw for conversation, written in states.items()},
            position,
            [conversation.encode() for conversation, written in states.items() if written.kept.erased_at],
        )
        for conversation, written in states.items():
            self._erasures.note(conversation, written.kept.erased_at)
            if self._overlay.get(conversation) is written.settled:
                del self._overlay[conversation]
            self._recent.keep(self._owner, conversation, written.kept, len(written.raw or b""))

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
