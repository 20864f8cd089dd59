"""What a former owner keeps of a partition in its engine: first in line for eviction, then, after a while, nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from stream_worker.inference.stepper import Stepper
from stream_worker.orders import Expire, Forget, Keeping, Release
from stream_worker.turns import Turns
from tests.unit.worker.rig import Rig, settings
from tests.unit.worker.test_faults import Failing

_KEPT_S = 30.0


@dataclass
class Told:
    """What each worker's engine was told of what it keeps, and when."""

    orders: list[list[tuple[float, Keeping]]] = field(default_factory=list)

    def wrap(self, inner: Stepper) -> Stepper:
        told: list[tuple[float, Keeping]] = []
        self.orders.append(told)
        rig = self.rig

        class Listening(Failing):
            def forget(self, order: Keeping) -> None:
                told.append((rig.clock.monotonic(), order))

        return Listening(inner)

    def __post_init__(self) -> None:
        configured = settings(topics={"partitions": 2}, engine={"kv_released_s": _KEPT_S})
        self.rig = Rig(configured, wrap=self.wrap)


def _given_away(rig: Rig) -> None:
    rig.start("w1")
    rig.run(10.0)


def _lost(rig: Rig) -> None:
    """A worker that was stopped for longer than its session."""
    sleeping = rig.workers.pop("w0")
    rig.start("w1")
    rig.run(20.0)
    rig.workers["w0"] = sleeping
    rig.run(5.0)


def former_owner_forgets(goes: Callable[[Rig], None]) -> None:
    told = Told()
    rig = told.rig
    rig.start("w0")
    rig.run(1.0)
    goes(rig)
    released = {order.partition: at for at, order in told.orders[0] if isinstance(order, Release)}
    assert released, "the test needs a partition that moves"
    rig.run(_KEPT_S + 1.0, step=0.05)
    expired = {order.partition: at for at, order in told.orders[0] if isinstance(order, Expire)}
    assert expired.keys() == released.keys()
    assert all(_KEPT_S <= expired[each] - released[each] <= _KEPT_S + 1.0 for each in released)


@pytest.mark.parametrize("goes", [_given_away, _lost])
def test_a_former_owner_keeps_nothing_for_longer_than_it_says(goes: Callable[[Rig], None]) -> None:
    """An erasure may come to the new owner at any time: the former one need not hear of it."""
    former_owner_forgets(goes)


def test_a_former_owner_that_keeps_all_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turns, "_expire", lambda *_: None)
    with pytest.raises(AssertionError):
        former_owner_forgets(_given_away)


def test_an_erasure_is_heard_by_the_owners_engine() -> None:
    told = Told()
    told.rig.start("w0")
    told.rig.send(message_id="m-1", text="hello")
    told.rig.run(1.0)
    told.rig.send(type="erasure", message_id="e-1")
    told.rig.run(1.0)
    assert [order for _, order in told.orders[0]] == [Forget(conversation="c-1")]
