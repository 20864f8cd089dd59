"""The mailbox: one turn at a time, order kept, nothing lost, control events settle with their turn."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stream_worker.contracts.decode import Arrival
from stream_worker.conversation.mailbox import (
    Mailbox,
    Preempt,
    Queued,
    Restart,
    Shed,
    StateEvent,
)
from stream_worker.conversation.pending import PendingTurn
from tests.unit.arrivals import arrival, message

_USER = {"id": "u-1"}


class MailboxMachine(RuleBasedStateMachine):
    """Every event put in comes out exactly once: with a turn, as a state event, shed, or withdrawn."""

    def __init__(self) -> None:
        super().__init__()
        self.mailbox = Mailbox(4)
        self.offset = 0
        self.inside: list[int] = []
        self.started: list[int] = []

    def _arrival(self, **fields: Any) -> Arrival:
        self.offset += 1
        return arrival(self.offset, **fields)

    def _put(self, new: Arrival, *, preempts: bool = False) -> None:
        running = self.mailbox.running
        match self.mailbox.put(new, preempts=preempts):
            case Queued():
                self.inside.append(new.offset)
            case Shed():
                assert (
                    len([offset for offset in self.inside if running is None or offset not in self._of(running)]) >= 4
                )
            case Restart(turn):
                assert running is not None
                assert turn.arrivals == (*running.arrivals, new)
                self.inside.append(new.offset)
            case Preempt(ended, withdrawn):
                assert ended is running
                assert self.mailbox.running is None
                for gone in withdrawn:
                    for each in gone.arrivals:
                        self.inside.remove(each.offset)
                self.inside.append(new.offset)

    def _of(self, turn: PendingTurn) -> set[int]:
        return {each.offset for each in turn.arrivals}

    @rule()
    def say(self) -> None:
        self._put(self._arrival(sender=_USER, text="hi"))

    @rule()
    def react(self) -> None:
        self._put(self._arrival(type="reaction", sender=_USER, target_id="m-1", reaction="+1"))

    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        target = data.draw(st.integers(1, self.offset + 1))
        self._put(self._arrival(type="edit", sender=_USER, target_id=f"m-{target}", text="new"))

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        target = data.draw(st.integers(1, self.offset + 1))
        self._put(self._arrival(type="deletion", sender=_USER, target_id=f"m-{target}"))

    @rule(kind=st.sampled_from(["handoff", "erasure"]))
    def preempt(self, kind: str) -> None:
        self._put(self._arrival(type=kind), preempts=True)

    @rule()
    def start_next(self) -> None:
        busy = self.mailbox.running is not None
        head = self.mailbox.head
        entry = self.mailbox.next()
        assert entry is head
        if busy:
            assert entry is None
        if isinstance(entry, StateEvent):
            self.inside.remove(entry.arrival.offset)
        elif entry is not None:
            assert self.mailbox.running is entry
            assert entry.first.offset not in self.started
            self.started.append(entry.first.offset)

    @precondition(lambda self: self.mailbox.running is not None)
    @rule()
    def finish(self) -> None:
        running = self.mailbox.running
        assert running is not None
        for done in running.arrivals:
            self.inside.remove(done.offset)
        self.mailbox.finish()

    @rule()
    def place_anew(self) -> None:
        running = self.mailbox.running
        taken = self.mailbox.take_all()
        assert self.mailbox.is_empty
        assert sorted(each.offset for each in taken) == sorted(self.inside)
        self.inside.clear()
        if running is not None:
            self.started.remove(running.first.offset)
        for each in sorted(taken, key=lambda arrival: arrival.offset):
            self._put(each, preempts=each.event.type in ("handoff", "erasure"))

    @invariant()
    def turns_start_in_order(self) -> None:
        assert self.started == sorted(self.started)

    @invariant()
    def empty_means_nothing_inside(self) -> None:
        assert self.mailbox.is_empty == (not self.inside)

    @invariant()
    def what_waits_is_bounded(self) -> None:
        running = self.mailbox.running
        waiting = [offset for offset in self.inside if running is None or offset not in self._of(running)]
        assert self.mailbox.waiting_events == len(waiting)


TestMailbox = MailboxMachine.TestCase
TestMailbox.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_an_edit_of_a_waiting_message_changes_its_text_and_settles_with_it() -> None:
    mailbox = Mailbox(8)
    mailbox.put(message(1, "first"))
    mailbox.put(message(2, "second"))
    mailbox.put(arrival(3, type="edit", sender=_USER, target_id="m-2", text="second, corrected"))
    assert isinstance(mailbox.next(), PendingTurn)
    mailbox.finish()
    turn = mailbox.next()
    assert isinstance(turn, PendingTurn)
    assert turn.text == "second, corrected"
    assert [each.offset for each in turn.arrivals] == [2, 3]


def test_a_turn_whose_message_was_deleted_has_no_text() -> None:
    mailbox = Mailbox(8)
    mailbox.put(message(1))
    mailbox.put(arrival(2, type="deletion", sender=_USER, target_id="m-1"))
    turn = mailbox.next()
    assert isinstance(turn, PendingTurn)
    assert turn.is_withdrawn


def test_a_bots_message_starts_no_turn() -> None:
    mailbox = Mailbox(8)
    mailbox.put(arrival(1, sender={"id": "b", "role": "bot"}, text="hello"))
    assert isinstance(mailbox.next(), StateEvent)
