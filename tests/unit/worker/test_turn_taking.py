"""Whatever happens in whatever phase of a turn: nothing is lost, answered twice, too late or from an old text.

A rule machine writes a conversation on the in-memory edge, with waits and crashes; the history is judged at its end.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from stream_worker import intake
from stream_worker.conversation import mailbox as mailboxes
from stream_worker.conversation.mailbox import Mailbox
from stream_worker.conversation.pending import PendingTurn
from stream_worker.conversation.state import EMPTY, Ended
from stream_worker.intake import Intake
from stream_worker.stages import notice as noticing
from stream_worker.turn_taking import OnNewMessage, TurnTaking
from stream_worker.turns import Turns
from tests import checker, histories
from tests.histories import KINDS, Step, Writer
from tests.unit.worker import rig as rigs
from tests.unit.worker.rig import MODEL_BOT, Rig

_STEP_S = 0.02


class Room:
    """A conversation, and the worker that answers it."""

    def __init__(self, taking: TurnTaking) -> None:
        self.rig = Rig(
            rigs.settings(topics={"partitions": 1}, kafka={"session_timeout_ms": 3_000}),
            bot=replace(MODEL_BOT, turn_taking=taking),
            reply=histories.echo,
            seconds=lambda _: 0.05,
        )
        self.writer = Writer("c-1")
        self._workers = 0
        self._start()

    def _start(self) -> None:
        self._workers += 1
        self.rig.start(f"w{self._workers}")
        self.rig.run(0.2, _STEP_S)

    def take(self, step: Step) -> None:
        kind, number = step
        match kind:
            case "wait":
                self.rig.run((1 + number) * 0.07, _STEP_S)
            case "crash":
                self.rig.kill(f"w{self._workers}")
                self.rig.clock.advance(4.0)
                self._start()
            case _:
                event = self.writer.event(kind, number)
                self.rig.send(**{"conversation" if name == "conversation_id" else name: event[name] for name in event})

    def judge(self) -> None:
        events = self.writer.events
        for _ in range(30):
            self.rig.run(0.5, _STEP_S)
            if len(self.rig.metrics) >= len(events):
                break
        self.rig.run(0.2, _STEP_S)
        changelog = [(record.key or b"", record.value) for record in self.rig.broker.read_committed("test-changelog")]
        state = checker.last_states(changelog).get("c-1", EMPTY)
        histories.check(events, self.rig.metrics, self.rig.replies, state)


class TurnTakingMachine(RuleBasedStateMachine):
    room: Room | None = None

    @initialize(
        mode=st.sampled_from(OnNewMessage),
        window=st.sampled_from([0, 0, 120]),
        hold=st.sampled_from([0, 400, 10_000]),
    )
    def open(self, mode: OnNewMessage, window: int, hold: int) -> None:
        self.room = Room(TurnTaking(on_new_message=mode, merge_window_ms=window, max_hold_ms=hold))

    @rule(kind=st.sampled_from(KINDS), number=st.integers(0, 7))
    def step(self, kind: str, number: int) -> None:
        assert self.room is not None
        self.room.take((kind, number))

    def teardown(self) -> None:
        if self.room is not None:
            self.room.judge()


def _search(examples: int, *phases: Phase) -> None:
    run_state_machine_as_test(
        TurnTakingMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=18,
            deadline=None,
            database=None,
            derandomize=True,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )


def test_every_history_keeps_what_is_promised() -> None:
    _search(150, *Phase)


def judged(mode: OnNewMessage, *steps: str | Step, window: int = 0) -> Room:
    room = Room(TurnTaking(on_new_message=mode, merge_window_ms=window))
    for step in steps:
        room.take((step, 0) if isinstance(step, str) else step)
    room.judge()
    return room


def test_a_burst_is_answered_once_by_merging() -> None:
    room = judged(OnNewMessage.MERGE, "say", ("wait", 0), "say", "say", "say")
    assert [len(reply["in_reply_to"]) for reply in room.rig.replies] == [1, 3]


def test_a_window_holds_the_first_message_back_for_the_next_ones() -> None:
    room = judged(OnNewMessage.MERGE, "say", ("wait", 0), "say", ("wait", 0), "say", window=300)
    (reply,) = room.rig.replies
    assert reply["in_reply_to"] == ["c-1-0", "c-1-1", "c-1-2"]
    assert reply["attempt"] == 1


def test_an_interrupt_answers_all_in_the_first_ones_turn() -> None:
    room = judged(OnNewMessage.INTERRUPT, "say", ("wait", 0), "say", ("wait", 0), "say")
    (reply,) = room.rig.replies
    assert reply["in_reply_to"] == ["c-1-0", "c-1-1", "c-1-2"]
    assert reply["attempt"] == 3
    assert room.rig.outcomes == {"c-1-0": ["replied"], "c-1-1": ["merged"], "c-1-2": ["merged"]}


def test_messages_of_two_senders_are_not_joined() -> None:
    room = judged(OnNewMessage.INTERRUPT, "say", ("wait", 0), "other", "say")
    assert [reply["in_reply_to"] for reply in room.rig.replies] == [["c-1-0"], ["c-1-1"], ["c-1-2"]]


def test_a_merge_that_differs_after_a_crash_keeps_its_turns_name() -> None:
    room = judged(OnNewMessage.INTERRUPT, "say", ("wait", 0), "say", ("wait", 0), "crash")
    names = {metric["turn_id"] for metric in room.rig.metrics}
    assert len(names) == 1
    assert {reply["turn_id"] for reply in room.rig.replies} == names


def test_a_message_deleted_while_it_runs_leaves_the_turn_to_the_others() -> None:
    room = judged(OnNewMessage.INTERRUPT, "say", ("wait", 0), "say", ("delete", 1))
    (reply,) = room.rig.replies
    assert reply["in_reply_to"] == ["c-1-1"]
    assert room.rig.outcomes == {"c-1-0": ["withdrawn"], "c-1-1": ["replied"], "c-1-2": ["withdrawn"]}


# Each promise has a bug that breaks it, and a search that finds it.


def _edits_settle_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Intake._place

    def at_once(self: Intake, assignment: Any, arrival: Any, moment: Any) -> None:
        if arrival.event.type in ("edit", "deletion"):
            self._turns.note(assignment, arrival, moment)
        else:
            place(self, assignment, arrival, moment)

    monkeypatch.setattr(Intake, "_place", at_once)


def _hand_off_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is applied while the turn runs, and nobody looks again when that settles."""

    def beside(self: Intake, assignment: Any, arrival: Any, moment: Any, place: Any = Intake._place) -> None:
        if arrival.event.type == "handoff":
            self._turns.note(assignment, arrival, moment)
        else:
            place(self, assignment, arrival, moment)

    def reply(self: Turns, assignment: Any, decided: Any, *rest: Any) -> None:
        self._end_turn(assignment, decided.turn, rest[-1])
        self._settler.reply(assignment, decided, *rest)
        self._finish(assignment, decided.turn)

    monkeypatch.setattr(Intake, "_place", beside)
    monkeypatch.setattr(Turns, "_reply", reply)


