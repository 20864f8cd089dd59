"""What a control event finds, whatever the phase; and what one that is loud costs the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stream_worker.conversation.mailbox import Mailbox, Preempt, StateEvent
from stream_worker.orders import Fault, Generate
from stream_worker.record import Outgoing
from tests.unit.worker.rig import MODEL_BOT, Rig, settings
from tests.unit.worker.test_faults import Failing

_CONTROLS = ("handoff", "erasure", "deletion")


def control_pre_empts(kind: str, waiting: int, after_s: float, *, rests: bool) -> None:
    """Messages, and after a while, whatever they have come to, a control event; then none of them is answered."""
    engines: list[Failing] = []

    def wrap(inner: Any) -> Failing:
        engines.append(Failing(inner))
        return engines[-1]

    slowly = {"kafka": {"commit_interval_ms": 200}, "admission": {"max_attempts": 100}, "topics": {"partitions": 1}}
    rig = Rig(settings(**slowly), seconds=lambda _: 0.05, wrap=wrap)
    worker = rig.start().worker
    rig.run(1.0)
    if rests:
        engines[0].fault = Fault.EVENT
    messages = [f"m-{number}" for number in range(1 + waiting)]
    for name in messages:
        rig.send(message_id=name, text="hello")
    rig.run(after_s)
    engines[0].fault = None
    settled = {arrival.event_id for each in worker._outbox.select().settlements for arrival in each.arrivals}
    settled |= set(rig.outcomes)
    fields: dict[str, Any] = {"target_id": "m-0"} if kind == "deletion" else {}
    rig.send(type=kind, message_id="control", **fields)
    rig.run(20.0, step=0.02)
    order = [metric["event_id"] for metric in rig.metrics]
    ended = rig.outcomes
    assert sorted(order) == sorted([*messages, "control"]), "one outcome each"
    concerned = messages[:1] if kind == "deletion" else messages
    for name in concerned:
        assert order.index(name) < order.index("control"), f"{name} settled after the {kind}"
        assert ended[name] == (["replied"] if name in settled else ["withdrawn"])
    answered = {event_id for reply in rig.replies for event_id in reply["in_reply_to"]}
    assert answered == {name for name in messages if ended[name] == ["replied"]}
    if kind != "deletion":
        rig.send(message_id="m-after", text="hello")
        rig.run(5.0, step=0.02)
        assert rig.outcomes["m-after"] == (["silent"] if kind == "handoff" else ["replied"])
    else:
        assert all(ended[name] == ["replied"] for name in messages[1:])


@given(
    kind=st.sampled_from(_CONTROLS),
    waiting=st.integers(0, 3),
    after_s=st.floats(0, 1.2),
    rests=st.booleans(),
)
@hypothesis_settings(max_examples=40, deadline=None)
def test_no_reply_follows_a_control_event_whatever_the_phase(
    kind: str, waiting: int, after_s: float, rests: bool
) -> None:
    control_pre_empts(kind, waiting, after_s, rests=rests)


@contextmanager
def _planted(owner: object, name: str, bug: object) -> Iterator[None]:
    honest = vars(owner)[name]
    setattr(owner, name, bug)
    try:
        yield
    finally:
        setattr(owner, name, honest)


def test_a_control_event_that_queues_is_noticed() -> None:
    def queue(self: Mailbox, arrival: Any) -> Any:
        self._waiting.append(StateEvent(arrival))
        return Preempt(None, ())

    with _planted(Mailbox, "_preempt", queue), pytest.raises(AssertionError):
        control_pre_empts("handoff", 2, 0.1, rests=False)


def test_ten_thousand_messages_of_one_conversation_change_nothing_for_the_others() -> None:
    def seconds(order: Generate) -> float:
        return 0.01

    def waits(loud: int) -> list[int]:
        rig = Rig(settings(topics={"partitions": 1}), seconds=seconds)
        running = rig.start()
        rig.run(1.0)
        sent_ms = rig.clock.now_ms()
        for number in range(loud):
            rig.send("loud", message_id=f"l-{number}", text="hey")
        for number in range(20):
            rig.send(f"c-{number}", message_id=f"m-{number}", text="hello")
        rig.run(10.0)
        outcomes = rig.outcomes
        assert len(outcomes) == loud + 20
        assert all(outcomes[f"m-{number}"] == ["replied"] for number in range(20))
        assert max(each.waiting_events for each in running.journal.snapshots) <= 100
        return [metric["at"] - sent_ms for metric in rig.metrics if metric["event_id"].startswith("m-")]

    quiet, beside = waits(0), waits(10_000)
    assert max(beside) <= max(quiet) + 200, "they waited for the loud one"


def test_a_sender_beyond_his_limit_is_shed_and_the_others_are_answered() -> None:
    rig = Rig(settings(admission={"sender_messages_per_minute": 6, "sender_burst": 3}))
    rig.start()
    for number in range(10):
        rig.send("c-1", message_id=f"loud-{number}", text="hey", sender={"id": "loud"})
    rig.send("c-1", message_id="m-1", text="hello", sender={"id": "calm"})
    rig.run(3.0)
    assert [rig.outcomes[f"loud-{number}"] for number in range(10)] == [["replied"]] * 3 + [["shed"]] * 7
    assert rig.outcomes["m-1"] == ["replied"]
    rig.run(10.0)
    rig.send("c-1", message_id="loud-later", text="hey", sender={"id": "loud"})
    rig.run(3.0)
    assert rig.outcomes["loud-later"] == ["replied"], "the bucket fills again"


def test_a_tenant_beyond_its_limit_is_shed_and_the_others_are_answered() -> None:
    limits = {"tenants": True, "tenant_messages_per_minute": 6, "tenant_burst": 3}
    rig = Rig(settings(admission=limits))
    rig.start()
    rig.run(1.0)
    for number in range(10):
        name = f"c-{number}"
        key = f"loud/{name}".encode()
        rig.send(name, key=key, tenant="loud", message_id=f"l-{number}", text="hey", sender={"id": f"u-{number}"})
    rig.send("c-1", key=b"calm/c-1", tenant="calm", message_id="m-1", text="hello")
    rig.run(3.0)
    assert sum(rig.outcomes[f"l-{number}"] == ["replied"] for number in range(10)) == 3
    assert sum(rig.outcomes[f"l-{number}"] == ["shed"] for number in range(10)) == 7
    assert rig.outcomes["m-1"] == ["replied"]


def _is_metric_of_the_hand_off(record: Outgoing) -> bool:
    return b'"event_id":"h-1"' in (record.value or b"") and b'"silent"' in (record.value or b"")


@pytest.mark.parametrize("event", [{"type": "handoff"}, {"sender": {"id": "a-1", "role": "agent"}, "text": "mine"}])
def test_a_hand_off_whose_records_the_broker_refuses_silences_the_bot(event: dict[str, Any]) -> None:
    """Whoever took the conversation over does not know of it, and writes."""
    rig = Rig(bot=replace(MODEL_BOT, handoff=replace(MODEL_BOT.handoff, agent_message_takes_over=True)))
    rig.broker.refuse(rig.settings.topics.metrics, _is_metric_of_the_hand_off)
    rig.start()
    rig.send(message_id="m-1", text="hello")
    rig.run(2.0)
    rig.send(message_id="h-1", **event)
    rig.send(message_id="m-2", text="thank you")
    rig.run(5.0)
    assert rig.outcomes == {"m-1": ["replied"], "h-1": ["dead_lettered"], "m-2": ["silent"]}
