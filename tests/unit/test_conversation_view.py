"""Why a conversation waits, next to what an operator would count by hand."""

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.contracts.internal import LedgerRecord
from stream_worker.conversation.state import ConversationState, Holder
from stream_worker.conversation_view import ConversationView, Unsettled, is_open, records_before


def _ledger(next_offset: int, *open_offsets: int) -> LedgerRecord:
    return LedgerRecord(topic_id="t", partition=0, partitions=1, term=1, next=next_offset, open=open_offsets)


@given(st.sets(st.integers(0, 50)), st.integers(0, 60), st.integers(0, 60))
def test_what_is_counted_is_what_the_ledger_has_not_settled(open_offsets: set[int], above: int, offset: int) -> None:
    next_offset = max(open_offsets, default=0) + 1 + above
    ledger = _ledger(next_offset, *sorted(open_offsets))
    group_offset = min(open_offsets, default=next_offset)
    by_hand = [each for each in range(200) if each in open_offsets or each >= next_offset]
    assert is_open(offset, group_offset, ledger) == (offset in by_hand)
    assert records_before(offset, group_offset, ledger) == sum(each < offset for each in by_hand)


def _view(
    *unsettled: int,
    owner: str | None = "w-0",
    ledger: LedgerRecord | None = None,
    state: ConversationState | None = None,
) -> ConversationView:
    events = tuple(Unsettled(offset=each, event_id=f"m-{each}", written_ms=1_000) for each in unsettled)
    before = records_before(unsettled[0], 0, ledger) if unsettled else 0
    return ConversationView(
        conversation="c",
        partition=3,
        owner=owner,
        state=state,
        ledger=ledger,
        unsettled=events,
        records_before=before,
        now_ms=3_500,
    )


def test_each_cause_has_its_line() -> None:
    assert _view(7, owner=None).why == "m-7 (offset 7) has waited for 2.5 s: nobody has partition 3"
    assert _view(7, 9, ledger=_ledger(10, 7, 9)).why == (
        "m-7 (offset 7) has waited for 2.5 s: its turn is in hand in w-0; 1 more of its events wait behind it"
    )
    assert "4 records of partition 3 come before it" in _view(7, ledger=_ledger(3)).why
    assert "or in hand since the last commit, in w-0" in _view(7, ledger=_ledger(7)).why
    held = ConversationState(holder=Holder.HUMAN, held_at=500)
    assert _view(state=held).why == "nothing waits: a human has it (last heard of 3 s ago), and the bot is silent"
    assert _view(state=ConversationState(turns=4)).why == "nothing waits: all its events are settled, after 4 turns"
