"""Which events are taken on, and whose turn is next."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from stream_worker.admission.expiry import TurnSeconds
from stream_worker.admission.pressure import FULL_SPEED
from stream_worker.bot.bot import Fallback, IntentRule, TemplateReply
from stream_worker.bot.phrase import Phrase, Template
from stream_worker.conversation.state import ConversationState, load_state
from stream_worker.inference.stepper import Stepper
from stream_worker.orders import Fault
from tests.unit.worker.rig import MODEL_BOT, Rig, settings
from tests.unit.worker.test_faults import Failing

TEMPLATE_BOT = replace(
    MODEL_BOT, fallback=Fallback(rule=IntentRule(reply=TemplateReply(Phrase(Template("Hello.", None)))))
)


def _away(inner: Stepper) -> Stepper:
    """An engine that fails whatever it is asked."""
    engine = Failing(inner)
    engine.fault = Fault.ENGINE
    return engine


def _answered(rig: Rig) -> list[str]:
    return [reply["in_reply_to"][0] for reply in rig.replies]


def test_a_conversation_with_a_backlog_has_no_claim_to_its_place() -> None:
    rig = Rig(settings(topics={"partitions": 1}, admission={"max_running_turns": 1}), seconds=lambda _: 0.02)
    rig.start()
    rig.run(0.5)
    rig.send("c-A", message_id="A0", text="x")
    rig.send("c-B", message_id="B0", text="x")
    rig.run(0.01)
    rig.clock.advance(0.01)
    for number in range(1, 8):
        rig.send("c-A", message_id=f"A{number}", text="x")
    rig.run(20.0)
    assert _answered(rig) == ["A0", "B0", *(f"A{number}" for number in range(1, 8))]


def test_a_small_tenant_does_not_wait_for_the_backlog_of_a_big_one() -> None:
    limits = {"max_running_turns": 2, "tenants": True}
    rig = Rig(settings(topics={"partitions": 1}, admission=limits), seconds=lambda _: 0.02)
    rig.start()
    rig.run(0.5)
    for conversation in ("x", "y"):
        for number in range(6):
            key = f"big/{conversation}".encode()
            rig.send(conversation, key=key, tenant="big", message_id=f"big-{conversation}{number}", text="x")
    rig.send("z", key=b"small/z", tenant="small", message_id="small", text="x")
    rig.run(20.0)
    assert len(rig.replies) == 13
    assert _answered(rig).index("small") <= 3


@pytest.mark.parametrize("kind", ["erasure", "handback", "deletion"])
def test_what_changes_state_is_applied_however_old_it_is(kind: str) -> None:
    rig = Rig(settings(admission={"max_event_age_ms": 1_000}))
    rig.start()
    rig.run(0.2)
    rig.send(message_id="m-1", text="my secret")
    rig.run(1.0)
    rig.stop()
    target: dict[str, Any] = {"target_id": "m-1"} if kind == "deletion" else {}
    rig.send(message_id="e-1", type=kind, **target)
    rig.clock.advance(5.0)
    rig.start()
    rig.run(1.0)
    assert rig.outcomes["e-1"] == ["silent"]
    if kind != "handback":
        assert not any(line.text == "my secret" for line in _state(rig).history)


def test_a_full_mailbox_sheds_messages_and_reactions_and_nothing_that_must_be_done() -> None:
    rig = Rig(settings(admission={"max_waiting_events": 2}), seconds=lambda _: 0.3)
    rig.start()
    rig.run(0.5)
    rig.send(message_id="m-0", text="forget this")
    rig.run(5.0)
    for number in range(1, 5):
        rig.send(message_id=f"m-{number}", text="x", sender={"id": f"u-{number}"})
    rig.send(message_id="r-1", type="reaction", target_id="m-0", reaction="+1")
    rig.send(message_id="d-1", type="deletion", target_id="m-0")
    rig.run(20.0)
    assert rig.outcomes["m-4"] == rig.outcomes["r-1"] == ["shed"]
    assert rig.outcomes["d-1"] == ["silent"]
    assert not any(line.text == "forget this" for line in _state(rig).history)


def test_edits_do_not_keep_a_turn_alive_beyond_its_time_and_do_not_pile_up() -> None:
    limits = {"max_turn_ms": 1_000, "max_attempts": 1, "max_waiting_events": 4}
    rig = Rig(settings(admission=limits), seconds=lambda _: 100.0)
    rig.start()
    rig.run(0.5)
    rig.send(message_id="m-1", text="x")
    for number in range(20):
        rig.send(message_id=f"e-{number}", type="edit", target_id="m-1", text=f"edit {number}")
        rig.run(0.1)
    assert rig.outcomes["m-1"] == ["dead_lettered"]
    assert sum(metric["attempt"] > 0 for metric in rig.metrics) <= 6, "what joined the turn is bounded"


def test_what_the_bot_file_answers_does_not_wait_for_an_engine_that_is_away() -> None:
    rig = Rig(wrap=_away, others=[("web", TEMPLATE_BOT)])
    running = rig.start()
    rig.send("c-1", message_id="m-1", text="hello")
    rig.run(5.0)
    assert running.journal.snapshots[-1].engine_away
    rig.send("c-2", message_id="m-2", text="hello", channel="web")
    rig.run(0.2)
    assert rig.outcomes == {"m-2": ["replied"]}


def test_an_engine_is_not_called_away_when_nothing_waits_for_it_any_more() -> None:
    rig = Rig(wrap=_away)
    running = rig.start()
    rig.send(message_id="m-1", text="hello")
    rig.run(5.0)
    assert running.journal.snapshots[-1].engine_away
    rig.send(message_id="h-1", type="handoff")
    rig.run(2.0)
    assert rig.outcomes["m-1"] == ["withdrawn"]
    assert not running.journal.snapshots[-1].engine_away


def test_an_event_without_a_channel_cuts_nobodys_history() -> None:
    forgetful = replace(MODEL_BOT, max_messages=0)
    rig = Rig(bot=forgetful, others=[("web", MODEL_BOT)])
    rig.start()
    for number in range(3):
        rig.send(message_id=f"m-{number}", text="hello", channel="web")
        rig.run(1.0)
    rig.send(message_id="r-1", type="reaction", target_id="m-0", reaction="+1")
    rig.run(1.0)
    assert len(_state(rig).history) == 6


def test_history_is_cut_in_large_steps() -> None:
    rig = Rig(bot=replace(MODEL_BOT, max_messages=8))
    rig.start()
    lengths = []
    for number in range(12):
        rig.send(message_id=f"m-{number}", text="hello")
        rig.run(1.0)
        lengths.append(len(_state(rig).history))
    cuts = sum(after < before for before, after in pairwise(lengths))
    assert max(lengths) == 8
    assert cuts <= 4


def _state(rig: Rig) -> ConversationState:
    records = rig.broker.read_committed(rig.settings.changelog)
    return load_state(next(record.value for record in reversed(records) if record.key == b"c/c-1" and record.value))


_AGE_MS = 2_000
_TURN_S = 0.5
_ROOM = 4


def what_is_answered_is_answered_in_time(load: float, seconds: float = 20.0) -> int:
    """Messages at `load` times the rate that can be answered; how many of each hundred that could be were."""
    limits = {
        "max_event_age_ms": _AGE_MS,
        "max_running_turns": _ROOM,
        "upper_mark_events": 400,
        "lower_mark_events": 200,
    }
    rig = Rig(settings(admission=limits), reply=lambda _: "word", seconds=lambda _: _TURN_S)
    running = rig.start()
    rig.run(1.0)
    every = _TURN_S / _ROOM / load
    sent: dict[str, int] = {}
    due = rig.clock.monotonic()
    end = due + seconds
    while rig.clock.monotonic() < end:
        while due <= rig.clock.monotonic():
            name = f"m-{len(sent)}"
            sent[name] = rig.send(f"c-{len(sent)}", message_id=name, text="hello").timestamp_ms
            due += every
        rig.run(0.05)
    rig.run(10.0, step=0.02)
    outcomes = rig.outcomes
    assert outcomes.keys() == sent.keys()
    assert set(map(tuple, outcomes.values())) <= {("replied",), ("expired",)}
    assert max(snapshot.waiting_events for snapshot in running.journal.snapshots) <= 400 + FULL_SPEED
    for reply in rig.replies:
        (name,) = reply["in_reply_to"]
        assert reply["at"] - sent[name] <= _AGE_MS
    return round(100 * len(rig.replies) / (seconds * _ROOM / _TURN_S))


def test_at_a_hundred_times_the_rate_what_is_answered_is_answered_within_its_age() -> None:
    assert what_is_answered_is_answered_in_time(100) >= 80


def test_a_worker_that_does_not_look_ahead_answers_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins what it cannot end in time, oldest first, and has to cancel all of it."""
    monkeypatch.setattr(TurnSeconds, "expected", 0.0)
    assert what_is_answered_is_answered_in_time(20) < 40


def test_below_its_rate_everybody_is_answered() -> None:
    assert what_is_answered_is_answered_in_time(0.5) == 50


def test_a_turn_that_runs_out_of_time_is_cancelled_and_expires() -> None:
    rig = Rig(settings(admission={"max_event_age_ms": _AGE_MS}), seconds=lambda _: 60.0)
    rig.start()
    rig.run(0.5)
    rig.send(message_id="m-1", text="hello")
    rig.run(_AGE_MS / 1000 - 0.1)
    assert rig.outcomes == {}
    rig.run(0.3)
    assert rig.outcomes == {"m-1": ["expired"]}
    rig.send(message_id="m-2", text="hello", expires_at=rig.clock.now_ms() + 500)
    rig.run(0.8)
    assert rig.outcomes["m-2"] == ["expired"]
    assert rig.replies == []


def test_a_turn_held_by_an_engine_that_is_away_expires_in_time() -> None:
    rig = Rig(settings(admission={"max_event_age_ms": 5_000}), wrap=_away)
    rig.start()
    rig.send(message_id="m-1", text="hello")
    rig.run(5.3, step=0.05)
    assert rig.outcomes == {"m-1": ["expired"]}
