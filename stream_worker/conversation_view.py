"""Where a conversation stands, by what is in Kafka: its state, its unsettled events, and who has its partition. Pure.

It takes the changelog, the input behind the group's offset, and the group; no worker is asked. So it is as old as the
last commit (a tenth of a second where a worker is at work), and works as well where every worker is down.
"""

from collections.abc import Collection
from dataclasses import dataclass

from stream_worker.contracts.internal import LedgerRecord
from stream_worker.conversation.state import ConversationState, Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """An event of the conversation that has no outcome yet."""

    offset: int
    event_id: str
    written_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationView:
    """`records_before` counts the records of others that are read before its first unsettled event."""

    conversation: str
    partition: int
    owner: str | None
    state: ConversationState | None
    ledger: LedgerRecord | None
    unsettled: tuple[Unsettled, ...]
    records_before: int
    now_ms: int

    @property
    def why(self) -> str:
        """In one line: why it waits, or that it does not."""
        if not self.unsettled:
            return self._rest()
        first = self.unsettled[0]
        others = len(self.unsettled) - 1
        behind = f"; {others} more of its events wait behind it" if others else ""
        waited = f"{max(0, self.now_ms - first.written_ms) / 1000:.1f} s"
        event = f"{first.event_id} (offset {first.offset}) has waited for {waited}"
        if self.owner is None:
            return f"{event}: nobody has partition {self.partition}{behind}"
        if self.ledger is not None and first.offset in self.ledger.open:
            return f"{event}: its turn is in hand in {self.owner}{behind}"
        if self.records_before:
            before = f"{self.records_before} records of partition {self.partition} come before it"
            return f"{event}: {before}, in {self.owner}{behind}"
        next_or_in_hand = f"it is next in partition {self.partition}, or in hand since the last commit"
        return f"{event}: {next_or_in_hand}, in {self.owner}{behind}"

    def _rest(self) -> str:
        if self.state is None:
            return "nothing is known of it, and nothing of it waits"
        if self.state.holder is Holder.HUMAN:
            held = f"{max(0, self.now_ms - self.state.held_at) / 1000:.0f} s ago"
            return f"nothing waits: a human has it (last heard of {held}), and the bot is silent"
        return f"nothing waits: all its events are settled, after {self.state.turns} turns"


def is_open(offset: int, group_offset: int, ledger: LedgerRecord | None) -> bool:
    """Whether the event at an offset has no committed outcome."""
    if ledger is None:
        return offset >= group_offset
    return offset >= ledger.next or offset in frozenset[int](ledger.open)


def records_before(offset: int, group_offset: int, ledger: LedgerRecord | None, settled: Collection[int] = ()) -> int:
    """How many unsettled records lie before an offset; markers and gaps count as records."""
    if ledger is None:
        return max(0, offset - group_offset)
    return sum(each < offset for each in ledger.open) + max(0, offset - ledger.next) - len(settled)