def _copies_are_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mailbox, "_holds", lambda self, arrival: False)
    monkeypatch.setattr(Turns, "was_settled", lambda self, assignment, arrival: False)


def _held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailboxes, "_hold_until", lambda first, last, taking, now_ms: 2**53)


def _named_by_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(self: PendingTurn) -> Any:
        return self.spoken[0].arrival if self.spoken else self.arrivals[0]

    monkeypatch.setattr(PendingTurn, "first", property(first))


def _withdrawn_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turns, "withdraw", lambda self, assignment, pending, moment, heard: None)


def _erasure_only_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noticing, "Erased", lambda at: Ended())


def _nothing_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "has_expired", lambda *_: False)


def _reactions_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def beside(self: Intake, assignment: Any, arrival: Any, moment: Any, place: Any = Intake._place) -> None:
        if arrival.event.type != "reaction":
            place(self, assignment, arrival, moment)

    monkeypatch.setattr(Intake, "_place", beside)


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (_erasure_only_ends, "still there"),
        (_nothing_expires, "too late"),
        (_reactions_are_dropped, "lost or stuck"),
        (_edits_settle_alone, "skipped"),
        (_hand_off_queues, "after a hand-off"),
        (_copies_are_new, "answered twice"),
        (_held_for_ever, "lost or stuck"),
        (_withdrawn_is_dropped, "lost or stuck"),
    ],
)
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(BaseException) as caught:
        _search(150, Phase.generate)
    assert found in _messages(caught.value)


def test_a_turn_that_is_named_by_what_is_left_of_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    _named_by_what_is_left(monkeypatch)
    with pytest.raises(AssertionError, match="another's name"):
        judged(OnNewMessage.MERGE, "say", ("wait", 0), "say", "say", ("delete", 1))


def _messages(error: BaseException) -> str:
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return "\n".join([str(error), *map(_messages, inner)])


@pytest.mark.parametrize("set_back_s", [0.5, 3_600.0])
def test_a_clock_that_is_set_back_holds_no_turn_longer_than_its_window(set_back_s: float) -> None:
    room = Room(TurnTaking(on_new_message=OnNewMessage.MERGE, merge_window_ms=1_000))
    room.rig.run(1.0)
    room.rig.send("c-1", message_id="m-1", text="hello")
    room.rig.run(0.2)
    room.rig.clock.set_back(set_back_s)
    room.rig.run(2.0)
    assert room.rig.outcomes == {"m-1": ["replied"]}
