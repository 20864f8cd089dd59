"""Whose fault a failure is, and what it costs: the event's, the engine's, the clients', the state's."""

import orjson
import pytest

from stream_worker.contracts.internal import state_key
from stream_worker.errors import Code, Fatal
from stream_worker.inference.engine import Capabilities
from stream_worker.inference.memory import DeviceMemory
from stream_worker.inference.stepper import Stepper
from stream_worker.orders import Failed, Fault, Generate, Keeping, Result, TurnRef
from stream_worker.outcome import DeadLetterReason, FallbackReason
from stream_worker.record import Outgoing
from tests.unit.worker.rig import Rig, settings


class Failing:
    """A stepper whose requests fail while `fault` is set."""

    def __init__(self, inner: Stepper) -> None:
        self._inner = inner
        self._failed: list[Result] = []
        self.fault: Fault | None = None
        self.asked = 0

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    @property
    def running(self) -> int:
        return self._inner.running

    @property
    def waiting(self) -> int:
        return self._inner.waiting

    @property
    def kv_tokens(self) -> int:
        return 0

    @property
    def kv_capacity_tokens(self) -> int:
        return 0

    @property
    def evictions(self) -> tuple[int, int]:
        return self._inner.evictions

    @property
    def fallbacks(self) -> tuple[FallbackReason, ...]:
        return self._inner.fallbacks

    @property
    def memory(self) -> DeviceMemory | None:
        return self._inner.memory

    def add(self, order: Generate) -> None:
        self.asked += 1
        if self.fault is None:
            self._inner.add(order)
        else:
            reason = DeadLetterReason.ATTEMPTS_EXHAUSTED
            self._failed.append(Failed(ref=order.ref, fault=self.fault, reason=reason, message="it failed"))

    def cancel(self, ref: TurnRef) -> None:
        self._inner.cancel(ref)

    def forget(self, order: Keeping) -> None:
        self._inner.forget(order)

    def step(self) -> list[Result]:
        failed, self._failed = self._failed, []
        return failed + self._inner.step()

    def seconds_until_ready(self) -> float:
        return 0.0 if self._failed else self._inner.seconds_until_ready()


def _failing(**changes: object) -> tuple[Rig, list[Failing]]:
    made: list[Failing] = []

    def wrap(inner: Stepper) -> Stepper:
        made.append(Failing(inner))
        return made[-1]

    return Rig(settings(**changes), wrap=wrap), made


def test_an_engine_that_is_away_costs_no_attempt_and_no_dead_letter() -> None:
    rig, engines = _failing(admission={"max_attempts": 2, "retry_backoff_ms": 100})
    running = rig.start()
    engines[0].fault = Fault.ENGINE
    for number in range(8):
        rig.send(f"c-{number}", message_id=f"m-{number}", text="hello")
    rig.run(60.0, step=0.05)
    assert rig.outcomes == {}
    assert running.journal.failures == []
    assert running.journal.snapshots[-1].engine_away
    asked_while_away = engines[0].asked
    assert asked_while_away < 8 * 12, "the breaker holds the turns instead of hammering"
    engines[0].fault = None
    rig.run(60.0, step=0.05)
    assert set(map(tuple, rig.outcomes.values())) == {("replied",)}
    assert len(rig.outcomes) == 8
    assert not running.journal.snapshots[-1].engine_away


def test_an_event_that_fails_is_tried_as_often_as_allowed_and_harms_nobody_else() -> None:
    rig, engines = _failing(admission={"max_attempts": 3, "retry_backoff_ms": 20})
    running = rig.start()
    engines[0].fault = Fault.EVENT
    rig.send("c-bad", message_id="m-bad", text="hello")
    rig.run(2.0)
    assert engines[0].asked == 3
    assert len(running.journal.failures) == 3
    engines[0].fault = None
    rig.send("c-bad", message_id="m-next", text="hello")
    rig.run(2.0)
    assert rig.outcomes == {"m-bad": ["dead_lettered"], "m-next": ["replied"]}


