"""The ledger next to a model of ten obvious lines."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream_worker.kafka.ledger import Ledger, Sight


class LedgerMachine(RuleBasedStateMachine):
    """The model is two sets: what was seen, and what of it settled."""

    @initialize(start=st.integers(0, 50), opened=st.sets(st.integers(0, 49), max_size=8))
    def begin(self, start: int, opened: set[int]) -> None:
        self.restored = {offset for offset in opened if offset < start}
        self.ledger = Ledger(start, self.restored)
        self.start = start
        self.open = set(self.restored)
        self.in_hand: set[int] = set()
        self.next = start

    @rule(gap=st.integers(0, 3))
    def see_new(self, gap: int) -> None:
        offset = self.next + gap
        for gone in self.ledger.vanished_before(offset):
            assert gone in self.restored - self.in_hand
            self.open.discard(gone)
        assert self.ledger.see(offset) is Sight.NEW
        self.open.add(offset)
        self.in_hand.add(offset)
        self.next = offset + 1

    @precondition(lambda self: self.restored - self.in_hand & self.open)
    @rule()
    def see_restored(self) -> None:
        awaited = sorted((self.restored & self.open) - self.in_hand)
        if awaited:
            assert self.ledger.see(awaited[0]) is Sight.RESTORED
            self.in_hand.add(awaited[0])

    @rule(data=st.data())
    def see_again(self, data: st.DataObject) -> None:
        if self.next == 0:
            return
        offset = data.draw(st.integers(0, self.next - 1))
        if offset in self.in_hand & self.open:
            assert self.ledger.see(offset) is Sight.IN_HAND
        elif offset not in self.open:
            assert self.ledger.see(offset) is Sight.SETTLED

    @precondition(lambda self: self.in_hand & self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.in_hand & self.open)))
        expected = self.ledger.after({offset})
        self.ledger.settle(offset)
        self.open.discard(offset)
        assert (expected.next, expected.open) == (self.next, tuple(sorted(self.open)))

    @rule(position=st.integers(0, 200))
    def advance(self, position: int) -> None:
        balance = self.ledger.after((), position)
        assert self.ledger.next == self.next, "what may not be committed changes nothing"
        self.ledger.balanced(balance)
        if not self.open:
            self.next = max(self.next, position)
        assert balance.next == self.next

    @invariant()
    def group_offset_never_passes_an_open_offset(self) -> None:
        if not hasattr(self, "ledger"):
            return
        assert self.ledger.group_offset == min(self.open, default=self.next)
        assert set(self.ledger.open) == self.open
        assert self.ledger.next == self.next

    @invariant()
    def what_is_seen_and_not_open_is_settled(self) -> None:
        if not hasattr(self, "ledger"):
            return
        for offset in range(self.next + 2):
            assert self.ledger.is_settled(offset) == (offset < self.next and offset not in self.open)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_settling_twice_is_a_bug() -> None:
    ledger = Ledger(0)
    ledger.see(0)
    ledger.settle(0)
    with pytest.raises(KeyError):
        ledger.settle(0)


def test_an_open_offset_at_or_beyond_next_is_refused() -> None:
    with pytest.raises(ValueError, match="not below next"):
        Ledger(5, [5])
