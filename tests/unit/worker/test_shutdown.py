"""A worker that is told to end has `drain_timeout_s` for everything, and what it cannot finish goes on elsewhere."""

import pytest

from stream_worker import worker
from stream_worker.embedded.memory_edge import MemoryTransactions
from stream_worker.errors import ClientsBroken, Code
from stream_worker.kafka.protocols import Batch, CommitResult
from tests.unit.worker.rig import Rig, settings

_TIMEOUT_S = 8.0
_TICK_S = 0.1


def _shut_down(seconds_a_token: float) -> tuple[Rig, float]:
    """A rig whose worker was stopped in the middle of a turn, and how long that took."""
    rig = Rig(
        settings(drain_timeout_s=_TIMEOUT_S, kafka={"release_ms": 10_000}, topics={"partitions": 1}),
        seconds=lambda _: seconds_a_token,
    )
    rig.start()
    rig.send(message_id="m-1", text="hello")
    rig.run(1.0)
    started = rig.clock.monotonic()
    rig.stop()
    return rig, rig.clock.monotonic() - started


def test_a_turn_that_takes_too_long_is_given_back_in_time() -> None:
    rig, took = _shut_down(seconds_a_token=1_000)
    assert took <= _TIMEOUT_S + _TICK_S
    assert not rig.replies
    rig.stepper = Rig(rig.settings).stepper
    rig.start("w1")
    rig.run(30.0, step=0.02)
    assert rig.outcomes == {"m-1": ["replied"]}


def test_a_turn_that_ends_in_time_is_answered() -> None:
    rig, took = _shut_down(seconds_a_token=0.1)
    assert rig.outcomes == {"m-1": ["replied"]}
    assert took < _TIMEOUT_S


def test_releasing_on_a_time_of_its_own_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bug that the tests above are there for."""
    monkeypatch.setattr(worker, "min", lambda first, _: first, raising=False)
    _, took = _shut_down(seconds_a_token=1_000)
    assert took > _TIMEOUT_S + _TICK_S


def test_a_broker_that_does_not_answer_gets_what_is_left_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(settings(drain_timeout_s=_TIMEOUT_S, topics={"partitions": 1}), seconds=lambda _: 0.5)
    rig.start()
    rig.run(1.0)
    rig.send(message_id="m-1", text="hello")
    rig.run(0.1)
    started = rig.clock.monotonic()

    def commit(_transactions: MemoryTransactions, _batch: Batch, within_s: float | None = None) -> CommitResult:
        assert within_s is not None
        rig.clock.advance(within_s)
        raise ClientsBroken(Code.CLIENTS_BROKEN, "the broker did not answer")

    monkeypatch.setattr(MemoryTransactions, "commit", commit)
    rig.stop()
    assert rig.clock.monotonic() - started <= _TIMEOUT_S + _TICK_S
