"""A device that hangs ends the process; one that only loads for long, or has nothing to do, does not."""

import threading
from collections.abc import Callable, Iterator
from unittest.mock import patch

import pytest

from stream_worker.clock import ManualClock
from stream_worker.errors import Code, Fatal
from stream_worker.inference.device import DeviceThread, Models
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.inference.stepper import Stepper
from stream_worker.orders import Encode, Failed, Result, TurnRef
from stream_worker.process import DeviceWatchdog

_STALL_MS = 30_000
_GUARD_S = 120.0
"""How long a thread that is expected to act may take on a machine that is busy with other things."""


class Hanging:
    """An encoder whose pass does not come back before it is let go."""

    def __init__(self) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()

    def encode(self, orders: list[Encode]) -> list[Result]:
        self.entered.set()
        assert self.let_go.wait(_GUARD_S)
        return []


class Breaking:
    def encode(self, orders: list[Encode]) -> list[Result]:
        raise RuntimeError("the device is gone")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    encoder = Hanging()
    yield encoder
    encoder.let_go.set()


def _order() -> Encode:
    return Encode(ref=TurnRef(0, 1, "t", 1), text="hello", heads="test", language="en")


def a_hung_device_ends_the_process(clock: ManualClock, hanging: Hanging) -> None:
    models = Models(stepper=lambda: ScriptedStepper(clock, seconds=lambda _: 0.0), encoder=lambda: hanging)
    device = DeviceThread(models, lambda _: None, clock)
    device.wait_ready(_GUARD_S)
    watchdog = DeviceWatchdog(device, clock, _STALL_MS)
    watchdog.check()
    device.submit(_order())
    assert hanging.entered.wait(_GUARD_S)
    clock.advance(_STALL_MS / 1000)
    watchdog.check()
    clock.advance(1)
    with pytest.raises(Fatal, match="device_stall_ms") as ended:
        watchdog.check()
    assert ended.value.code is Code.DEVICE_STALLED


def test_a_hung_device_ends_the_process(clock: ManualClock, hanging: Hanging) -> None:
    a_hung_device_ends_the_process(clock, hanging)


def test_a_hung_device_that_nobody_watches_is_noticed(clock: ManualClock, hanging: Hanging) -> None:
    with (
        patch.object(DeviceWatchdog, "check", lambda self: None),
        pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"),
    ):
        a_hung_device_ends_the_process(clock, hanging)


def test_a_device_thread_that_ended_ends_the_process(clock: ManualClock) -> None:
    reported: list[Result] = []
    told = threading.Event()

    def report(result: Result) -> None:
        reported.append(result)
        told.set()

    device = DeviceThread(
        Models(stepper=lambda: ScriptedStepper(clock, seconds=lambda _: 0.0), encoder=Breaking), report, clock
    )
    device.wait_ready(_GUARD_S)
    device.submit(_order())
    assert told.wait(_GUARD_S)
    assert isinstance(reported[0], Failed)
    with pytest.raises(Fatal, match="has ended"):
        DeviceWatchdog(device, clock, _STALL_MS).check()


def _loading_for(seconds: float, clock: ManualClock) -> Callable[[], Stepper]:
    def load() -> Stepper:
        clock.advance(seconds)
        return ScriptedStepper(clock, seconds=lambda _: 0.0)

    return load


def test_the_time_that_a_model_takes_to_load_is_no_silence(clock: ManualClock) -> None:
    device = DeviceThread(Models(stepper=_loading_for(600, clock), encoder=lambda: None), lambda _: None, clock)
    device.wait_ready(_GUARD_S)
    DeviceWatchdog(device, clock, _STALL_MS).check()
    device.close(_GUARD_S)