def test_a_dead_letter_may_be_sent_again() -> None:
    rig, engines = _failing(admission={"max_attempts": 1})
    rig.start()
    engines[0].fault = Fault.EVENT
    rig.send(message_id="m-1", text="hello")
    rig.run(1.0)
    engines[0].fault = None
    rig.send(message_id="m-1", text="hello")
    rig.run(1.0)
    assert rig.outcomes == {"m-1": ["dead_lettered", "replied"]}


def test_a_device_that_has_failed_ends_the_process() -> None:
    rig, engines = _failing()
    rig.start()
    engines[0].fault = Fault.FATAL
    rig.send(message_id="m-1", text="hello")
    with pytest.raises(Fatal, match="it failed"):
        rig.run(2.0)


def test_broken_clients_are_replaced_and_nothing_is_lost_or_twice() -> None:
    rig = Rig(seconds=lambda _: 0.05)
    running = rig.start()
    for number in range(20):
        rig.send(f"c-{number % 5}", message_id=f"m-{number}", text=f"text {number}")
    rig.run(0.5)
    running.edge.break_clients()
    rig.run(20.0)
    assert running.journal.replaced == 1
    assert set(map(tuple, rig.outcomes.values())) == {("replied",)}
    assert len(rig.outcomes) == 20


def test_clients_that_break_again_and_again_end_the_process() -> None:
    rig = Rig()
    running = rig.start()
    for _ in range(2):
        rig.run(1.0)
        running.edge.break_clients()
        rig.run(1.0)
    running.edge.break_clients()
    with pytest.raises(Fatal) as fatal:
        rig.run(1.0)
    assert fatal.value.code is Code.CLIENTS_REPLACED_TOO_OFTEN


def test_a_state_that_cannot_be_read_stops_its_partition_alone() -> None:
    rig = Rig()
    topics = rig.settings.topics
    placed = {name: rig.send(name, message_id=f"m-{name}", text="hello").partition for name in ("c-1", "c-2", "c-3")}
    others = sorted(name for name, partition in placed.items() if partition != placed["c-1"])
    assert others, "the test needs conversations in other partitions"
    rig.broker.store(Outgoing(rig.settings.changelog, state_key("c-1"), b"{broken", partition=placed["c-1"]))
    running = rig.start()
    rig.run(2.0)
    assert [error.code for error in running.journal.refusals] == [Code.STATE_CORRUPT]
    assert sorted(rig.outcomes) == [f"m-{name}" for name in others]
    assert all(orjson.loads(record.value or b"") for record in rig.broker.read_committed(topics.replies))


@pytest.mark.parametrize("bad", range(8))
def test_a_state_that_cannot_be_read_costs_nobody_else_an_event_or_an_attempt(bad: int) -> None:
    """Wherever in a batch of records it is found, whatever comes after it is still seen."""
    rig = Rig(settings(admission={"max_attempts": 1}))
    placed = {name: rig.send(name, message_id=name, text="hello").partition for name in (f"c-{i}" for i in range(8))}
    partition = placed[f"c-{bad}"]
    raw = Outgoing(rig.settings.changelog, state_key(f"c-{bad}"), b"{broken", partition=partition)
    rig.broker.store(raw)
    running = rig.start()
    rig.run(2.0)
    assert [error.code for error in running.journal.refusals] == [Code.STATE_CORRUPT]
    assert running.journal.failures == []
    others = {name for name, place in placed.items() if place != partition}
    assert {name: outcomes for name, outcomes in rig.outcomes.items() if name in others} == {
        name: ["replied"] for name in others
    }


def test_a_state_of_a_newer_format_ends_the_process() -> None:
    rig = Rig()
    sent = rig.send("c-1", message_id="m-1", text="hello")
    newer = orjson.dumps({"format": 99})
    rig.broker.store(Outgoing(rig.settings.changelog, state_key("c-1"), newer, partition=sent.partition))
    rig.start()
    with pytest.raises(Fatal, match="upgrade this worker"):
        rig.run(2.0)
