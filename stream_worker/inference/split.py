"""An engine of two: texts are understood on the device thread, replies come from elsewhere."""

from dataclasses import replace
from typing import assert_never

from stream_worker.inference.device import DeviceThread, InlineDevice
from stream_worker.inference.engine import Capabilities, Engine, EngineStats
from stream_worker.orders import Cancel, Encode, Expire, Forget, Generate, Order, Release


class SplitEngine:
    """Implements `Engine`. `device` has only its encoder; `generator` takes all that is about replies."""

    def __init__(self, device: DeviceThread | InlineDevice, generator: Engine) -> None:
        self._device = device
        self._generator = generator

    @property
    def capabilities(self) -> Capabilities:
        return self._generator.capabilities

    def submit(self, order: Order) -> None:
        match order:
            case Encode():
                self._device.submit(order)
            case Generate() | Forget() | Release() | Expire():
                self._generator.submit(order)
            case Cancel():
                # A turn's ref is at one of them; the other one ignores it.
                self._device.submit(order)
                self._generator.submit(order)
            case _:
                assert_never(order)

    def stats(self) -> EngineStats:
        """The generator's, with the texts that wait, and the device's beat."""
        device, generator = self._device.stats(), self._generator.stats()
        return replace(generator, waiting=generator.waiting + device.waiting, beat=device.beat)

    def close(self, deadline_s: float) -> None:
        self._generator.close(deadline_s)
        self._device.close(deadline_s)
